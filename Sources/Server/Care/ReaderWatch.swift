// Watches for readers that stay on an old snapshot: what they hold back makes the file grow.
import Logging
import NeedletailBackend
import Synchronization

/// Sampled by one thread, about once a second; its figures are read by any.
///
/// Ages are counted from the first sample at which a reader was seen behind the newest snapshot. A reader that is seen
/// again with the same snapshot has held it all the while (see `readersHoldingBack`).
package final class ReaderWatch: @unchecked Sendable {
  package let oldestAge_ms = Atomic<UInt64>(0)
  package let oldestTransaction = Atomic<UInt64>(0)
  package let oldestHeldBytes = Atomic<UInt64>(0)
  package let holdingBack = Atomic<UInt64>(0)

  private let logger: Logger?
  private let warningAge_ms: UInt64
  // Below: the sampling thread's alone.
  private var since: [Int: (transaction: UInt64, first_ns: UInt64)] = [:]
  private var nextWarning_ms: UInt64

  package init(logger: Logger? = nil, warningAge_ms: UInt64 = 300_000) {
    self.logger = logger
    self.warningAge_ms = warningAge_ms
    nextWarning_ms = warningAge_ms
  }

  package func sample(_ database: Database, now_ns: UInt64) {
    let readers = database.readersHoldingBack
    var next: [Int: (transaction: UInt64, first_ns: UInt64)] = [:]
    for reader in readers {
      let before = since[reader.slot]
      next[reader.slot] = before?.transaction == reader.transaction ? before : (reader.transaction, now_ns)
    }
    since = next
    holdingBack.store(UInt64(readers.count), ordering: .relaxed)
    let oldest = readers.first
    let first_ns = oldest.flatMap { next[$0.slot]?.first_ns } ?? now_ns
    let age_ms = (now_ns - min(now_ns, first_ns)) / 1_000_000
    oldestAge_ms.store(age_ms, ordering: .relaxed)
    oldestTransaction.store(oldest?.transaction ?? 0, ordering: .relaxed)
    oldestHeldBytes.store(oldest?.heldBytes ?? 0, ordering: .relaxed)
    warn(oldest, age_ms)
  }

  /// At the age that is too much, then each time the same time has passed again.
  private func warn(_ oldest: ReaderReport?, _ age_ms: UInt64) {
    guard let oldest, age_ms >= warningAge_ms else {
      nextWarning_ms = warningAge_ms
      return
    }
    guard age_ms >= nextWarning_ms else { return }
    nextWarning_ms = age_ms + warningAge_ms
    logger?.warning(
      "a reader has held an old snapshot for long: pages replaced since are kept, and the file grows",
      metadata: [
        "age_s": "\(age_ms / 1000)", "transaction": "\(oldest.transaction)", "held_bytes": "\(oldest.heldBytes)",
      ])
  }
}
