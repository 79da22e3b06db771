// A proposal on its way from a reactor through the log to the apply thread: one malloc'd record, passed on by pointer,
// never copied.
import CNeedletail
import Glibc
import NeedletailRPC
import Synchronization

/// `byteCount` bytes of the command follow in the same allocation. Owned by whoever holds the list it is in.
package struct Proposal {
  package var next: UnsafeMutablePointer<Proposal>?
  /// Nil for an entry replayed from the log: nobody waits for its answer.
  package var reply: ReplyAddress?
  package var index: UInt64
  package var term: UInt64
  package var byteCount: Int

  package static func make(
    _ tag: CommandTag, _ request: UnsafeRawBufferPointer, reply: ReplyAddress?
  ) -> UnsafeMutablePointer<Proposal>? {
    make(tag.rawValue, request, reply: reply)
  }

  /// A message with the same head for another taker than the log.
  static func make(
    _ tag: UInt8, _ request: UnsafeRawBufferPointer, reply: ReplyAddress?
  ) -> UnsafeMutablePointer<Proposal>? {
    guard let proposal = allocate(Command.headSize + request.count, reply: reply) else { return nil }
    let bytes = proposal.payload
    bytes.storeBytes(of: Command.version, as: UInt8.self)
    bytes.storeBytes(of: tag, toByteOffset: 1, as: UInt8.self)
    if let source = request.baseAddress { memcpy(bytes + Command.headSize, source, request.count) }
    return proposal
  }

  /// A proposal that holds a recovered entry.
  package static func make(
    index: UInt64, term: UInt64, _ payload: UnsafeRawBufferPointer
  ) -> UnsafeMutablePointer<Proposal>? {
    guard let proposal = allocate(payload.count, reply: nil) else { return nil }
    proposal.pointee.index = index
    proposal.pointee.term = term
    if let source = payload.baseAddress { memcpy(proposal.payload, source, payload.count) }
    return proposal
  }

  private static func allocate(_ byteCount: Int, reply: ReplyAddress?) -> UnsafeMutablePointer<Proposal>? {
    guard let memory = malloc(MemoryLayout<Proposal>.size + byteCount) else { return nil }
    let proposal = memory.bindMemory(to: Proposal.self, capacity: 1)
    proposal.initialize(to: Proposal(next: nil, reply: reply, index: 0, term: 0, byteCount: byteCount))
    return proposal
  }
}

extension UnsafeMutablePointer where Pointee == Proposal {
  package var payload: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) + MemoryLayout<Proposal>.size }

  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: payload, count: pointee.byteCount) }
}

/// A list with its end at hand. A plain value: one thread holds it at a time.
package struct ProposalList {
  package private(set) var first: UnsafeMutablePointer<Proposal>?
  private var last: UnsafeMutablePointer<Proposal>?
  package private(set) var count = 0
  package private(set) var byteCount = 0

  package init() {}

  package var isEmpty: Bool { first == nil }

  /// Index of the last entry; 0 where there is none.
  package var lastIndex: UInt64 { last?.pointee.index ?? 0 }

  package mutating func append(_ proposal: UnsafeMutablePointer<Proposal>) {
    proposal.pointee.next = nil
    if let last { last.pointee.next = proposal } else { first = proposal }
    last = proposal
    count += 1
    byteCount += proposal.pointee.byteCount
  }

  package mutating func append(_ list: ProposalList) {
    guard let head = list.first else { return }
    if let last { last.pointee.next = head } else { first = head }
    last = list.last
    count += list.count
    byteCount += list.byteCount
  }

  package mutating func removeFirst() -> UnsafeMutablePointer<Proposal>? {
    guard let head = first else { return nil }
    first = head.pointee.next
    if first == nil { last = nil }
    head.pointee.next = nil
    count -= 1
    byteCount -= head.pointee.byteCount
    return head
  }

  package mutating func freeAll() {
    while let proposal = removeFirst() { free(proposal) }
  }
}

/// Many reactors push, the log thread takes everything at once.
///
/// A stack whose head is swapped atomically: a push is one compare-and-swap, taking is one exchange and a reversal, so
/// each pusher's proposals keep their order. Nothing is ever taken off singly, so there is no ABA. Only the push onto an
/// empty stack signals the eventfd; the taker resets the eventfd before it exchanges the head, so a push that the
/// exchange misses found the stack empty and signals again: no wake-up is lost.
///
/// Sendable: the only shared state is atomic.
package final class ProposalQueue: @unchecked Sendable {
  private let head = Atomic<UInt>(0)
  package let eventDescriptor: Int32

  package init() throws(ServerError) {
    eventDescriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    guard eventDescriptor >= 0 else { throw .system(operation: "create", path: "eventfd", code: errno) }
  }

  deinit {
    var rest = takeAll()
    rest.freeAll()
    close(eventDescriptor)
  }

  package func push(_ proposal: UnsafeMutablePointer<Proposal>) {
    var seen = head.load(ordering: .relaxed)
    while true {
      proposal.pointee.next = UnsafeMutablePointer(bitPattern: seen)
      let (exchanged, original) = head.weakCompareExchange(
        expected: seen, desired: UInt(bitPattern: proposal), successOrdering: .acquiringAndReleasing,
        failureOrdering: .relaxed)
      if exchanged { break }
      seen = original
    }
    if seen == 0 { wake() }
  }

  /// Makes the taker look, proposals or not.
  package func wake() { eventfd_write(eventDescriptor, 1) }

  package var isEmpty: Bool { head.load(ordering: .relaxed) == 0 }

  /// Everything pushed so far, oldest first. The taker's thread only.
  package func takeAll() -> ProposalList {
    var drained: eventfd_t = 0
    eventfd_read(eventDescriptor, &drained)
    var newest = UnsafeMutablePointer<Proposal>(
      bitPattern: head.exchange(0, ordering: .acquiringAndReleasing))
    var oldest: UnsafeMutablePointer<Proposal>?
    while let proposal = newest {
      newest = proposal.pointee.next
      proposal.pointee.next = oldest
      oldest = proposal
    }
    var list = ProposalList()
    while let proposal = oldest {
      oldest = proposal.pointee.next
      list.append(proposal)
    }
    return list
  }
}
