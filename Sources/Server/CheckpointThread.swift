// The checkpoint thread: makes the tree durable in the background, so that the log can be recycled and a restart replays
// little. A write's durability never waits for it.
import Logging
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC

package struct CheckpointOptions: Sendable {
  /// A checkpoint begins when commands of so many bytes were applied since the last,
  package var bytes = 64 << 20
  /// or so many commands, where that is not 0,
  package var entries = 0
  /// or when so much time has passed and anything was applied.
  package var interval_ms = 30_000
  /// Whether one begins right after a start that replayed entries, so that they are not replayed again.
  package var afterReplay = true

  package init() {}
}

/// How the apply thread tells the checkpoint thread what it did.
/// Sendable: the counters are guarded by the monitor.
package final class CheckpointTrigger: @unchecked Sendable {
  enum Reason {
    case due
    case stop
  }

  private let options: CheckpointOptions
  private let monitor = Monitor()
  private var bytes = 0
  private var entries = 0
  private var isAsked = false
  /// Who waits for a shrink.
  private var shrinks: [ReplyAddress] = []
  private var isStopping = false

  package init(_ options: CheckpointOptions) {
    self.options = options
  }

  func applied(entries count: Int, bytes size: Int) {
    monitor.locked {
      bytes += size
      entries += count
      if isFull { monitor.signal() }
    }
  }

  /// Under the monitor.
  private var isFull: Bool { bytes >= options.bytes || (options.entries > 0 && entries >= options.entries) }

  /// One checkpoint soon, whatever the counters say.
  package func ask() {
    monitor.locked {
      isAsked = true
      monitor.signal()
    }
  }

  /// A shrink soon, whatever the file is like. The answer comes when it is done.
  func askToShrink(reply: ReplyAddress) throws(StatusError) {
    let refusal: StatusError? = monitor.locked {
      guard !isStopping else { return .stopped }
      guard shrinks.count < CheckpointTrigger.shrinksMax else { return .tooManyRequests }
      shrinks.append(reply)
      isAsked = true
      monitor.signal()
      return nil
    }
    if let refusal { throw refusal }
  }

  private static let shrinksMax = 64

  func takeShrinks() -> [ReplyAddress] {
    monitor.locked {
      defer { shrinks = [] }
      return shrinks
    }
  }

  func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
  }

  var goesOn: Bool { monitor.locked { !isStopping } }

  /// Blocks until a checkpoint is due.
  func wait() -> Reason {
    let deadline = monotonicNanoseconds() + UInt64(options.interval_ms) * 1_000_000
    return monitor.locked {
      while !isStopping {
        let now = monotonicNanoseconds()
        let isTime = now >= deadline
        if isAsked || isFull || isTime {
          let isDue = isAsked || bytes > 0
          isAsked = false
          bytes = 0
          entries = 0
          if isDue { return .due }
          monitor.wait(atMost_ms: options.interval_ms)
          continue
        }
        monitor.wait(atMost_ms: Int((deadline - now) / 1_000_000) + 1)
      }
      return .stop
    }
  }
}

