// Overwrites random records beside readers, as fast as the engine takes them, batch after batch and without a sync.
import Foundation
import Synchronization

/// Sendable: the store is written by this thread alone while it runs, and read by others, which engines allow; the rest is
/// atomic, or set before the thread ends and read after it was joined.
final class BackgroundWriter: @unchecked Sendable {
  private let write: (RecordBlock) throws -> Void
  private let n: UInt64
  private let isStopping = Atomic(false)
  private var written: UInt64 = 0
  private var failure: (any Error)?
  private let ended = DispatchSemaphore(value: 0)

  /// `write` publishes one batch.
  init(n: UInt64, write: @escaping (RecordBlock) throws -> Void) {
    self.write = write
    self.n = n
    Thread { self.run() }.start()
  }

  private func run() {
    defer { ended.signal() }
    let records = RecordBlock(capacity: 100)
    var rng = Rng(seed: 0x5EED)
    do {
      while !isStopping.load(ordering: .relaxed) {
        records.removeAll()
        for _ in 0..<100 { records.append(id: rng.below(n)) }
        try write(records)
        written += 100
      }
    } catch {
      failure = error
    }
  }

  /// How many records it wrote.
  func stop() throws -> UInt64 {
    isStopping.store(true, ordering: .relaxed)
    ended.wait()
    if let failure { throw failure }
    return written
  }
}
