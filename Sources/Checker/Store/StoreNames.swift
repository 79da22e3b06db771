// Numbers for keys, values and leases. Keys are numbered in their order, so all of them must be known first.

struct StoreNames {
  private(set) var keys: [[UInt8]] = []
  private(set) var values: [[UInt8]] = []
  private(set) var leases: [Int64] = []
  private var keyNumbers: [[UInt8]: Int] = [:]
  private var valueNumbers: [[UInt8]: Int32] = [:]
  private var leaseNumbers: [Int64: Int] = [:]

  mutating func key(_ key: [UInt8]) -> Int {
    if let number = keyNumbers[key] { return number }
    keyNumbers[key] = keys.count
    keys.append(key)
    return keys.count - 1
  }

  /// Numbers the keys in their order. Numbers given before are void.
  mutating func sortKeys() {
    keys.sort { $0.lexicographicallyPrecedes($1) }
    for (number, key) in keys.enumerated() { keyNumbers[key] = number }
  }

  /// The keys of a range request: `end` nil is `key` alone, a zero byte all keys from `key` on.
  func range(_ key: [UInt8], _ end: [UInt8]?) -> Range<Int> {
    let first = rank(key)
    guard let end else { return first..<(first < keys.count && keys[first] == key ? first + 1 : first) }
    return first..<(end == [0] ? keys.count : max(first, rank(end)))
  }

  /// How many keys are less.
  private func rank(_ key: [UInt8]) -> Int {
    var low = 0
    var high = keys.count
    while low < high {
      let middle = (low + high) / 2
      if keys[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  mutating func value(_ value: [UInt8]) -> Int32 {
    if let number = valueNumbers[value] { return number }
    let number = Int32(truncatingIfNeeded: values.count)
    valueNumbers[value] = number
    values.append(value)
    return number
  }

  mutating func lease(_ lease: Int64) -> Int {
    if let number = leaseNumbers[lease] { return number }
    leaseNumbers[lease] = leases.count
    leases.append(lease)
    return leases.count - 1
  }
}
