// The data directory: who owns it and where its files lie.
//
//   D/member/lock       held with flock by the running server
//   D/member/identity   cluster and member id, made once
//   D/member/db         the tree
//   D/member/wal/       segments of the write-ahead log
import CNeedletail
import Glibc
import NeedletailMVCC

/// Owned by the node; the lock is held until `close`.
package final class DataDirectory {
  package let path: String
  package let identity: StoreIdentity
  package var databasePath: String { path + "/member/db" }
  package var logPath: String { path + "/member/wal" }
  private var lock: Int32

  /// Opens the directory, making it where it is missing, and takes its lock. `log` is where the log shall lie, if not here.
  package init(_ path: String, log: String? = nil) throws(ServerError) {
    self.path = path
    try DataDirectory.makeDirectory(path)
    try DataDirectory.makeDirectory(path + "/member")
    lock = try DataDirectory.takeLock(path + "/member/lock", of: path)
    do throws(ServerError) {
      identity = try DataDirectory.loadIdentity(path + "/member")
      if let log { try DataDirectory.place(log: path + "/member/wal", in: log) }
      try DataDirectory.makeDirectory(path + "/member/wal")
    } catch {
      Glibc.close(lock)
      throw error
    }
  }

  package func close() {
    guard lock >= 0 else { return }
    Glibc.close(lock)
    lock = -1
  }

  deinit { close() }

  /// Makes a directory and its name durable; one that exists already is fine.
  private static func makeDirectory(_ path: String) throws(ServerError) {
    if mkdir(path, 0o700) == 0 {
      return try syncDirectory(parent(of: path))
    }
    let code = errno
    var status = stat()
    guard code == EEXIST, stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      throw .system(operation: "create directory", path: path, code: code == EEXIST ? ENOTDIR : code)
    }
  }

  /// Has the log lie in another directory, by a link: whoever opens the data directory later finds it there, told of it or
  /// not. A log that lies elsewhere already is not left behind.
  private static func place(log link: String, in directory: String) throws(ServerError) {
    try makeDirectory(directory)
    guard let resolved = realpath(directory, nil) else {
      throw .system(operation: "find", path: directory, code: errno)
    }
    defer { free(resolved) }
    if let there = realpath(link, nil) {
      defer { free(there) }
      if strcmp(there, resolved) == 0 { return }
      // Empty, or with a log in it.
      guard rmdir(link) == 0 else {
        throw .logElsewhere(log: String(cString: there), wanted: String(cString: resolved))
      }
    }
    guard symlink(resolved, link) == 0 else { throw .system(operation: "link", path: link, code: errno) }
    try syncDirectory(parent(of: link))
  }

  private static func takeLock(_ file: String, of directory: String) throws(ServerError) -> Int32 {
    let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system(operation: "open", path: file, code: errno) }
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      if code == EINTR { continue }
      Glibc.close(descriptor)
      throw code == EWOULDBLOCK
        ? .directoryInUse(path: directory) : .system(operation: "lock", path: file, code: code)
    }
    return descriptor
  }

  static func parent(of path: String) -> String {
    path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  }

  static func syncDirectory(_ path: String) throws(ServerError) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(operation: "open", path: path, code: errno) }
    defer { Glibc.close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .system(operation: "sync", path: path, code: errno) }
  }
}

// The identity file: "NTIDENT1", cluster id, member id, crc32c of these 24 bytes; little-endian, 28 bytes.
extension DataDirectory {
  private static let identityMagic: UInt64 = 0x3154_4E45_4449_544E
  private static let identitySize = 28

  private static func loadIdentity(_ directory: String) throws(ServerError) -> StoreIdentity {
    let file = directory + "/identity"
    let descriptor = open(file, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 {
      let code = errno
      guard code == ENOENT else { throw .system(operation: "open", path: file, code: code) }
      // A tree without an identity beside it lost a file: a new identity would hide that.
      guard access(directory + "/db", F_OK) != 0 else {
        throw .badIdentity(path: file, why: "missing, although the directory holds a database")
      }
      return try makeIdentity(directory)
    }
    defer { Glibc.close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: identitySize + 1)
    let count = read(descriptor, &bytes, bytes.count)
    guard count >= 0 else { throw .system(operation: "read", path: file, code: errno) }
    guard count == identitySize else {
      throw .badIdentity(path: file, why: "\(count) bytes where \(identitySize) are expected")
    }
    let (words, crc, expected) = bytes.withUnsafeBytes { bytes in
      (
        (0..<3).map { UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self)) },
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 24, as: UInt32.self)),
        bytes.baseAddress.map { nt_crc32c(0, $0, 24) }
      )
    }
    guard words[0] == identityMagic else { throw .badIdentity(path: file, why: "not an identity of this format") }
    guard crc == expected else { throw .badIdentity(path: file, why: "its checksum does not match") }
    return StoreIdentity(clusterID: words[1], memberID: words[2])
  }

  /// Written whole to another name, synced, renamed, and the directory synced: it is there in full or not at all.
  static func makeIdentity(_ directory: String) throws(ServerError) -> StoreIdentity {
    let identity = StoreIdentity(
      clusterID: UInt64.random(in: 1...UInt64.max), memberID: UInt64.random(in: 1...UInt64.max))
    var bytes = [UInt8](repeating: 0, count: identitySize)
    bytes.withUnsafeMutableBytes { bytes in
      bytes.storeBytes(of: identityMagic.littleEndian, as: UInt64.self)
      bytes.storeBytes(of: identity.clusterID.littleEndian, toByteOffset: 8, as: UInt64.self)
      bytes.storeBytes(of: identity.memberID.littleEndian, toByteOffset: 16, as: UInt64.self)
      guard let start = bytes.baseAddress else { return }
      bytes.storeBytes(of: nt_crc32c(0, start, 24).littleEndian, toByteOffset: 24, as: UInt32.self)
    }
    let temporary = directory + "/identity.tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .system(operation: "create", path: temporary, code: errno) }
    let written = write(descriptor, bytes, bytes.count)
    let code = written < 0 ? errno : written < bytes.count ? ENOSPC : fsync(descriptor) != 0 ? errno : 0
    Glibc.close(descriptor)
    guard code == 0 else { throw .system(operation: "write", path: temporary, code: code) }
    let file = directory + "/identity"
    guard rename(temporary, file) == 0 else { throw .system(operation: "rename", path: file, code: errno) }
    try syncDirectory(directory)
    return identity
  }
}
