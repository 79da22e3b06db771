// A new database file filled from sorted records: restoring and compacting. It gets its name when it is whole and on
// disk.

import Glibc
import NeedletailBackend

/// Used by one thread. Dropped without `finish`, it leaves nothing behind.
package final class DatabaseLoader {
  /// Records go in as batches of so many bytes: a batch rewrites the few pages at the tree's right edge.
  private static let batchBytes = 4 << 20
  private static let batchEntries = 16384

  package let path: String
  private let temporaryPath: String
  private let database: Database
  private var isOpen = true
  /// Records of the batch to come: tree, and where key and value end in `bytes`.
  private var entries: [(tree: Int, keyEnd: Int, valueEnd: Int)] = []
  private var bytes: [UInt8] = []
  private var trees: [TreeID] = []

  /// `trees` are made in this order, so they get the numbers that they had. Throws `exists` where the name is taken.
  package init(_ path: String, pageSize: Int, trees names: [String]) throws(SnapshotError) {
    self.path = path
    guard access(path, F_OK) != 0 else { throw .exists(path: path) }
    temporaryPath = "\(path).restoring-\(getpid())"
    unlink(temporaryPath)
    var options = DatabaseOptions()
    options.pageSize = pageSize
    options.readersMax = 1
    do throws(DatabaseError) {
      database = try Database.open(temporaryPath, options)
    } catch {
      // A class whose init throws runs no deinit; a full disk may have left a file.
      unlink(temporaryPath)
      throw .database(error)
    }
    try write { batch throws(DatabaseError) in
      for name in names { self.trees.append(try batch.openTree(name)) }
    }
  }

  deinit { abandon() }

  /// Trees come one after the other, keys ascending: what does not is `unsorted`.
  package func add(
    tree: Int, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) throws(SnapshotError) {
    bytes.append(contentsOf: key)
    let keyEnd = bytes.count
    bytes.append(contentsOf: value)
    entries.append((tree, keyEnd, bytes.count))
    if bytes.count >= Self.batchBytes || entries.count >= Self.batchEntries { try flush() }
  }

  /// Makes everything durable, then gives the file its name. `words`: the user words.
  package func finish(words: [UInt64]) throws(SnapshotError) {
    try flush()
    try write { batch throws(DatabaseError) in
      for (i, word) in words.enumerated() { batch.setWord(i, word) }
    }
    do { try database.checkpoint() } catch { throw .database(error) }
    database.close()
    isOpen = false
    do throws(SnapshotError) {
      try syncFile()
      // Unlike a rename, a link never replaces.
      guard link(temporaryPath, path) == 0 else {
        throw errno == EEXIST ? .exists(path: path) : AtomicFile.error("link", path, errno)
      }
    } catch {
      unlink(temporaryPath)
      throw error
    }
    unlink(temporaryPath)
    try AtomicFile.syncDirectory(of: path)
  }

  /// The checkpoint has synced the data; this is for what a file has besides.
  private func syncFile() throws(SnapshotError) {
    let descriptor = open(temporaryPath, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw AtomicFile.error("open", temporaryPath, errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw AtomicFile.error("sync", temporaryPath, errno) }
  }

  private func abandon() {
    guard isOpen else { return }
    isOpen = false
    database.close()
    unlink(temporaryPath)
  }

  private func flush() throws(SnapshotError) {
    guard !entries.isEmpty else { return }
    try write { batch throws(DatabaseError) in
      try self.bytes.withBytes { (bytes) throws(DatabaseError) in
        var start = 0
        for entry in self.entries {
          try batch.append(
            self.trees[entry.tree], UnsafeRawBufferPointer(rebasing: bytes[start..<entry.keyEnd]),
            UnsafeRawBufferPointer(rebasing: bytes[entry.keyEnd..<entry.valueEnd]))
          start = entry.valueEnd
        }
      }
    }
    entries.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: bytes.capacity <= 4 * Self.batchBytes)
  }

  private func write(_ body: (WriteBatch) throws(DatabaseError) -> Void) throws(SnapshotError) {
    do {
      try database.write { batch in try body(batch) }
    } catch let error as DatabaseError {
      throw .database(error)
    } catch {
      throw .library("\(error)")
    }
  }
}
