// Keys for a lookup of many at once, in one buffer: a list is filled, used and emptied again without allocating anew.

/// Keys in an order of their own; the same key may come twice.
public struct KeyList: ~Copyable {
  private var bytes: [UInt8] = []
  /// Where each key ends in `bytes`.
  private var ends: [Int] = []

  public init() {}

  public var count: Int { ends.count }

  public mutating func append(_ key: RawSpan) {
    key.withUnsafeBytes { bytes.append(contentsOf: $0) }
    ends.append(bytes.count)
  }

  /// Forgets the keys, keeps the memory.
  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
  }

  /// The keys, some at a time, with the index of the first of them.
  func withKeys(
    _ body: (Int, UnsafeBufferPointer<UnsafeRawBufferPointer>) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    let some = 64
    try bytes.span.bytes.withUnsafeBytes { (bytes) throws(DatabaseError) in
      try withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: some) {
        (keys) throws(DatabaseError) in
        var first = 0
        while first < ends.count {
          let count = min(some, ends.count - first)
          for i in 0..<count {
            let start = first + i == 0 ? 0 : ends[first + i - 1]
            keys[i] = UnsafeRawBufferPointer(rebasing: bytes[start..<ends[first + i]])
          }
          try body(first, UnsafeBufferPointer(rebasing: keys[0..<count]))
          first += count
        }
      }
    }
  }
}
