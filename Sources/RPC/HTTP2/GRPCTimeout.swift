// How long a client waits: at most eight digits and a unit.
package enum GRPCTimeout {
  /// Nil where it is no such thing.
  package static func nanoseconds(_ value: UnsafeRawBufferPointer) -> UInt64? {
    guard value.count >= 2, value.count <= 9, let unit = value.last else { return nil }
    var number: UInt64 = 0
    for digit in value.dropLast() {
      guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
      number = number * 10 + UInt64(digit - UInt8(ascii: "0"))
    }
    let size: UInt64
    switch unit {
    case UInt8(ascii: "n"): size = 1
    case UInt8(ascii: "u"): size = 1_000
    case UInt8(ascii: "m"): size = 1_000_000
    case UInt8(ascii: "S"): size = 1_000_000_000
    case UInt8(ascii: "M"): size = 60_000_000_000
    case UInt8(ascii: "H"): size = 3_600_000_000_000
    default: return nil
    }
    // Eight digits of hours fit. A time of 0 is over at once, which 1 ns is, too.
    return max(1, number * size)
  }
}
