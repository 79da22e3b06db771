// The appends on their way to one follower.

/// A window over the messages sent and not yet acknowledged, bounded in messages and in bytes. Each is known by the
/// index of its last entry; they are added and freed in ascending order.
package struct Inflights: Equatable, Sendable {
  private struct Sent: Equatable, Sendable {
    var index: UInt64
    var bytes: UInt64
  }

  /// Live are `[start, start + count)` modulo the capacity, which grows by doubling up to `messagesMax`.
  private var ring: [Sent] = []
  private var start = 0
  package private(set) var count = 0
  package private(set) var bytes: UInt64 = 0
  private let messagesMax: Int
  private let bytesMax: UInt64

  /// `bytesMax` 0: no limit. One message may exceed it, else a large entry could never be sent.
  package init(messagesMax: Int, bytesMax: UInt64) {
    self.messagesMax = messagesMax
    self.bytesMax = bytesMax
  }

  package var isFull: Bool { count >= messagesMax || (bytesMax != 0 && bytes >= bytesMax) }

  /// The caller sees to it that the window is not full.
  package mutating func add(lastIndex: UInt64, bytes sent: UInt64) {
    precondition(!isFull, "an append beyond the window")
    if count == ring.count { grow() }
    ring[(start + count) % ring.count] = Sent(index: lastIndex, bytes: sent)
    count += 1
    bytes += sent
  }

  /// Frees all up to and including the one that ends at `index`.
  package mutating func free(through index: UInt64) {
    while count > 0, ring[start].index <= index {
      bytes -= ring[start].bytes
      start = (start + 1) % ring.count
      count -= 1
    }
    if count == 0 { start = 0 }
  }

  mutating func reset() {
    start = 0
    count = 0
    bytes = 0
  }

  private mutating func grow() {
    let live = (0..<count).map { ring[(start + $0) % ring.count] }
    let capacity = min(max(4, ring.count * 2), messagesMax)
    ring = live + Array(repeating: Sent(index: 0, bytes: 0), count: capacity - count)
    start = 0
  }
}
