// From the apply thread to the watch hub: the changes of each commit, while anybody watches.
//
// Nobody watches: the apply thread pays one load before a commit and one after it. When the first watcher comes, the hub
// turns the feed on and then looks at the published revision. The apply thread publishes and then looks at the feed. Both
// orders are sequentially consistent, so a commit whose changes were not captured is either in what the hub sees, or is told
// to the hub as a gap: it cannot fall between.
import NeedletailMVCC
import Synchronization

/// What the hub must know of a commit.
enum FeedItem: Sendable {
  case block(EventBlock)
  /// Up to this revision something may have changed that no block tells.
  case gap(through: UInt64)
}

/// Sendable: atomics, and an inbox that is made for it.
package final class EventFeed: Sendable {
  let isOn = Atomic<Bool>(false)
  /// Bytes of blocks that the hub has not taken.
  private let waitingBytes = Atomic<Int>(0)
  private let waitingBytesMax: Int
  /// Changes of one commit that are captured at most.
  private let captureBytesMax: Int
  private let post: @Sendable (FeedItem) -> Void

  init(waitingBytesMax: Int, captureBytesMax: Int, post: @escaping @Sendable (FeedItem) -> Void) {
    self.waitingBytesMax = waitingBytesMax
    self.captureBytesMax = captureBytesMax
    self.post = post
  }

  // MARK: The apply thread

  /// Before a commit: makes the writer capture, or not.
  func prepare(_ writer: StoreWriter) {
    guard isOn.load(ordering: .relaxed) else {
      writer.capture?.free()
      writer.capture = nil
      return
    }
    if writer.capture == nil {
      writer.capture = EventCapture(bytesMax: captureBytesMax)
    } else {
      writer.capture?.removeAll()
    }
  }

  /// After the commit is published; it led from revision `after` to `through`.
  func published(_ writer: StoreWriter, after: UInt64, through: UInt64) {
    guard through > after else { return }
    guard writer.capture != nil else {
      atomicMemoryFence(ordering: .sequentiallyConsistent)
      if isOn.load(ordering: .relaxed) { post(.gap(through: through)) }
      return
    }
    // A hub that does not keep up must not fill the memory: it reads what it missed from the log.
    guard waitingBytes.load(ordering: .relaxed) <= waitingBytesMax,
      let block = writer.capture?.take(after: after, through: through)
    else {
      writer.capture?.removeAll()
      return post(.gap(through: through))
    }
    waitingBytes.wrappingAdd(block.byteCount, ordering: .relaxed)
    post(.block(block))
  }

  // MARK: The hub

  func turnOn() {
    isOn.store(true, ordering: .sequentiallyConsistent)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  func turnOff() { isOn.store(false, ordering: .relaxed) }

  func taken(_ block: EventBlock) { waitingBytes.wrappingSubtract(block.byteCount, ordering: .relaxed) }
}
