// Base64 as protobuf's JSON has bytes: RFC 4648's standard alphabet with padding, line ends stepped over. Errors name the
// byte that Go names.

package enum Base64 {
  private static let digits: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

  private static func value(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a") + 26)
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0") + 52)
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }

  private static func isLineEnd(_ byte: UInt8) -> Bool { byte == 10 || byte == 13 }

  private static func illegal(_ at: Int) -> JSONError { JSONError("illegal base64 data at input byte \(at)") }

  /// Appends what the text stands for.
  package static func decode(_ text: UnsafeRawBufferPointer, into out: inout OutBuffer) throws(JSONError) {
    _ = out.reserve(text.count / 4 * 3 + 3)
    var at = 0
    while at < text.count {
      var bits: UInt32 = 0
      var count = 0
      var isPadded = false
      while count < 4, !isPadded {
        guard at < text.count else {
          if count == 0 { return }
          throw illegal(at - count)
        }
        let byte = text[at]
        at += 1
        if let value = value(byte) {
          bits = bits << 6 | value
          count += 1
        } else if byte == UInt8(ascii: "=") {
          try takePadding(text, &at, after: count)
          isPadded = true
        } else if !isLineEnd(byte) {
          throw illegal(at - 1)
        }
      }
      bits <<= UInt32(6 * (4 - count))
      if count >= 2 { out.append(byte: UInt8(truncatingIfNeeded: bits >> 16)) }
      if count >= 3 { out.append(byte: UInt8(truncatingIfNeeded: bits >> 8)) }
      if count >= 4 { out.append(byte: UInt8(truncatingIfNeeded: bits)) }
    }
  }

  /// Behind a first `=`, which stood where the quantum had `count` digits: nothing but what completes it may follow.
  private static func takePadding(
    _ text: UnsafeRawBufferPointer, _ at: inout Int, after count: Int
  ) throws(JSONError) {
    guard count >= 2 else { throw illegal(at - 1) }
    if count == 2 {
      while at < text.count, isLineEnd(text[at]) { at += 1 }
      guard at < text.count else { throw illegal(text.count) }
      guard text[at] == UInt8(ascii: "=") else { throw illegal(at - 1) }
      at += 1
    }
    while at < text.count, isLineEnd(text[at]) { at += 1 }
    guard at == text.count else { throw illegal(at) }
  }

  package static func encode(_ bytes: UnsafeRawBufferPointer, into out: inout OutBuffer) {
    let size = (bytes.count + 2) / 3 * 4
    let start = out.reserve(size)
    var to = start
    func put(_ index: UInt32) {
      to.storeBytes(of: digits.utf8Start[Int(index & 63)], as: UInt8.self)
      to += 1
    }
    var at = 0
    while at + 3 <= bytes.count {
      let bits = UInt32(bytes[at]) << 16 | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2])
      put(bits >> 18)
      put(bits >> 12)
      put(bits >> 6)
      put(bits)
      at += 3
    }
    let rest = bytes.count - at
    if rest > 0 {
      let bits = UInt32(bytes[at]) << 16 | (rest == 2 ? UInt32(bytes[at + 1]) << 8 : 0)
      put(bits >> 18)
      put(bits >> 12)
      if rest == 2 { put(bits >> 6) }
      for _ in 0..<(3 - rest) {
        to.storeBytes(of: UInt8(ascii: "="), as: UInt8.self)
        to += 1
      }
    }
    out.advance(size)
  }
}
