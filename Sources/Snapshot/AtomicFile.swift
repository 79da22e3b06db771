// A file that is there whole or not at all: written under another name, synced, renamed, the directory synced.

import Glibc
import NeedletailBackend

/// The calls that can fail. A seam, so that tests can make each of them fail.
package struct FileCalls {
  package var open: (_ path: String, _ flags: Int32) -> Int32 = { Glibc.open($0, $1, 0o600) }
  package var write: (_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int = {
    Glibc.write($0, $1.baseAddress, $1.count)
  }
  package var sync: (_ descriptor: Int32) -> Int32 = { fsync($0) }
  package var rename: (_ from: String, _ to: String) -> Int32 = { Glibc.rename($0, $1) }
  package var unlink: (_ path: String) -> Int32 = { Glibc.unlink($0) }

  package init() {}
}

/// Used by one thread. Dropped without `commit`, it leaves nothing behind; a crash may leave the temporary file.
package final class AtomicFile {
  package let path: String
  /// etcdctl's name for a snapshot that is being saved.
  package let temporaryPath: String
  package let descriptor: Int32
  private let calls: FileCalls
  private var isOpen = true

  /// Begins anew, or with `resuming` goes on behind what the temporary file holds.
  package init(_ path: String, resuming: Bool = false, calls: FileCalls = FileCalls()) throws(SnapshotError) {
    self.path = path
    self.calls = calls
    temporaryPath = path + ".part"
    descriptor = calls.open(temporaryPath, O_RDWR | O_CLOEXEC | O_CREAT | (resuming ? 0 : O_TRUNC))
    guard descriptor >= 0 else { throw Self.error("create", temporaryPath, errno) }
  }

  deinit { abandon() }

  package func write(_ bytes: UnsafeRawBufferPointer) throws(SnapshotError) {
    var rest = bytes
    while !rest.isEmpty {
      let written = calls.write(descriptor, rest)
      if written < 0 {
        if errno == EINTR { continue }
        throw Self.error("write", temporaryPath, errno)
      }
      // A file that takes nothing and gives no reason will not take more later.
      guard written > 0 else { throw .noSpace(path: temporaryPath) }
      rest = UnsafeRawBufferPointer(rebasing: rest[written...])
    }
  }

  /// Makes what was written durable under its name, replacing a file that has it.
  package func commit() throws(SnapshotError) {
    guard calls.sync(descriptor) == 0 else { throw Self.error("sync", temporaryPath, errno) }
    guard calls.rename(temporaryPath, path) == 0 else { throw Self.error("rename", temporaryPath, errno) }
    isOpen = false
    Glibc.close(descriptor)
    try Self.syncDirectory(of: path, calls)
  }

  /// Gives up and removes the temporary file. Again does nothing.
  package func abandon() {
    guard isOpen else { return }
    isOpen = false
    Glibc.close(descriptor)
    _ = calls.unlink(temporaryPath)
  }

  /// Gives up for now: the temporary file stays, to go on with.
  package func keepPart() {
    guard isOpen else { return }
    isOpen = false
    _ = calls.sync(descriptor)
    Glibc.close(descriptor)
  }

  package static func syncDirectory(of path: String, _ calls: FileCalls = FileCalls()) throws(SnapshotError) {
    let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let descriptor = calls.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw error("open", directory, errno) }
    defer { Glibc.close(descriptor) }
    guard calls.sync(descriptor) == 0 else { throw error("sync", directory, errno) }
  }

  static func error(_ operation: String, _ path: String, _ code: Int32) -> SnapshotError {
    code == ENOSPC || code == EDQUOT ? .noSpace(path: path) : .io(operation: operation, path: path, errno: code)
  }
}
