// Compaction by itself, in etcd's two modes: keep the history of a period, or of a number of revisions.
import Logging
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC

package struct AutoCompactionOptions: Sendable {
  package enum Mode: Equatable, Sendable {
    case off
    /// History of so many ms is kept.
    case periodic(UInt64)
    /// So many revisions are kept.
    case revision(Int64)
  }

  package var mode = Mode.off
  /// How often the revision mode looks; etcd's five minutes.
  package var revisionInterval_ms: UInt64 = 300_000

  package init() {}
}

/// Which revision to compact to, and when; told the time, it keeps none of its own.
///
/// Periodic, as etcd does it: ten times in a period (in an hour, if the period is longer) the revision is noted. When a
/// period of notes has gathered, the oldest is compacted, and from then on once a period, at least once an hour.
package struct CompactionSchedule {
  private static let hour_ms: UInt64 = 3_600_000
  private let options: AutoCompactionOptions
  private var notes: [Int64] = []
  private var last_ms: UInt64
  private var compacted: Int64 = 0

  package init(_ options: AutoCompactionOptions, now_ms: UInt64) {
    self.options = options
    last_ms = now_ms
  }

  /// Time between two calls of `next`; nil where there is nothing to do.
  package var interval_ms: UInt64? {
    switch options.mode {
    case .off: nil
    case .periodic(let period_ms): max(1, min(period_ms, CompactionSchedule.hour_ms) / 10)
    case .revision: options.revisionInterval_ms
    }
  }

  /// The revision to compact to now, or nil.
  package mutating func next(now_ms: UInt64, revision: Int64) -> Int64? {
    switch options.mode {
    case .off: return nil
    case .revision(let kept):
      let wanted = revision - kept
      return wanted > 0 && wanted != compacted ? wanted : nil
    case .periodic(let period_ms):
      guard let interval_ms else { return nil }
      notes.append(revision)
      let kept = Int(clamping: max(1, period_ms / interval_ms))
      if notes.count > kept { notes.removeFirst(notes.count - kept) }
      // The first compaction waits for a whole period of notes.
      guard notes.count == kept, now_ms - last_ms >= min(period_ms, CompactionSchedule.hour_ms) else { return nil }
      last_ms = now_ms
      guard let oldest = notes.first, oldest > 0, oldest != compacted else { return nil }
      return oldest
    }
  }

  /// The compaction to `revision` was proposed.
  package mutating func proposed(_ revision: Int64) { compacted = revision }
}

/// Sendable: the thread is started and joined by the node alone; the flag is guarded by the monitor.
package final class AutoCompactionThread: @unchecked Sendable {
  private let store: Store
  private let consensus: any Consensus
  private let options: AutoCompactionOptions
  private let logger: Logger
  private let monitor = Monitor()
  private var isStopping = false
  private var thread: Thread?

  package init(_ store: Store, consensus: any Consensus, options: AutoCompactionOptions, logger: Logger) {
    self.store = store
    self.consensus = consensus
    self.options = options
    self.logger = logger
  }

  package func start() throws(ServerError) {
    guard options.mode != .off else { return }
    thread = try Thread("compaction") { self.run() }
  }

  package func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
    thread?.join()
  }

  private func run() {
    var schedule = CompactionSchedule(options, now_ms: monotonicNanoseconds() / 1_000_000)
    guard let interval_ms = schedule.interval_ms else { return }
    while wait(interval_ms) {
      guard let revision = currentRevision() else { continue }
      let now_ms = monotonicNanoseconds() / 1_000_000
      guard let wanted = schedule.next(now_ms: now_ms, revision: revision) else { continue }
      if let refusal = propose(wanted) {
        logger.warning("automatic compaction was refused", metadata: ["why": "\(refusal)"])
      } else {
        schedule.proposed(wanted)
        logger.info("compacting", metadata: ["revision": "\(wanted)", "current": "\(revision)"])
      }
    }
  }

  /// Nil where it is on its way.
  private func propose(_ revision: Int64) -> StatusError? {
    CompactionRequestView(revision).encoded().withUnsafeBytes { body in
      do throws(StatusError) {
        try consensus.propose(.compact, body, reply: nil)
        return nil
      } catch {
        return error
      }
    }
  }

  /// False when the node stops.
  private func wait(_ interval_ms: UInt64) -> Bool {
    let deadline = monotonicNanoseconds() + interval_ms * 1_000_000
    return monitor.locked {
      while !isStopping {
        let now = monotonicNanoseconds()
        guard now < deadline else { return true }
        monitor.wait(atMost_ms: Int(clamping: (deadline - now) / 1_000_000 + 1))
      }
      return false
    }
  }

  private func currentRevision() -> Int64? {
    guard let reader = try? store.database.makeReader() else { return nil }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return Int64(clamping: view.word(StoreWord.revision))
  }
}
