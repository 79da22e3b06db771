// What is wrong with a JSON text, in the words of Go's decoder: that is what etcd's clients read.

package struct JSONError: Error, Equatable, Sendable, CustomStringConvertible {
  package let description: String

  init(_ description: String) { self.description = description }

  package static let truncated = JSONError("unexpected EOF")
  static let tooDeep = JSONError("exceeded max depth")

  static func unexpected(_ byte: UInt8, _ context: String) -> JSONError {
    JSONError("invalid character \(quoted(byte)) \(context)")
  }

  static func mismatch(_ found: String, _ wanted: String) -> JSONError {
    JSONError("json: cannot unmarshal \(found) into Go value of type \(wanted)")
  }

  /// As Go quotes a character.
  private static func quoted(_ byte: UInt8) -> String {
    switch byte {
    case UInt8(ascii: "'"): return #"'\''"#
    case UInt8(ascii: "\""): return #"'"'"#
    case UInt8(ascii: "\\"): return #"'\\'"#
    case 7: return #"'\a'"#
    case 8: return #"'\b'"#
    case 9: return #"'\t'"#
    case 10: return #"'\n'"#
    case 11: return #"'\v'"#
    case 12: return #"'\f'"#
    case 13: return #"'\r'"#
    case 0x20..<0x7f: return "'\(Unicode.Scalar(byte))'"
    case 0xa1...0xac, 0xae...0xff: return "'\(Unicode.Scalar(byte))'"
    default:
      let digits = String(byte, radix: 16)
      let padded = (digits.count < 2 ? "0" : "") + digits
      return byte < 0x80 ? "'\\x\(padded)'" : "'\\u00\(padded)'"
    }
  }
}
