// Room for frames' heads within an answer that is longer than a frame, made while the answer is written: what has been written
// is in its place when its frames are sent.
import Glibc

/// Where the next head goes. Whoever writes much asks after each piece whether the end has passed that place, so that no more
/// than a piece has to move; what is not asked for then is made room for when all is written, which moves each byte once more.
@usableFromInline
package struct FrameCuts {
  /// Bytes between two heads: the most that every HTTP/2 client takes in a frame.
  package static var frameSize: Int { 16_384 }
  package static var headSize: Int { 9 }

  package private(set) var next: Int

  /// The first frame's bytes begin at `start`, its head before it.
  package init(start: Int) { next = start + FrameCuts.frameSize }

  /// Bytes of heads among `count` bytes that begin with one.
  package static func headBytes(in count: Int) -> Int {
    (count + frameSize + headSize - 1) / (frameSize + headSize) * headSize
  }

  /// Makes room in what lies beyond the next head's place.
  package mutating func cut(_ out: inout OutBuffer) {
    let end = out.count
    guard end > next else { return }
    let heads = (end - next + FrameCuts.frameSize - 1) / FrameCuts.frameSize
    _ = out.reserve(heads * FrameCuts.headSize)
    // The last first: nothing is written over that has not moved.
    if let start = out.start {
      for i in (0..<heads).reversed() {
        let from = next + i * FrameCuts.frameSize
        memmove(start + from + (i + 1) * FrameCuts.headSize, start + from, min(FrameCuts.frameSize, end - from))
      }
    }
    out.advance(heads * FrameCuts.headSize)
    next += heads * (FrameCuts.frameSize + FrameCuts.headSize)
  }
}
