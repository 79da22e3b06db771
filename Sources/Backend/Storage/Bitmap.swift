// A growable set of page numbers as a 64-ary tree of bits: level 0 has a bit per page, and a bit of level k says that a
// word of level k−1 is not zero. 100 GiB of 4 KiB pages take 3.3 MiB.

struct Bitmap {
  private var levels: [[UInt64]]
  private(set) var count: Int

  init(count: Int = 0) {
    self.count = 0
    levels = [[]]
    grow(to: count)
  }

  /// Makes room for `count` bits; new ones are clear.
  mutating func grow(to newCount: Int) {
    guard newCount > count else { return }
    count = newCount
    var words = (newCount + 63) / 64
    var level = 0
    while true {
      if level == levels.count { levels.append(summary(of: level - 1)) }
      if levels[level].count < words {
        levels[level].append(contentsOf: repeatElement(0, count: words - levels[level].count))
      }
      if words <= 1 { break }
      words = (words + 63) / 64
      level += 1
    }
  }

  private func summary(of level: Int) -> [UInt64] {
    var bits = [UInt64](repeating: 0, count: (levels[level].count + 63) / 64)
    for (i, word) in levels[level].enumerated() where word != 0 { bits[i >> 6] |= 1 << UInt64(i & 63) }
    return bits
  }

  func contains(_ bit: Int) -> Bool { levels[0][bit >> 6] >> UInt64(bit & 63) & 1 == 1 }

  mutating func insert(_ bit: Int) {
    var bit = bit
    for level in levels.indices {
      let old = levels[level][bit >> 6]
      levels[level][bit >> 6] = old | 1 << UInt64(bit & 63)
      if old != 0 { return }
      bit >>= 6
    }
  }

  mutating func remove(_ bit: Int) {
    var bit = bit
    for level in levels.indices {
      levels[level][bit >> 6] &= ~(1 << UInt64(bit & 63))
      if levels[level][bit >> 6] != 0 { return }
      bit >>= 6
    }
  }

  /// Smallest member ≥ `start`. O(log64 n).
  func first(from start: Int) -> Int? {
    var level = 0
    var position = start
    // Up until a word holds a member at or behind the position …
    while true {
      let index = position >> 6
      guard index < levels[level].count else { return nil }
      let word = levels[level][index] & (~0 << UInt64(position & 63))
      if word != 0 {
        position = index << 6 | word.trailingZeroBitCount
        break
      }
      level += 1
      guard level < levels.count else { return nil }
      position = index + 1
    }
    // … and down again along first set bits.
    while level > 0 {
      level -= 1
      position = position << 6 | levels[level][position].trailingZeroBitCount
    }
    return position
  }

  /// Length of the run of members that begins at `start`, at most `limit`.
  func runLength(from start: Int, limit: Int) -> Int {
    var position = start
    while position < count, position - start < limit {
      let ones = (~(levels[0][position >> 6] >> UInt64(position & 63))).trailingZeroBitCount
      position += min(ones, 64 - position & 63)
      if position & 63 != 0 || ones == 0 { break }
    }
    return min(position - start, limit)
  }

  var members: Int { levels[0].reduce(0) { $0 + $1.nonzeroBitCount } }

  /// The words of bits [64·from, 64·to).
  func words(_ range: Range<Int>) -> ArraySlice<UInt64> { levels[0][range] }
}
