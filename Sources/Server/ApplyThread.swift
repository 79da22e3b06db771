// The apply thread: the only writer of the tree. Everything that became durable since the last round is one commit; its
// answers go out once readers can see it.
import Glibc
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

package struct ApplyOptions: Sendable {
  /// Commits that take longer are logged and counted.
  package var slow_ms: UInt64 = 100
  /// Rows of a part of a removal at most.
  package var removalRows = 1000
  /// About how long a part may take. Where reactors share the processor with this thread, one part is what a read may have to
  /// wait for it.
  package var removalPart_ns: UInt64 = 1_000_000

  package init() {}
}

/// Sendable: the inbox is guarded by the monitor; the rest belongs to the thread.
package final class ApplyThread: @unchecked Sendable {
  /// A commit takes at most so many bytes of commands, so that the first answer does not wait for the last command.
  private static let commitBytes = 4 << 20
  private static let commitEntries = 4096
  /// How long a full disk is given before the next try.
  private static let stall_ms = 200

  private let options: ApplyOptions
  private let applier: Applier
  private let status: NodeStatus
  private let sink: any ReplySink
  private let quota: Quota
  /// Set before `start`; the node cuts both when it stops, because they hold each other.
  var leases: LeaseThread?
  /// Proposes the NOSPACE alarm.
  var raiseNoSpace: (() -> Void)?
  var feed: EventFeed? {
    get { applier.feed }
    set { applier.feed = newValue }
  }
  private let latch: Latch
  private let checkpoints: CheckpointTrigger
  private let logger: Logger
  private let monitor = Monitor()
  private var inbox = ProposalList()
  private var isStopping = false
  private var thread: Thread?
  /// Whether compactions may have left something to remove: at the start, and after each compaction.
  private var isRemoving = true
  /// Whether anything was removed that no checkpoint was asked for yet.
  private var hasRemoved = false
  private var removalDue_ns: UInt64 = 0
  /// Rows of the next part: as many as the last ones could remove in the time for one.
  private var removalRows = 64

  package init(
    _ applier: Applier, status: NodeStatus, sink: any ReplySink, latch: Latch, checkpoints: CheckpointTrigger,
    quota: Quota, options: ApplyOptions, logger: Logger
  ) {
    self.options = options
    self.quota = quota
    self.applier = applier
    self.status = status
    self.sink = sink
    self.latch = latch
    self.checkpoints = checkpoints
    self.logger = logger
  }

  package func start() throws(ServerError) {
    thread = try Thread("apply") { self.run() }
  }

  /// Takes over durable entries, in order. Log thread only.
  package func hand(_ list: ProposalList) {
    guard !list.isEmpty else { return }
    monitor.locked {
      inbox.append(list)
      monitor.signal()
    }
  }

  /// Applies what it was handed, then ends. The log thread has ended before.
  package func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
    thread?.join()
  }

  private func run() {
    while var list = next() {
      while !list.isEmpty {
        var part = ProposalList()
        while let first = list.first, part.count < ApplyThread.commitEntries,
          part.isEmpty || part.byteCount + first.pointee.byteCount <= ApplyThread.commitBytes
        {
          guard let taken = list.removeFirst() else { break }
          part.append(taken)
        }
        let isApplied = apply(part)
        if isApplied { finish(&part) } else { part.freeAll() }
        guard isApplied else { return list.freeAll() }
      }
      guard removeCompacted() else { return }
    }
  }

  /// Waits for entries; an empty list when a part of a removal is due first; nil when stopped and nothing is left.
  private func next() -> ProposalList? {
    monitor.locked {
      while inbox.isEmpty, !isStopping {
        guard isRemoving else {
          monitor.wait()
          continue
        }
        let now = monotonicNanoseconds()
        guard now < removalDue_ns else { return ProposalList() }
        monitor.wait(atMost_ms: Int(clamping: (removalDue_ns - now) / 1_000_000 + 1))
      }
      let list = inbox
      inbox = ProposalList()
      return list.isEmpty ? nil : list
    }
  }

  /// A part of what compactions gave up, when it is due: removal takes at most half of the thread's time, and writes
  /// wait for one part at most. False when the store failed.
  private func removeCompacted() -> Bool {
    let begun = monotonicNanoseconds()
    guard isRemoving, begun >= removalDue_ns else { return true }
    do {
      let rows = min(removalRows, options.removalRows)
      isRemoving = try applier.removeCompacted(rowsMax: rows)
      hasRemoved = hasRemoved || isRemoving
      quota.note(used: applier.bytesInUse)
      checkpoints.applied(entries: 0, bytes: applier.takeAppliedBytes())
      // Whoever waits for the space waits for a checkpoint.
      if !isRemoving, hasRemoved {
        hasRemoved = false
        checkpoints.ask()
      }
      let ended = monotonicNanoseconds()
      let fitting = UInt64(rows) * options.removalPart_ns / max(ended - begun, 1)
      removalRows = min(max(Int(fitting), rows / 2, 16), rows * 2)
      removalDue_ns = ended + max(ended - begun, 1_000_000)
      return true
    } catch .storage(.noSpace) {
      // Removal needs pages before it gives any back.
      removalDue_ns = begun + UInt64(ApplyThread.stall_ms) * 1_000_000
      return true
    } catch {
      latch.fail("removing what was compacted: \(error)")
      return false
    }
  }

  /// A committed entry can't be refused: on a full disk this waits and tries again, and never skips. False when the
  /// store failed for good, or the server stops while the disk is full (the log still has the entries).
  private func apply(_ part: ProposalList) -> Bool {
    let begun = monotonicNanoseconds()
    while true {
      do {
        try applier.commit(part)
        if applier.hasCompacted { isRemoving = true }
        if status.isApplyStalled.exchange(false, ordering: .relaxed) { logger.notice("disk has room again: applying") }
        let took_ns = monotonicNanoseconds() - begun
        status.commits.record(took_ns, times: 1)
        let took_ms = took_ns / 1_000_000
        if took_ms > options.slow_ms {
          status.slowApplies.wrappingAdd(1, ordering: .relaxed)
          logger.warning("apply took too long", metadata: ["took_ms": "\(took_ms)", "entries": "\(part.count)"])
        }
        return true
      } catch .storage(.noSpace) {
        if !status.isApplyStalled.exchange(true, ordering: .relaxed) {
          logger.error("no space left for the database: applying waits until there is room")
        }
        let isOver = monitor.locked {
          if !isStopping { monitor.wait(atMost_ms: ApplyThread.stall_ms) }
          return isStopping
        }
        if isOver { return false }
      } catch {
        latch.fail("applying entry \(part.first?.pointee.index ?? 0): \(error)")
        return false
      }
    }
  }

  /// What the commit changed of alarms and of the space in use, before anybody is answered.
  private func noteSpace() throws(MVCCError) {
    if applier.hasChangedAlarms {
      let before = status.alarms.list
      let now = try applier.alarms()
      status.alarms.show(now)
      for alarm in now where !before.contains(alarm) { log(alarm, "alarm raised") }
      for alarm in before where !now.contains(alarm) { log(alarm, "alarm disarmed") }
    }
    // Requests that were admitted together may go beyond what each of them was admitted for.
    if quota.note(used: applier.bytesInUse), !status.alarms.kinds.contains(.noSpace) { raiseNoSpace?() }
  }

  private func log(_ alarm: Alarm, _ what: String) {
    logger.warning(
      "\(what)", metadata: ["alarm": "\(alarm.kind.name)", "member": "\(String(alarm.member, radix: 16))"])
  }

  private func finish(_ part: inout ProposalList) {
    // Published: from here on a read sees it, so its answer may go out.
    status.applied.store(part.lastIndex, ordering: .releasing)
    status.proposalsPending.wrappingSubtract(part.count, ordering: .relaxed)
    status.proposalBytesPending.wrappingSubtract(part.byteCount, ordering: .relaxed)
    do { try noteSpace() } catch { latch.fail("reading alarms: \(error)") }
    applier.tellWatchers()
    if let leases { applier.answer(through: sink, leases) }
    let count = part.count
    part.freeAll()
    checkpoints.applied(entries: count, bytes: applier.takeAppliedBytes())
  }
}
