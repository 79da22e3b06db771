// A data directory of a snapshot file: whole and on disk before it gets its name.
//
// It becomes a cluster of its own, with new ids and a log that begins at its first entry: what the snapshot's cluster has
// written since must never be taken for a continuation of this one. Data, history and revision are the snapshot's.
import Glibc
import NeedletailBackend
import NeedletailMVCC
import NeedletailSnapshot

package enum SnapshotRestore {
  /// Makes the data directory `path`, which must not exist, or be empty. `progress` stops it by answering false.
  package static func run(
    _ snapshot: String, to path: String, progress: ((SnapshotProgress) -> Bool)? = nil
  ) throws(ServerError) -> SnapshotHeader {
    guard try isFree(path) else { throw .directoryNotEmpty(path: path) }
    var target = path[...]
    while target.count > 1, target.last == "/" { target = target.dropLast() }
    let temporary = "\(target).restoring-\(getpid())"
    guard mkdir(temporary, 0o700) == 0 else {
      throw .system(operation: "create directory", path: temporary, code: errno)
    }
    do throws(ServerError) {
      let header = try fill(temporary, snapshot, progress)
      // Over an empty directory a rename of a directory succeeds; over anything else it fails.
      guard rename(temporary, String(target)) == 0 else {
        throw errno == ENOTEMPTY || errno == EEXIST
          ? .directoryNotEmpty(path: path) : .system(operation: "rename to", path: path, code: errno)
      }
      try DataDirectory.syncDirectory(DataDirectory.parent(of: String(target)))
      return header
    } catch {
      remove(temporary)
      throw error
    }
  }

  private static func fill(
    _ directory: String, _ snapshot: String, _ progress: ((SnapshotProgress) -> Bool)?
  ) throws(ServerError) -> SnapshotHeader {
    let member = directory + "/member"
    for path in [member, member + "/wal"] {
      guard mkdir(path, 0o700) == 0 else { throw .system(operation: "create directory", path: path, code: errno) }
    }
    let identity = try DataDirectory.makeIdentity(member)
    let header: SnapshotHeader
    do throws(SnapshotError) {
      let format = try SnapshotReader(snapshot).header.words[StoreWord.format]
      guard format == Store.format else { throw SnapshotError.library("it holds no store of a server (\(format))") }
      header = try Database.restore(snapshot, to: member + "/db", pageSize: nil, progress: progress) {
        words(of: $0, identity)
      }
    } catch {
      throw .snapshot(error)
    }
    for path in [member + "/wal", member, directory] { try DataDirectory.syncDirectory(path) }
    return header
  }

  /// The snapshot's words, but for whose they are and where the log stands.
  private static func words(of header: SnapshotHeader, _ identity: StoreIdentity) -> [UInt64] {
    var words = header.words
    words[StoreWord.clusterID] = identity.clusterID
    words[StoreWord.memberID] = identity.memberID
    words[StoreWord.appliedIndex] = 0
    words[StoreWord.appliedTerm] = 0
    return words
  }

  private static func isFree(_ path: String) throws(ServerError) -> Bool {
    guard let directory = opendir(path) else {
      if errno == ENOENT { return true }
      if errno == ENOTDIR { return false }
      throw .system(operation: "open", path: path, code: errno)
    }
    defer { closedir(directory) }
    var names = 0
    while readdir(directory) != nil { names += 1 }
    // "." and "..".
    return names <= 2
  }

  /// What `fill` may have made.
  private static func remove(_ directory: String) {
    let member = directory + "/member"
    for file in ["identity", "identity.tmp", "db"] { unlink(member + "/" + file) }
    for path in [member + "/wal", member, directory] { rmdir(path) }
  }
}
