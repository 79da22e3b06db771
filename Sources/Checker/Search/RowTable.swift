// A set of rows of words, all of one width, each kept once and known by its number. Used for the configurations that the
// search has seen and for the states of models. Lookups compare whole rows: hashing decides nothing but where to look.

struct RowTable {
  let width: Int
  private(set) var count = 0
  private var words: [UInt64] = []
  /// Row numbers by hash, −1 where empty; a power of two, at most half full.
  private var slots: [Int32]

  init(width: Int) {
    assert(width > 0)
    self.width = width
    slots = [Int32](repeating: -1, count: 64)
  }

  var byteCount: Int { words.capacity * 8 + slots.count * 4 }

  /// The number of the row, and whether it is new.
  mutating func insert(_ row: [UInt64]) -> (number: Int32, isNew: Bool) {
    assert(row.count == width)
    if 2 * (count + 1) > slots.count { grow() }
    let mask = slots.count - 1
    var slot = Int(truncatingIfNeeded: hash(of: row, at: 0)) & mask
    while slots[slot] >= 0 {
      if isEqual(row, to: slots[slot]) { return (slots[slot], false) }
      slot = (slot + 1) & mask
    }
    let number = Int32(truncatingIfNeeded: count)
    slots[slot] = number
    words.append(contentsOf: row)
    count += 1
    return (number, true)
  }

  func word(_ index: Int, of row: Int32) -> UInt64 { words[Int(row) * width + index] }

  func copy(_ row: Int32, into buffer: inout [UInt64]) {
    let base = Int(row) * width
    for index in 0..<width { buffer[index] = words[base + index] }
  }

  private func isEqual(_ row: [UInt64], to number: Int32) -> Bool {
    let base = Int(number) * width
    for index in 0..<width where words[base + index] != row[index] { return false }
    return true
  }

  private func hash(of source: [UInt64], at base: Int) -> UInt64 {
    var hash: UInt64 = 0x9E37_79B9_7F4A_7C15
    for index in base..<base + width {
      let product = (hash ^ source[index]).multipliedFullWidth(by: 0xD6E8_FEB8_6659_FD93)
      hash = product.high ^ product.low &+ 0x9E37_79B9_7F4A_7C15
    }
    return hash ^ hash >> 32
  }

  private mutating func grow() {
    slots = [Int32](repeating: -1, count: slots.count * 2)
    let mask = slots.count - 1
    for number in 0..<count {
      var slot = Int(truncatingIfNeeded: hash(of: words, at: number * width)) & mask
      while slots[slot] >= 0 { slot = (slot + 1) & mask }
      slots[slot] = Int32(truncatingIfNeeded: number)
    }
  }
}
