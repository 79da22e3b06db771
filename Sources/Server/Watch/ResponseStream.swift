// One stream of a client as those see it who answer on it: where it is, and how much of what was sent it has taken.
//
// The face that holds the connection and the thread that answers share it. The sender counts what it posts; the face counts
// what has left the connection's buffers. A sender that is too far ahead marks the stream as paused, then looks once more;
// the face counts, then looks for the mark: one of them sees the other, so no paused stream is forgotten.
import NeedletailRPC
import Synchronization

package final class ResponseStream: Sendable {
  package let address: ReplyAddress
  /// Bytes that the client's connection has taken, of those posted.
  private let taken = Atomic<Int>(0)
  private let paused = Atomic<Bool>(false)

  package init(_ address: ReplyAddress) { self.address = address }

  /// Bytes that have left, ever.
  package var takenBytes: Int { taken.load(ordering: .acquiring) }

  /// The sender waits to be told when bytes are taken.
  package func pause() {
    paused.store(true, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  package func resume() { paused.store(false, ordering: .relaxed) }

  /// The face: `count` more bytes have left. True where the sender waits for that.
  package func take(_ count: Int) -> Bool {
    taken.wrappingAdd(count, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    return paused.load(ordering: .relaxed)
  }
}
