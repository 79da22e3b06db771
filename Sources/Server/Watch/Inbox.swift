// A thread's inbox: any thread posts messages, the owner takes all of them at once, in each poster's order.
//
// A stack whose head is swapped atomically, as `ProposalQueue` is: a push is one compare-and-swap, so that a reactor never
// waits for a lock here. Nothing is taken off singly, so there is no ABA. Only the push onto an empty stack signals the
// eventfd, and the owner resets it before it takes the stack: no wake-up is lost.
import CNeedletail
import Glibc
import Synchronization

/// Sendable: the only shared state is atomic, and messages are.
final class Inbox<Message: Sendable>: @unchecked Sendable {
  private final class Node {
    let message: Message
    var next: Unmanaged<Node>?

    init(_ message: Message) { self.message = message }
  }

  private let head = Atomic<UInt>(0)
  private let eventDescriptor: Int32

  init() throws(ServerError) {
    eventDescriptor = eventfd(0, Int32(EFD_CLOEXEC) | Int32(EFD_NONBLOCK))
    guard eventDescriptor >= 0 else { throw .system(operation: "create", path: "eventfd", code: errno) }
  }

  deinit {
    _ = takeAll()
    close(eventDescriptor)
  }

  func post(_ message: Message) {
    let node = Unmanaged.passRetained(Node(message))
    let bits = UInt(bitPattern: node.toOpaque())
    var seen = head.load(ordering: .relaxed)
    while true {
      node.takeUnretainedValue().next = Inbox.node(seen)
      let (exchanged, original) = head.weakCompareExchange(
        expected: seen, desired: bits, successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed)
      if exchanged { break }
      seen = original
    }
    if seen == 0 { eventfd_write(eventDescriptor, 1) }
  }

  private static func node(_ bits: UInt) -> Unmanaged<Node>? {
    UnsafeRawPointer(bitPattern: bits).map { Unmanaged<Node>.fromOpaque($0) }
  }

  /// Waits until something was posted, or the time is over; a negative one never is. The owner only.
  func wait(atMost_ms: Int32) {
    var descriptor = pollfd(fd: eventDescriptor, events: Int16(POLLIN), revents: 0)
    _ = poll(&descriptor, 1, atMost_ms)
  }

  /// Everything posted so far, oldest first. The owner only.
  func takeAll() -> [Message] {
    var drained: eventfd_t = 0
    eventfd_read(eventDescriptor, &drained)
    var newest = Inbox.node(head.exchange(0, ordering: .acquiringAndReleasing))
    var messages: [Message] = []
    while let unmanaged = newest {
      let node = unmanaged.takeRetainedValue()
      newest = node.next
      messages.append(node.message)
    }
    messages.reverse()
    return messages
  }
}
