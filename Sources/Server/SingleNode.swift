// Consensus of one: the log thread puts proposals into the write-ahead log and hands them on once they are durable.
// Everything queued while the last writes were in flight becomes the next group.
import CNeedletail
import Glibc
import Logging
import NeedletailBytes
import NeedletailRPC
import NeedletailWAL
import Synchronization

package struct SingleNodeOptions: Sendable {
  /// Proposals are refused while so many durable entries wait to be applied,
  package var applyLagLimit: UInt64 = 5_000
  /// or while proposals of so many bytes wait for the log or for apply.
  package var pendingBytesLimit = 256 << 20
  /// How long a full disk is given before the log is tried again.
  package var fullRetry_ms = 1_000

  package init() {}
}

/// Sendable: reactors touch the queue and the status, which are atomic; the rest belongs to the log thread from `start`
/// until `stop` has joined it.
package final class SingleNode: Consensus, @unchecked Sendable {
  private let options: SingleNodeOptions
  private let queue: ProposalQueue
  private let status: NodeStatus
  private let apply: ApplyThread
  private let sink: any ReplySink
  private let latch: Latch
  private let logger: Logger
  private let reopen: LogOpener
  private var log: WAL?
  private var lastIndex: UInt64
  /// Highest entry handed to apply.
  private var handedIndex: UInt64
  private var recycledIndex: UInt64 = 0
  /// In the log, not yet durable; in index order.
  private var pending = ProposalList()
  private var thread: Thread?

  /// `log` is open, and everything in it up to `lastIndex` is applied.
  package init(
    _ log: WAL, lastIndex: UInt64, reopen: LogOpener, options: SingleNodeOptions, status: NodeStatus,
    apply: ApplyThread, sink: any ReplySink, latch: Latch, logger: Logger
  ) throws(ServerError) {
    self.log = log
    self.lastIndex = lastIndex
    self.reopen = reopen
    self.options = options
    self.status = status
    self.apply = apply
    self.sink = sink
    self.latch = latch
    self.logger = logger
    handedIndex = lastIndex
    queue = try ProposalQueue()
  }

  package func propose(
    _ tag: CommandTag, _ request: UnsafeRawBufferPointer, reply: ReplyAddress
  ) throws(StatusError) {
    do { try admit(Command.headSize + request.count) } catch {
      status.proposalsFailed.wrappingAdd(1, ordering: .relaxed)
      throw error
    }
    guard let proposal = Proposal.make(tag, request, reply: reply) else { throw StatusError.tooManyRequests }
    status.proposalsPending.wrappingAdd(1, ordering: .relaxed)
    status.proposalBytesPending.wrappingAdd(proposal.pointee.byteCount, ordering: .relaxed)
    queue.push(proposal)
  }

  private func admit(_ byteCount: Int) throws(StatusError) {
    guard !status.isStopping.load(ordering: .relaxed) else { throw StatusError.stopped }
    guard !status.isLogFull.load(ordering: .relaxed) else { throw StatusError.noSpace }
    let applied = status.applied.load(ordering: .relaxed)
    let committed = status.committed.load(ordering: .relaxed)
    guard committed <= applied || committed - applied <= options.applyLagLimit,
      status.proposalBytesPending.load(ordering: .relaxed) + byteCount <= options.pendingBytesLimit
    else { throw StatusError.tooManyRequests }
  }

  package func start() throws(ServerError) {
    thread = try Thread("log") { self.run() }
  }

  /// Makes what is queued durable, hands it on, and ends. Reactors have stopped proposing before; what slips in
  /// nevertheless is answered here.
  package func stop() {
    status.isStopping.store(true, ordering: .releasing)
    queue.wake()
    thread?.join()
    var late = queue.takeAll()
    refuse(&late, .stopped)
  }

  /// Any thread: lets the log forget what the last checkpoint holds.
  package func recycleSoon() { queue.wake() }
}

// The log thread.
extension SingleNode {
  private func run() {
    while true {
      wait()
      let isStopping = status.isStopping.load(ordering: .acquiring)
      do {
        try turn()
      } catch .noSpace(let operation, let file) {
        becomeFull("\(operation) of \(file)")
        guard waitForSpace() else { return }
      } catch {
        return latch.fail("\(error)")
      }
      if isStopping, queue.isEmpty, pending.isEmpty {
        log?.close()
        log = nil
        return
      }
    }
  }

