// JSON strings: unescaping what came, escaping what goes, as Go does both.

package enum JSONText {
  static func hexValue(_ byte: UInt8) -> UInt32? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt32(byte - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt32(byte - UInt8(ascii: "A") + 10)
    default: nil
    }
  }

  /// A string's content between its quotes, judged by the scanner. Broken UTF-8 and lone surrogates become U+FFFD.
  static func unescaped(_ bytes: UnsafeRawBufferPointer) -> String {
    guard bytes.contains(UInt8(ascii: "\\")) else { return String(decoding: bytes, as: UTF8.self) }
    var out: [UInt8] = []
    out.reserveCapacity(bytes.count)
    var at = 0
    while at < bytes.count {
      let byte = bytes[at]
      at += 1
      guard byte == UInt8(ascii: "\\"), at < bytes.count else {
        out.append(byte)
        continue
      }
      let escaped = bytes[at]
      at += 1
      switch escaped {
      case UInt8(ascii: "b"): out.append(8)
      case UInt8(ascii: "f"): out.append(12)
      case UInt8(ascii: "n"): out.append(10)
      case UInt8(ascii: "r"): out.append(13)
      case UInt8(ascii: "t"): out.append(9)
      case UInt8(ascii: "u"): appendUnicode(bytes, &at, to: &out)
      default: out.append(escaped)
      }
    }
    return String(decoding: out, as: UTF8.self)
  }

  private static func unit(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32? {
    guard at >= 0, at + 4 <= bytes.count else { return nil }
    var value: UInt32 = 0
    for i in at..<at + 4 {
      guard let digit = hexValue(bytes[i]) else { return nil }
      value = value << 4 | digit
    }
    return value
  }

  private static func appendUnicode(_ bytes: UnsafeRawBufferPointer, _ at: inout Int, to out: inout [UInt8]) {
    guard let first = unit(bytes, at) else { return }
    at += 4
    var value = first
    if (0xd800..<0xdc00).contains(first), at + 6 <= bytes.count, bytes[at] == UInt8(ascii: "\\"),
      bytes[at + 1] == UInt8(ascii: "u"), let second = unit(bytes, at + 2), (0xdc00..<0xe000).contains(second)
    {
      at += 6
      value = 0x10000 + (first - 0xd800) << 10 + (second - 0xdc00)
    }
    out += Array(String(Unicode.Scalar(value) ?? "\u{fffd}").utf8)
  }

  /// Appends the text as a JSON string: with quotes, and what a web page could mistake escaped.
  package static func append(_ text: String, to out: inout OutBuffer) {
    out.append(byte: UInt8(ascii: "\""))
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out.append("\\\"")
      case "\\": out.append("\\\\")
      case "\n": out.append("\\n")
      case "\r": out.append("\\r")
      case "\t": out.append("\\t")
      case "<", ">", "&", "\u{2028}", "\u{2029}": appendEscaped(scalar, to: &out)
      case _ where scalar.value < 0x20: appendEscaped(scalar, to: &out)
      default: for byte in String(scalar).utf8 { out.append(byte: byte) }
      }
    }
    out.append(byte: UInt8(ascii: "\""))
  }

  private static func appendEscaped(_ scalar: Unicode.Scalar, to out: inout OutBuffer) {
    let digits = String(scalar.value, radix: 16)
    out.append("\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits)
  }
}
