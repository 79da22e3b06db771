// A reactor's mailbox: any thread posts, the reactor's thread takes everything at once.
//
// The queue is a stack of malloc'd messages whose head is swapped atomically. Posters push with a compare-and-swap; the
// reactor takes the whole stack with one exchange and reverses it, so that each poster's messages arrive in the order
// it posted them. Only a push onto an empty stack signals the eventfd: a burst of answers costs one system call.
//
// No wake-up is lost: whenever the eventfd woke the reactor, it drains it before it takes the stack, so a push that the
// exchange misses found the stack empty and signals again. Taking without being woken leaves a signal behind, which
// costs
// one idle turn of the loop.

import CNeedletail
import Glibc
import Synchronization

/// What a message asks for.
@usableFromInline
package enum MailKind: UInt8, Sendable {
  /// An answer to a request that was decoded earlier.
  case reply
  /// Messages on streams of several connections; the object says which.
  case delivery
  /// A connection that another reactor accepted.
  case adopt
  /// Stop accepting, finish what is in flight, leave the loop.
  case stop
}

/// The fixed part of a message; `byteCount` bytes of body follow it in the same allocation.
@usableFromInline
package struct Mail {
  var next: UnsafeMutableRawPointer?
  @usableFromInline
  package let kind: MailKind
  /// reply: gRPC status code, 0 = OK.
  package let status: UInt32
  /// adopt: the socket. stop: milliseconds allowed for what is in flight.
  package let number: Int32
  @usableFromInline
  package let address: ReplyAddress
  package let byteCount: Int
  /// delivery: the object, retained until the message is freed.
  let object: UnsafeMutableRawPointer?
}

/// Trivial handle; copies name the same queue.
@usableFromInline
package struct Mailbox: @unchecked Sendable {
  // Sendable: the only shared state is the atomic head and the eventfd.
  private let head: UnsafeMutablePointer<Atomic<UInt>>
  package let eventDescriptor: Int32

  package init() throws(ReactorError) {
    eventDescriptor = nt_eventfd()
    guard eventDescriptor >= 0 else { throw ReactorError(call: "eventfd", code: -eventDescriptor) }
    head = .allocate(capacity: 1)
    head.initialize(to: Atomic(0))
  }

  /// Posts the answer to a request. Copies the body. Any thread.
  package func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer) {
    post(kind: .reply, status: status, number: 0, address: address, body: body)
  }

  /// Hands over an accepted socket. Any thread.
  package func adopt(_ descriptor: Int32) {
    post(
      kind: .adopt, status: 0, number: descriptor, address: .none, body: UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// Asks the reactor to stop within the time given. Any thread; again does no harm.
  package func stop(within_ms: Int32) {
    post(kind: .stop, status: 0, number: within_ms, address: .none, body: UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// Hands over messages on streams. Any thread.
  package func deliver(_ delivery: AnyObject) {
    post(
      kind: .delivery, status: 0, number: 0, address: .none, body: UnsafeRawBufferPointer(start: nil, count: 0),
      object: Unmanaged.passRetained(delivery).toOpaque())
  }

  private func post(
    kind: MailKind, status: UInt32, number: Int32, address: ReplyAddress, body: UnsafeRawBufferPointer,
    object: UnsafeMutableRawPointer? = nil
  ) {
    let size = MemoryLayout<Mail>.size + body.count
    guard let memory = malloc(size) else { fatalError("out of memory: \(size) bytes for a message") }
    let mail = memory.bindMemory(to: Mail.self, capacity: 1)
    mail.initialize(
      to: Mail(
        next: nil, kind: kind, status: status, number: number, address: address, byteCount: body.count,
        object: object))
    if let source = body.baseAddress, body.count > 0 {
      memcpy(memory + MemoryLayout<Mail>.size, source, body.count)
    }
    var seen = head.pointee.load(ordering: .relaxed)
    while true {
      mail.pointee.next = UnsafeMutableRawPointer(bitPattern: seen)
      let (exchanged, original) = head.pointee.weakCompareExchange(
        expected: seen, desired: UInt(bitPattern: memory), successOrdering: .acquiringAndReleasing,
        failureOrdering: .relaxed)
      if exchanged { break }
      seen = original
    }
    if seen == 0 { nt_eventfd_signal(eventDescriptor) }
  }

  /// Resets the eventfd after it woke the reactor.
  func drainSignal() { nt_eventfd_drain(eventDescriptor) }

  /// Everything posted so far, oldest first; the caller walks it with `next(after:)`, which frees. Reactor thread only.
  @usableFromInline
  func takeAll() -> UnsafeMutablePointer<Mail>? {
    guard head.pointee.load(ordering: .relaxed) != 0 else { return nil }
    var newest = UnsafeMutableRawPointer(bitPattern: head.pointee.exchange(0, ordering: .acquiringAndReleasing))
    var oldest: UnsafeMutableRawPointer?
    while let mail = newest {
      let record = mail.assumingMemoryBound(to: Mail.self)
      newest = record.pointee.next
      record.pointee.next = oldest
      oldest = mail
    }
    return oldest?.assumingMemoryBound(to: Mail.self)
  }

  /// Frees the message and gives the following one.
  @usableFromInline
  static func next(after mail: UnsafeMutablePointer<Mail>) -> UnsafeMutablePointer<Mail>? {
    let next = mail.pointee.next
    if let object = mail.pointee.object { Unmanaged<AnyObject>.fromOpaque(object).release() }
    Glibc.free(mail)
    return next?.assumingMemoryBound(to: Mail.self)
  }

  /// Frees the queue. Nobody may post any more. Messages not taken are dropped, adopted sockets closed.
  package func free() {
    var mail = takeAll()
    while let current = mail {
      if current.pointee.kind == .adopt { close(current.pointee.number) }
      mail = Mailbox.next(after: current)
    }
    close(eventDescriptor)
    head.deinitialize(count: 1)
    head.deallocate()
  }
}

extension UnsafeMutablePointer where Pointee == Mail {
  /// The message's body, valid until the message is freed.
  package var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: UnsafeRawPointer(self) + MemoryLayout<Mail>.size, count: pointee.byteCount)
  }

  /// A delivery's object; the message holds it.
  @usableFromInline
  package var object: AnyObject? {
    pointee.object.map { Unmanaged<AnyObject>.fromOpaque($0).takeUnretainedValue() }
  }
}

extension ReplyAddress {
  static var none: ReplyAddress {
    ReplyAddress(reactor: 0, method: 0, slot: .max, generation: 0, stream: 0, startedAt_ns: 0)
  }
}