  /// Until a proposal or a completion comes; both are eventfds. Returns at once while the server stops.
  private func wait() {
    if status.isStopping.load(ordering: .relaxed), pending.isEmpty { return }
    var descriptors = [
      pollfd(fd: queue.eventDescriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: pending.isEmpty ? -1 : log?.completionDescriptor ?? -1, events: Int16(POLLIN), revents: 0),
    ]
    _ = poll(&descriptors, 2, -1)
  }

  private func turn() throws(WALError) {
    guard let log else { throw .closed }
    var fresh = queue.takeAll()
    let hasFresh = !fresh.isEmpty
    while let proposal = fresh.removeFirst() {
      lastIndex += 1
      proposal.pointee.index = lastIndex
      proposal.pointee.term = status.term.load(ordering: .relaxed)
      // Listed before it is appended: whatever happens then, it is answered.
      pending.append(proposal)
      do {
        try log.append(index: lastIndex, term: proposal.pointee.term, payload: proposal.bytes)
      } catch {
        pending.append(fresh)
        throw error
      }
    }
    if hasFresh { _ = try log.submit() }
    if !pending.isEmpty { hand(durable: try log.reap(wait: false).index) }
    try recycle(log)
  }

  /// Hands on the part of `pending` that is durable now.
  private func hand(durable index: UInt64) {
    var ready = ProposalList()
    while let first = pending.first, first.pointee.index <= index, let taken = pending.removeFirst() {
      handedIndex = taken.pointee.index
      ready.append(taken)
    }
    guard !ready.isEmpty else { return }
    status.committed.store(handedIndex, ordering: .releasing)
    apply.hand(ready)
  }

  private func recycle(_ log: WAL) throws(WALError) {
    let checkpointed = status.checkpointed.load(ordering: .acquiring)
    guard checkpointed > recycledIndex else { return }
    try log.recycle(through: checkpointed)
    recycledIndex = checkpointed
  }
}

// A full disk: writes are refused, reads go on, and the log is opened anew once there is room.
extension SingleNode {
  /// Nobody knows how much of what was being written reached the disk: those clients are told that the outcome is
  /// unknown. Reopening the log will tell, and what is found durable is applied then.
  private func becomeFull(_ what: String) {
    status.isLogFull.store(true, ordering: .releasing)
    logger.error("no space left for the write-ahead log: writes are refused until there is room", metadata: ["at": "\(what)"])
    log?.close()
    log = nil
    refuse(&pending, .timedOut)
  }

  /// True once the log is open again; false when the server stops first, or the log fails for another reason.
  private func waitForSpace() -> Bool {
    while true {
      // Queued before they could see that the log is full: surely not written.
      var late = queue.takeAll()
      refuse(&late, .noSpace)
      var descriptor = pollfd(fd: queue.eventDescriptor, events: Int16(POLLIN), revents: 0)
      _ = poll(&descriptor, 1, Int32(clamping: options.fullRetry_ms))
      if status.isStopping.load(ordering: .acquiring) { return false }
      do {
        try reopenLog()
        status.isLogFull.store(false, ordering: .releasing)
        logger.notice("the write-ahead log has room again: writes are taken")
        return true
      } catch .log(.noSpace) {
        continue
      } catch {
        latch.fail("\(error)")
        return false
      }
    }
  }

  private func reopenLog() throws(ServerError) {
    var found = ProposalList()
    do {
      let opened = try reopen.open(appliedIndex: handedIndex, appliedTerm: nil) { found.append($0) }
      log = opened.log
      lastIndex = opened.lastIndex
    } catch {
      found.freeAll()
      throw error
    }
    guard !found.isEmpty else { return }
    status.proposalsPending.wrappingAdd(found.count, ordering: .relaxed)
    status.proposalBytesPending.wrappingAdd(found.byteCount, ordering: .relaxed)
    handedIndex = lastIndex
    status.committed.store(handedIndex, ordering: .releasing)
    apply.hand(found)
  }

  private func refuse(_ list: inout ProposalList, _ error: StatusError) {
    status.proposalsPending.wrappingSubtract(list.count, ordering: .relaxed)
    status.proposalBytesPending.wrappingSubtract(list.byteCount, ordering: .relaxed)
    var text = error.message
    while let proposal = list.removeFirst() {
      status.proposalsFailed.wrappingAdd(1, ordering: .relaxed)
      if let address = proposal.pointee.reply {
        text.withUTF8 { sink.reply(to: address, status: error.code.rawValue, body: UnsafeRawBufferPointer($0)) }
      }
      free(proposal)
    }
  }
}
