// The blocks of the last commits, for those who lag behind by little.
import NeedletailMVCC

/// Every change of the revisions (floor, newest] is in it. A value: a copy shares the blocks.
struct EventRing: Sendable {
  /// Nil before `first`: a block that is no longer part of the ring must not be kept in memory by its place in the array.
  private var blocks: [EventBlock?] = []
  private var first = 0
  private(set) var floor: UInt64 = 0
  private var byteCount = 0

  mutating func removeAll(floor: UInt64) {
    blocks = []
    first = 0
    byteCount = 0
    self.floor = floor
  }

  /// The block joins on to what is there.
  mutating func append(_ block: EventBlock, bytesMax: Int) {
    blocks.append(block)
    byteCount += block.byteCount
    while byteCount > bytesMax, first < blocks.count {
      let oldest = present(first)
      byteCount -= oldest.byteCount
      floor = oldest.through
      blocks[first] = nil
      first += 1
    }
    if first > 64, first > blocks.count / 2 {
      blocks.removeFirst(first)
      first = 0
    }
  }

  private func present(_ place: Int) -> EventBlock {
    guard let block = blocks[place] else { preconditionFailure("the ring's block \(place) is gone, first is \(first)") }
    return block
  }

  /// Place of the first block that has something above `revision`. O(log blocks).
  private func place(after revision: UInt64) -> Int {
    var low = first
    var high = blocks.count
    while low < high {
      let middle = (low + high) / 2
      if present(middle).through <= revision { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// Whether everything above `revision` is here, and takes no more than `limit` bytes.
  func bytes(after revision: UInt64, upTo limit: Int) -> Bool {
    guard revision >= floor else { return false }
    var sum = 0
    for place in place(after: revision)..<blocks.count {
      sum += present(place).byteCount
      if sum > limit { return false }
    }
    return true
  }

  /// Calls `body` with the changes above `revision` of about `bytesMax` bytes of blocks; returns the last revision given.
  /// What a pair was before revision `compacted`, the oldest that a watcher may still start at, is no longer to be had,
  /// although it is here: whoever reads it from the store does not get it either. Those who lag behind further have been
  /// watching since before, and get it all.
  @discardableResult
  func read(
    after revision: UInt64, bytesMax: Int = .max, compacted: UInt64, _ body: (ChangeEvent) -> Void
  ) -> UInt64 {
    var sum = 0
    var reached = revision
    for place in place(after: revision)..<blocks.count where sum < bytesMax {
      let block = present(place)
      block.forEach(after: revision) { event in
        var event = event
        if event.revision.main == compacted { event.previous = nil }
        body(event)
      }
      reached = block.through
      sum += block.byteCount
    }
    return reached
  }
}
