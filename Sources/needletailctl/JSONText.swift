// JSON as Go's encoder writes it: fields in the message's order, zero fields left out, bytes in base64.

import NeedletailRPC

/// Writes one object's members; each names itself and leaves itself out when it is zero.
struct JSONObject {
  private var isFirst = true

  mutating func member(_ name: String, _ out: inout OutBuffer, _ body: (inout OutBuffer) -> Void) {
    out.append(isFirst ? "{\"" : ",\"")
    isFirst = false
    out.append(name)
    out.append("\":")
    body(&out)
  }

  mutating func number(_ name: String, _ value: some BinaryInteger, _ out: inout OutBuffer) {
    if value != 0 { member(name, &out) { $0.append(String(value)) } }
  }

  mutating func boolean(_ name: String, _ value: Bool, _ out: inout OutBuffer) {
    if value { member(name, &out) { $0.append("true") } }
  }

  mutating func bytes(_ name: String, _ value: [UInt8], _ out: inout OutBuffer) {
    if !value.isEmpty {
      member(name, &out) {
        $0.append(byte: UInt8(ascii: "\""))
        Base64.encode(value, into: &$0)
        $0.append(byte: UInt8(ascii: "\""))
      }
    }
  }

  mutating func text(_ name: String, _ value: String, _ out: inout OutBuffer) {
    if !value.isEmpty { member(name, &out) { JSONText.appendString(Array(value.utf8), likeGo: true, to: &$0) } }
  }

  mutating func close(_ out: inout OutBuffer) { out.append(isFirst ? "{}" : "}") }
}

enum JSONText {
  /// A JSON string. `bytes` must be UTF-8. Like Go: <, >, & and U+2028, U+2029 are escaped too, and nothing has a short
  /// escape but \n, \r and \t; otherwise only what JSON demands is escaped.
  static func appendString(_ bytes: [UInt8], likeGo: Bool, to out: inout OutBuffer) {
    out.append(byte: UInt8(ascii: "\""))
    var plain = 0
    var at = 0
    while at < bytes.count {
      let (escape, size) = self.escape(bytes, at, likeGo)
      if let escape {
        bytes[plain..<at].withUnsafeBytes { out.append($0) }
        out.append(escape)
        plain = at + size
      }
      at += size
    }
    bytes[plain...].withUnsafeBytes { out.append($0) }
    out.append(byte: UInt8(ascii: "\""))
  }

  private static func escape(_ bytes: [UInt8], _ at: Int, _ likeGo: Bool) -> (String?, Int) {
    let byte = bytes[at]
    switch byte {
    case UInt8(ascii: "\""): return ("\\\"", 1)
    case UInt8(ascii: "\\"): return ("\\\\", 1)
    case UInt8(ascii: "\n"): return ("\\n", 1)
    case UInt8(ascii: "\r"): return ("\\r", 1)
    case UInt8(ascii: "\t"): return ("\\t", 1)
    case 0..<0x20: return (unicodeEscape(byte), 1)
    case UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"): return (likeGo ? unicodeEscape(byte) : nil, 1)
    case 0xE2 where likeGo && at + 2 < bytes.count && bytes[at + 1] == 0x80 && bytes[at + 2] & 0xFE == 0xA8:
      return (bytes[at + 2] == 0xA8 ? "\\u2028" : "\\u2029", 3)
    default: return (nil, 1)
    }
  }

  private static func unicodeEscape(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return "\\u00" + (digits.count == 1 ? "0" : "") + digits
  }
}
