// Protobuf's base-128 integers over raw memory.

/// Bytes that `value` takes as a varint, 1…10.
@inline(__always)
func varintSize(_ value: UInt64) -> Int {
  // 7 bits a byte: (bits * 9 + 64) / 64 is ceil(bits / 7) for every bit width 1…64.
  let bits = 64 &- (value | 1).leadingZeroBitCount
  return (bits &* 9 &+ 64) &>> 6
}

/// Writes `value` at `p`, which has room for 10 bytes, and returns the byte after it.
@inline(__always)
func writeVarint(_ value: UInt64, _ p: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
  var rest = value
  var p = p
  while rest >= 0x80 {
    p.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
    rest &>>= 7
    p += 1
  }
  p.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
  return p + 1
}

@inline(__always)
func writeByte(_ byte: UInt8, _ p: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
  p.storeBytes(of: byte, as: UInt8.self)
  return p + 1
}

/// Reads a varint at `position` and moves it on; nil where the bytes end or an integer of more than 64 bits is met.
@inline(__always)
func readVarint(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
  var value: UInt64 = 0
  var shift: UInt64 = 0
  while position < bytes.count, shift < 64 {
    let byte = bytes[position]
    position &+= 1
    if shift == 63, byte > 1 { return nil }
    value |= UInt64(byte & 0x7f) &<< shift
    if byte < 0x80 { return value }
    shift &+= 7
  }
  return nil
}
