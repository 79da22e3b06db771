// Base64 as `load` takes it: the standard alphabet and padding (RFC 4648), and nothing that an encoder would not write. The
// JSON of RPC forgives more.

import NeedletailRPC

extension Base64 {
  static func encode(_ bytes: [UInt8], into out: inout OutBuffer) {
    bytes.withUnsafeBytes { encode($0, into: &out) }
  }
}

enum StrictBase64 {
  private static let padding = UInt8(ascii: "=")

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
