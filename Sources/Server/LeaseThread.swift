// The lease thread: keeps the deadlines, answers what is asked about them, and proposes what they bring about. It is told
// of grants and revocations by the apply thread; keep-alives come from the reactors. All through one lock-free queue.
import Glibc
import Logging
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC

package struct LeaseOptions: Sendable {
  /// Shortest TTL in seconds; etcd's: half as much again as an election takes, rounded up.
  package var ttlMin: Int64 = 2
  /// How much longer leases live after a start, as etcd's do under a new leader.
  package var grace_ms: UInt64 = 1_000
  /// How often expired leases are looked for, and how many are revoked at a time.
  package var tick_ms: UInt64 = 500
  package var revocationsPerTick = 500
  /// How often what is left of leases longer than this is written down.
  package var checkpoint_ms: UInt64 = 300_000

  package init() {}
}

/// Sendable: the queue is made for many pushers; the rest belongs to the thread from `start` until `stop` joined it.
package final class LeaseThread: @unchecked Sendable {
  enum Event: UInt8 {
    case keepAlive = 1
    case timeToLive = 2
    case list = 3
    case granted = 4
    case revoked = 5
    case checkpointed = 6
    case stop = 7
  }

  private static let checkpointsMax = 1_000

  let options: LeaseOptions
  private let store: Store
  private let status: NodeStatus
  private let consensus: any Consensus
  private let sink: any ReplySink
  private let latch: Latch
  private let logger: Logger
  private let queue: ProposalQueue
  private var table = LeaseTable()
  private var isStopping = false
  private var thread: Thread?

  package init(
    _ store: Store, status: NodeStatus, consensus: any Consensus, sink: any ReplySink, latch: Latch,
    options: LeaseOptions, logger: Logger
  ) throws(ServerError) {
    self.store = store
    self.status = status
    self.consensus = consensus
    self.sink = sink
    self.latch = latch
    self.options = options
    self.logger = logger
    queue = try ProposalQueue()
  }

  package func start() throws(ServerError) {
    thread = try Thread("lease") { self.run() }
  }

  package func stop() {
    _ = post(.stop, 0, 0, reply: nil)
    thread?.join()
  }

  /// Any thread; never blocks. False only where memory is gone.
  func post(_ event: Event, _ id: Int64, _ number: Int64, reply: ReplyAddress?) -> Bool {
    var words = (id, number)
    return withUnsafeBytes(of: &words) { bytes in
      guard let message = Proposal.make(event.rawValue, bytes, reply: reply) else { return false }
      queue.push(message)
      return true
    }
  }

  private func run() {
    guard let reader = try? store.database.makeReader() else { return latch.fail("leases: no reader slot is free") }
    defer { reader.free() }
    guard load(reader) else { return }
    var tick_ns = monotonicNanoseconds()
    var checkpoint_ns = tick_ns + options.checkpoint_ms * 1_000_000
    while !isStopping {
      let now = monotonicNanoseconds()
      if now >= tick_ns {
        revokeExpired(now)
        tick_ns = now + options.tick_ms * 1_000_000
      }
      if now >= checkpoint_ns {
        checkpoint(now)
        checkpoint_ns = now + options.checkpoint_ms * 1_000_000
      }
      wait(until: min(tick_ns, checkpoint_ns))
      take(reader)
    }
  }

  /// The leases that the tree has when the node starts.
  private func load(_ reader: ReaderHandle) -> Bool {
    let view = reader.pin()
    defer { reader.unpin() }
    let now = monotonicNanoseconds()
    do {
      try store.forEachLease(view) { id, record in
        table.grant(
          id, ttl: record.ttl, remaining: record.remaining, grace_ns: options.grace_ms * 1_000_000, now_ns: now)
      }
    } catch {
      latch.fail("leases: \(error)")
      return false
    }
    return true
  }

  private func wait(until deadline: UInt64) {
    let now = monotonicNanoseconds()
    let limit_ms = deadline > now ? Int32(clamping: (deadline - now) / 1_000_000 + 1) : 0
    var descriptor = pollfd(fd: queue.eventDescriptor, events: Int16(POLLIN), revents: 0)
    _ = poll(&descriptor, 1, limit_ms)
  }

  private func take(_ reader: ReaderHandle) {
    var list = queue.takeAll()
    while let message = list.removeFirst() {
      let bytes = message.bytes
      if let event = Event(rawValue: bytes[1]) {
        let id = bytes.loadUnaligned(fromByteOffset: Command.headSize, as: Int64.self)
        let number = bytes.loadUnaligned(fromByteOffset: Command.headSize + 8, as: Int64.self)
        handle(event, id, number, message.pointee.reply, reader)
      }
      free(message)
    }
  }

  private func handle(
    _ event: Event, _ id: Int64, _ number: Int64, _ reply: ReplyAddress?, _ reader: ReaderHandle
  ) {
    let now = monotonicNanoseconds()
    switch event {
    case .granted: table.grant(id, ttl: number, now_ns: now)
    case .revoked: table.revoked(id)
    case .checkpointed: table.checkpointed(id, remaining: number)
    case .stop: isStopping = true
    case .keepAlive: keepAlive(id, now, reply, reader)
    case .timeToLive: timeToLive(id, withKeys: number != 0, now, reply, reader)
    case .list:
      var answer = LeaseListResponse()
      answer.ids = table.idsByExpiry
      answer.header = header(reader)
      send(answer, to: reply)
    }
  }

  // MARK: Answers

  // The table is told of a commit after it is published, so that clients may have seen what the table has not: an answer
  // is made from both, and where the tree has or lacks a lease the tree is right. A view that is pinned here is no older
  // than what the table was told.

  /// A lease that is gone, or is going, is answered with no time.
  private func keepAlive(_ id: Int64, _ now: UInt64, _ reply: ReplyAddress?, _ reader: ReaderHandle) {
    let view = reader.pin()
    defer { reader.unpin() }
    var answer = LeaseResponse()
    answer.id = id
    answer.header = header(view)
    do {
      if let record = try store.lease(view, id) {
        if !table.contains(id) {
          // Its time begins when the table hears of it, which is no earlier than now.
          answer.ttl = record.ttl
        } else if let (ttl, hadCheckpoint) = table.renew(id, now_ns: now) {
          answer.ttl = ttl
          // After a restart it shall have all of its time again.
          if hadCheckpoint { propose([(id, 0)]) }
        }
      }
    } catch {
      return fail(StatusError(error), to: reply)
    }
    send(answer, to: reply)
  }

  private func timeToLive(
    _ id: Int64, withKeys: Bool, _ now: UInt64, _ reply: ReplyAddress?, _ reader: ReaderHandle
  ) {
    let view = reader.pin()
    defer { reader.unpin() }
    var answer = LeaseResponse()
    answer.id = id
    answer.ttl = -1
    answer.header = header(view)
    do {
      if let record = try store.lease(view, id) {
        (answer.grantedTTL, answer.ttl) = table.timeToLive(id, now_ns: now) ?? (record.ttl, record.ttl)
        if withKeys { answer.keys = try store.keys(of: id, view) }
      }
    } catch {
      return fail(StatusError(error), to: reply)
    }
    send(answer, to: reply)
  }

  private func header(_ reader: ReaderHandle) -> ResponseHeader {
    let view = reader.pin()
    defer { reader.unpin() }
    return header(view)
  }

  private func header(_ view: SnapshotView) -> ResponseHeader {
    ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID,
      revision: Int64(clamping: view.word(StoreWord.revision)), raftTerm: status.term.load(ordering: .relaxed))
  }

  private func send(_ message: some ProtoEncodable, to reply: ReplyAddress?) {
    guard let reply else { return }
    message.encoded().withUnsafeBytes { sink.reply(to: reply, status: 0, body: $0) }
  }

  private func fail(_ error: StatusError, to reply: ReplyAddress?) {
    guard let reply else { return }
    Array(error.message.utf8).withUnsafeBytes { sink.reply(to: reply, status: error.code.rawValue, body: $0) }
  }

  // MARK: Proposals

  private func revokeExpired(_ now: UInt64) {
    for id in table.expired(now_ns: now, most: options.revocationsPerTick) {
      if let refusal = propose(.leaseRevoke, LeaseRequestView(id).encoded()) {
        table.notRevoked(id)
        logger.warning("a lease's revocation was refused", metadata: ["id": "\(id)", "why": "\(refusal)"])
      }
    }
  }

  private func checkpoint(_ now: UInt64) {
    let all = table.remaining(longerThan: Int64(clamping: options.checkpoint_ms / 1_000), now_ns: now)
    for first in stride(from: 0, to: all.count, by: LeaseThread.checkpointsMax) {
      propose(Array(all[first..<min(all.count, first + LeaseThread.checkpointsMax)]))
    }
  }

  private func propose(_ leases: [(id: Int64, remaining: Int64)]) {
    var request = LeaseCheckpoints()
    request.leases = leases.map { LeaseRequestView($0.id, $0.remaining) }
    if let refusal = propose(.leaseCheckpoint, request.encoded()) {
      logger.warning("a checkpoint of leases was refused", metadata: ["why": "\(refusal)"])
    }
  }

  /// Nil where it is on its way.
  private func propose(_ tag: CommandTag, _ body: [UInt8]) -> StatusError? {
    body.withUnsafeBytes { body in
      do throws(StatusError) {
        try consensus.propose(tag, body, reply: nil)
        return nil
      } catch {
        return error
      }
    }
  }
}
