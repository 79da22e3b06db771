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
  private let log: WAL
  /// The last entry appended to the log, and the last whose write was surely begun.
  private var lastIndex: UInt64
  private var submittedIndex: UInt64
  private var recycledIndex: UInt64 = 0
  /// Appended, not yet durable; in index order.
  private var pending = ProposalList()
  /// What was submitted and is not yet durable: the last index of each submission and when it was made.
  private var submissions: [(index: UInt64, at_ns: UInt64)] = []
  private var thread: Thread?

  /// `log` is open, and everything in it up to `lastIndex` is applied.
  package init(
    _ log: WAL, lastIndex: UInt64, options: SingleNodeOptions, status: NodeStatus, apply: ApplyThread,
    sink: any ReplySink, latch: Latch, logger: Logger
  ) throws(ServerError) {
    self.log = log
    self.lastIndex = lastIndex
    submittedIndex = lastIndex
    self.options = options
    self.status = status
    self.apply = apply
    self.sink = sink
    self.latch = latch
    self.logger = logger
    queue = try ProposalQueue()
  }

  deinit { pending.freeAll() }

  package func propose(
    _ tag: CommandTag, _ request: UnsafeRawBufferPointer, reply: ReplyAddress?
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
    guard !status.isLogFull.load(ordering: .relaxed), !status.isApplyStalled.load(ordering: .relaxed) else {
      throw StatusError.noSpace
    }
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
  private var isFull: Bool { status.isLogFull.load(ordering: .relaxed) }

  private func run() {
    while true {
      wait()
      let isStopping = status.isStopping.load(ordering: .acquiring)
      do { try turn() } catch { return latch.fail("\(error)") }
      if isStopping, queue.isEmpty, pending.isEmpty || isFull { break }
    }
    // Where the disk is full, what is pending may or may not be found in the log by the next start.
    refuse(&pending, .timedOut)
    log.close()
  }

  /// Until a proposal or a completion comes (both are eventfds), or a full disk is due for another try. Returns at once
  /// while the server stops with nothing in flight.
  private func wait() {
    if status.isStopping.load(ordering: .relaxed), pending.isEmpty || isFull { return }
    var descriptors = (
      pollfd(fd: queue.eventDescriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: log.completionDescriptor, events: Int16(POLLIN), revents: 0)
    )
    let limit_ms = isFull ? Int32(clamping: options.fullRetry_ms) : -1
    withUnsafeMutablePointer(to: &descriptors) { both in
      both.withMemoryRebound(to: pollfd.self, capacity: 2) { _ = poll($0, 2, limit_ms) }
    }
  }

  private func turn() throws(WALError) {
    try append(queue.takeAll())
    try submit()
    if !pending.isEmpty { hand(durable: try log.reap(wait: false).index) }
    try recycle()
  }

  /// Adds the proposals to the open group. Where the log has no room, those that it did not take are refused: they were
  /// surely not written.
  private func append(_ proposals: ProposalList) throws(WALError) {
    var rest = proposals
    while !isFull, let proposal = rest.first {
      proposal.pointee.index = lastIndex + 1
      proposal.pointee.term = status.term.load(ordering: .relaxed)
      do {
        try log.append(index: lastIndex + 1, term: proposal.pointee.term, payload: proposal.bytes)
      } catch .noSpace(let operation, let file) {
        try becomeFull("\(operation) of \(file)")
        break
      } catch {
        // The process ends; whoever waits learns nothing, which is the truth.
        rest.freeAll()
        throw error
      }
      guard let taken = rest.removeFirst() else { break }
      lastIndex += 1
      pending.append(taken)
    }
    refuse(&rest, .noSpace)
  }

  private func submit() throws(WALError) {
    let begun = monotonicNanoseconds()
    do { try log.submit() } catch .noSpace(let operation, let file) {
      return try becomeFull("\(operation) of \(file)")
    }
    if lastIndex > submittedIndex { submissions.append((lastIndex, begun)) }
    submittedIndex = lastIndex
    guard isFull else { return }
    status.isLogFull.store(false, ordering: .releasing)
    logger.notice("the write-ahead log has room again: writes are taken")
  }

  /// A full disk, met while a segment was to be made: the open group stays as it is and is tried again, new proposals are
  /// refused, reads go on. Those in the group are told that their outcome is unknown: they become durable once there is
  /// room. A full disk met by a write is no such case; it is latched in the log, and ends the server.
  private func becomeFull(_ what: String) throws(WALError) {
    try log.check()
    guard !isFull else { return }
    status.isLogFull.store(true, ordering: .releasing)
    logger.error(
      "no space left for the write-ahead log: writes are refused until there is room", metadata: ["at": "\(what)"])
    var proposal = pending.first
    while let current = proposal {
      if current.pointee.index > submittedIndex, let address = current.pointee.reply {
        answer(address, .timedOut)
        current.pointee.reply = nil
      }
      proposal = current.pointee.next
    }
  }

  /// Hands on the part of `pending` that is durable now.
  private func hand(durable index: UInt64) {
    var ready = ProposalList()
    var last: UInt64 = 0
    while let first = pending.first, first.pointee.index <= index, let taken = pending.removeFirst() {
      last = taken.pointee.index
      ready.append(taken)
    }
    guard !ready.isEmpty else { return }
    let now = monotonicNanoseconds()
    let done = submissions.prefix { $0.index <= last }
    for submission in done { status.logWrites.record(now - submission.at_ns, times: 1) }
    submissions.removeFirst(done.count)
    status.committed.store(last, ordering: .releasing)
    apply.hand(ready)
  }

  private func recycle() throws(WALError) {
    let checkpointed = status.checkpointed.load(ordering: .acquiring)
    guard checkpointed > recycledIndex else { return }
    try log.recycle(through: checkpointed)
    recycledIndex = checkpointed
  }

  /// Answers everybody in the list with an error and frees it.
  private func refuse(_ list: inout ProposalList, _ error: StatusError) {
    status.proposalsPending.wrappingSubtract(list.count, ordering: .relaxed)
    status.proposalBytesPending.wrappingSubtract(list.byteCount, ordering: .relaxed)
    while let proposal = list.removeFirst() {
      if let address = proposal.pointee.reply { answer(address, error) }
      free(proposal)
    }
  }

  private func answer(_ address: ReplyAddress, _ error: StatusError) {
    status.proposalsFailed.wrappingAdd(1, ordering: .relaxed)
    var text = error.message
    text.withUTF8 { sink.reply(to: address, status: error.code.rawValue, body: UnsafeRawBufferPointer($0)) }
  }
}
