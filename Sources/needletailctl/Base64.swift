// Base64 with the standard alphabet and padding (RFC 4648), as JSON carries bytes.

import NeedletailRPC

enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  private static let padding = UInt8(ascii: "=")

  static func encode(_ bytes: [UInt8], into out: inout OutBuffer) {
    var at = 0
    while at < bytes.count {
      let left = bytes.count - at
      let group =
        UInt32(bytes[at]) << 16 | (left > 1 ? UInt32(bytes[at + 1]) << 8 : 0) | (left > 2 ? UInt32(bytes[at + 2]) : 0)
      out.append(byte: alphabet[Int(group >> 18)])
      out.append(byte: alphabet[Int(group >> 12 & 63)])
      out.append(byte: left > 1 ? alphabet[Int(group >> 6 & 63)] : padding)
      out.append(byte: left > 2 ? alphabet[Int(group & 63)] : padding)
      at += 3
    }
  }

  /// Appends the decoded bytes; false when the text is not base64 (wrong length, alphabet or padding, or bits that no
  /// encoder leaves set).
  static func decode(_ text: UnsafeRawBufferPointer, into out: inout OutBuffer) -> Bool {
    guard text.count % 4 == 0 else { return false }
    var at = 0
    while at < text.count {
      let isLast = at + 4 == text.count
      let pads = !isLast || text[at + 3] != padding ? 0 : text[at + 2] == padding ? 2 : 1
      var group: UInt32 = 0
      for place in 0..<4 - pads {
        guard let value = value(of: text[at + place]) else { return false }
        group |= value << UInt32(18 - 6 * place)
      }
      out.append(byte: UInt8(truncatingIfNeeded: group >> 16))
      if pads < 2 { out.append(byte: UInt8(truncatingIfNeeded: group >> 8)) }
      if pads < 1 { out.append(byte: UInt8(truncatingIfNeeded: group)) }
      if pads == 2 && group & 0xFFFF != 0 || pads == 1 && group & 0xFF != 0 { return false }
      at += 4
    }
    return true
  }

  private static func value(of character: UInt8) -> UInt32? {
    switch character {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(character - UInt8(ascii: "A"))
    case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(character - UInt8(ascii: "a")) + 26
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(character - UInt8(ascii: "0")) + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    default: nil
    }
  }
}
