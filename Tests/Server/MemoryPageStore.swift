// A page store in anonymous memory that can be told that there is no room to grow.
import Glibc
import NeedletailBackend

/// Sendable: written by the engine's one writer at a time; the mapping never moves.
final class MemoryPageStore: PageStore, @unchecked Sendable {
  let base: UnsafeRawPointer
  let capacity: UInt64 = 1 << 30
  private(set) var size: UInt64 = 0
  private let fault: FaultSwitch

  init(_ fault: FaultSwitch) throws(DatabaseError) {
    self.fault = fault
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let memory = mmap(nil, Int(capacity), PROT_READ | PROT_WRITE, flags, -1, 0), memory != MAP_FAILED else {
      throw .reservation(bytes: capacity, errno: errno)
    }
    base = UnsafeRawPointer(memory)
  }

  deinit { munmap(UnsafeMutableRawPointer(mutating: base), Int(capacity)) }

  func write(_ runs: [PageRun]) throws(DatabaseError) {
    for run in runs {
      guard let source = run.bytes.baseAddress else { continue }
      memcpy(UnsafeMutableRawPointer(mutating: base) + Int(run.offset), source, run.bytes.count)
    }
  }

  func sync() throws(DatabaseError) {}

  func grow(to size: UInt64) throws(DatabaseError) {
    guard size > self.size else { return }
    guard fault.current != .full, size <= capacity else { throw .noSpace(bytes: size - self.size) }
    self.size = size
  }

  func truncate(to size: UInt64) throws(DatabaseError) {
    guard size < self.size else { return }
    memset(UnsafeMutableRawPointer(mutating: base) + Int(size), 0, Int(self.size - size))
    self.size = size
  }

  func close() {}
}
