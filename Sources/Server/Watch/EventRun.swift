// Events in wire form, end to end, as one group of watchers gets them: encoded once, shared by reference.
import NeedletailBytes
import NeedletailMVCC

/// Filled by one thread, then immutable. Sendable for that.
final class EventRun: @unchecked Sendable {
  /// Where an event ends.
  struct Mark {
    var revision: UInt64
    var end: Int
  }

  private var buffer = OutBuffer()
  private(set) var marks: [Mark] = []

  deinit { buffer.free() }

  var bytes: UnsafeRawBufferPointer { buffer.bytes }

  func add(_ event: ChangeEvent, withPrevious: Bool) {
    event.append(to: &buffer, withPrevious: withPrevious)
    marks.append(Mark(revision: event.revision.main, end: buffer.count))
  }

  /// Index of the first event of a revision above `revision`. O(log events).
  func first(after revision: UInt64) -> Int {
    guard let oldest = marks.first, oldest.revision <= revision else { return 0 }
    var low = 0
    var high = marks.count
    while low < high {
      let middle = (low + high) / 2
      if marks[middle].revision <= revision { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Where the bytes of event `index` begin.
  func start(_ index: Int) -> Int { index == 0 ? 0 : marks[index - 1].end }

  /// The index behind the last event of a piece that begins at `first`: about `bytesMax`, whole revisions.
  func pieceEnd(from first: Int, bytesMax: Int) -> Int {
    let limit = start(first) + bytesMax
    if let last = marks.last, last.end <= limit { return marks.count }
    var end = first
    while end < marks.count {
      var next = end + 1
      while next < marks.count, marks[next].revision == marks[end].revision { next += 1 }
      if end > first, marks[next - 1].end > limit { break }
      end = next
    }
    return end
  }
}