/// Sendable: the thread is started and joined by the node alone.
package final class CheckpointThread: @unchecked Sendable {
  private let database: Database
  private let trigger: CheckpointTrigger
  private let status: NodeStatus
  private let latch: Latch
  private let logger: Logger
  private let recycle: @Sendable () -> Void
  private let released: @Sendable (UInt64) -> Void
  private let sink: any ReplySink
  private var thread: Thread?
  /// Used by the thread alone.
  private var shrinkDue_ns: UInt64 = 0

  /// `recycle` wakes the log thread after each checkpoint: it owns the segments. `released` is told up to which
  /// compaction the space is free.
  package init(
    _ database: Database, trigger: CheckpointTrigger, status: NodeStatus, sink: any ReplySink, latch: Latch,
    logger: Logger, released: @escaping @Sendable (UInt64) -> Void, recycle: @escaping @Sendable () -> Void
  ) {
    self.released = released
    self.database = database
    self.trigger = trigger
    self.status = status
    self.sink = sink
    self.latch = latch
    self.logger = logger
    self.recycle = recycle
  }

  package func start() throws(ServerError) {
    thread = try Thread("checkpoint") { self.run() }
  }

  /// Ends after the checkpoint under way, if any.
  package func stop() {
    trigger.stop()
    thread?.join()
  }

  private func run() {
    while trigger.wait() == .due {
      let waiting = trigger.takeShrinks()
      guard checkpoint(), waiting.isEmpty ? shrinkIfWorthIt() : shrink(for: waiting) else { return }
      recycle()
    }
    for address in trigger.takeShrinks() { answer(address, .stopped) }
  }

  /// False when the database failed for good. A full disk is no such failure: the log keeps what it has, and the next
  /// round tries again.
  package func checkpoint() -> Bool {
    do {
      try database.checkpoint()
    } catch .noSpace(let bytes) {
      logger.error("no space left for a checkpoint of the database", metadata: ["bytes": "\(bytes)"])
      return true
    } catch {
      latch.fail("checkpoint: \(error)")
      return false
    }
    noteDurable()
    return true
  }

  private func noteDurable() {
    let words = database.durableWords
    status.checkpointed.store(words[StoreWord.appliedIndex], ordering: .releasing)
    released(words[StoreWord.removedRevision])
    status.checkpoints.wrappingAdd(1, ordering: .relaxed)
  }

  /// Where less than half of the file is in use, its end goes back to the file system. False when the database failed.
  private func shrinkIfWorthIt() -> Bool {
    let figures = database.statistics
    let used = figures.liveBytes + figures.pendingBytes
    let now = monotonicNanoseconds()
    guard figures.fileBytes > 2 * used + Self.shrinkBytes, now >= shrinkDue_ns else { return true }
    shrinkDue_ns = now + Self.shrinkInterval_ns
    var refusal: StatusError?
    return shrink(&refusal)
  }

  /// The same because clients asked for it: what can be given back now is, and they are told.
  private func shrink(for waiting: [ReplyAddress]) -> Bool {
    var refusal: StatusError?
    let goesOn = shrink(&refusal)
    for address in waiting { answer(address, goesOn ? refusal : .stopped) }
    return goesOn
  }

  private func answer(_ address: ReplyAddress, _ error: StatusError?) {
    var text = error?.message ?? ""
    text.withUTF8 {
      sink.reply(to: address, status: (error?.code ?? .ok).rawValue, body: UnsafeRawBufferPointer($0))
    }
  }

  private func shrink(_ refusal: inout StatusError?) -> Bool {
    do {
      let report = try database.shrink { trigger.goesOn }
      noteDurable()
      if report.outcome == .shrunk {
        logger.notice(
          "gave free space back to the file system",
          metadata: ["before": "\(report.before)", "after": "\(report.after)"])
      } else if report.outcome == .held {
        logger.info("a reader keeps the database file from shrinking")
      } else if report.outcome == .stopped {
        refusal = .stopped
      }
      return true
    } catch .noSpace {
      refusal = .noSpace
      return true
    } catch .corrupt(let page, let reason) {
      // Scrubbing and reads will say so too; a shorter file is not worth stopping for.
      logger.error(
        "a damaged page keeps the database file from shrinking", metadata: ["page": "\(page)", "reason": "\(reason)"])
      refusal = StatusError(.dataLoss, "needletail: page \(page) is damaged: \(reason)")
      return true
    } catch {
      latch.fail("shrinking the database: \(error)")
      return false
    }
  }

  /// Free space that is not worth the work, and the least time between two attempts.
  private static let shrinkBytes: UInt64 = 64 << 20
  private static let shrinkInterval_ns: UInt64 = 60 * 1_000_000_000
}
