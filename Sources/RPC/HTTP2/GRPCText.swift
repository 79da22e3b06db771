// An error's text as a header field: what is not printable ASCII, and %, becomes %XX of its UTF-8.
import NeedletailBytes

package enum GRPCText {
  package static func encode(_ text: String, into out: inout OutBuffer) {
    for byte in text.utf8 {
      if byte >= 0x20, byte < 0x7f, byte != UInt8(ascii: "%") {
        out.append(byte: byte)
      } else {
        out.append(byte: UInt8(ascii: "%"))
        out.append(byte: digit(byte >> 4))
        out.append(byte: digit(byte & 15))
      }
    }
  }

  private static func digit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
  }
}
