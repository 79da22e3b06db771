// Forms of bytes, sizes, durations and tables: what Go and etcdctl 3.4.23 print for the same.

import NeedletailRPC
import Testing

@testable import needletailctl

private func text(_ body: (inout OutBuffer) -> Void) -> String {
  var out = OutBuffer()
  defer { out.free() }
  body(&out)
  return String(decoding: out.bytes, as: UTF8.self)
}

@Suite struct TextTests {
  @Test func durations() {
    #expect(DurationText.format(.nanoseconds(2_916_810)) == "2.91681ms")
    #expect(DurationText.format(.nanoseconds(1_001_346_894)) == "1.001346894s")
    #expect(DurationText.format(.nanoseconds(873_845)) == "873.845µs")
    #expect(DurationText.format(.nanoseconds(999)) == "999ns")
    #expect(DurationText.format(.nanoseconds(1_000)) == "1µs")
    #expect(DurationText.format(.milliseconds(5)) == "5ms")
    #expect(DurationText.format(.nanoseconds(1_000_010)) == "1.00001ms")
    #expect(DurationText.format(.zero) == "0s")
    #expect(DurationText.format(.seconds(90)) == "1m30s")
    #expect(DurationText.format(.seconds(7_384)) == "2h3m4s")
    #expect(DurationText.format(.milliseconds(61_500)) == "1m1.5s")
  }

  @Test func durationsRead() {
    func parse(_ text: String) -> Duration? { DurationText.parse(Array(text.utf8)) }
    #expect(parse("5s") == .seconds(5))
    #expect(parse("500ms") == .milliseconds(500))
    #expect(parse("1m30s") == .seconds(90))
    #expect(parse("1.5h") == .seconds(5_400))
    #expect(parse("10us") == .microseconds(10))
    #expect(parse("10µs") == .microseconds(10))
    #expect(parse("0") == .zero)
    for bad in ["", "5", "s", "5x", "-5s", "1..2s", "5 s", "99999999999999h", "nan s", "infs"] {
      #expect(parse(bad) == nil, "\(bad)")
    }
  }

  @Test func sizes() {
    #expect(SizeText.format(20_480) == "20 kB")
    #expect(SizeText.format(0) == "0 B")
    #expect(SizeText.format(9) == "9 B")
    #expect(SizeText.format(999) == "999 B")
    #expect(SizeText.format(1_500_000) == "1.5 MB")
    #expect(SizeText.format(82_854_982) == "83 MB")
    #expect(SizeText.format(.max) == "9.2 EB")
    #expect(SizeText.format(-5) == "0 B")
  }

  @Test func quoted() {
    func quote(_ bytes: [UInt8]) -> String { text { $0.appendQuoted(bytes) } }
    func quote(_ string: String) -> String { quote(Array(string.utf8)) }
    #expect(quote("plain") == #""plain""#)
    #expect(quote("a\"b\\c") == #""a\"b\\c""#)
    #expect(quote("\n\r\t\u{7}\u{8}\u{B}\u{C}") == #""\n\r\t\a\b\v\f""#)
    #expect(quote([0, 1, 0x7F]) == #""\x00\x01\x7f""#)
    #expect(quote("grün €") == #""grün €""#)
    #expect(quote("\u{A0}\u{200B}\u{2028}") == #""\u00a0\u200b\u2028""#)
    #expect(quote("\u{E0001}") == #""\U000e0001""#)
    #expect(quote([0xFF, 0x61, 0xC3]) == #""\xffa\xc3""#)
    #expect(quote([0xE2, 0x82, 0x61]) == #""\xe2\x82a""#)
    #expect(quote([0xED, 0xA0, 0x80]) == #""\xed\xa0\x80""#)  // a surrogate is no character
    #expect(quote([0xC0, 0x80]) == #""\xc0\x80""#)  // overlong
    #expect(quote([0xF5, 0x80, 0x80, 0x80]) == #""\xf5\x80\x80\x80""#)
    #expect(quote([0xC3, 0xA9, 0x80]) == #""é\x80""#)
  }

  @Test func hexadecimal() {
    #expect(text { $0.appendHex(Array("foo\n".utf8)) } == #"\x66\x6f\x6f\x0a"#)
  }

  @Test func base64() {
    func encode(_ string: String) -> String { text { Base64.encode(Array(string.utf8), into: &$0) } }
    func decode(_ string: String) -> [UInt8]? {
      var out = OutBuffer()
      defer { out.free() }
      let isValid = Array(string.utf8).withUnsafeBytes { StrictBase64.decode($0, into: &out) }
      return isValid ? [UInt8](out.bytes) : nil
    }
    // RFC 4648, section 10.
    for (plain, coded) in [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
      ("foobar", "Zm9vYmFy"),
    ] {
      #expect(encode(plain) == coded)
      #expect(decode(coded) == Array(plain.utf8))
    }
    #expect(decode("+/+/") == [0xFB, 0xFF, 0xBF])
    for bad in ["Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zh==", "Zm9=", "Zm-_", "Zm 9", "Zm9v\n"] {
      #expect(decode(bad) == nil, "\(bad)")
    }
  }

  @Test func jsonStrings() {
    func json(_ string: String, _ likeGo: Bool) -> String {
      text { JSONText.appendString(Array(string.utf8), likeGo: likeGo, to: &$0) }
    }
    #expect(json("a<b>&\u{2028}\u{2029}é", true) == #""a\u003cb\u003e\u0026\u2028\u2029é""#)
    #expect(json("a<b>&\u{2028}é", false) == "\"a<b>&\u{2028}é\"")
    #expect(json("\"\\\n\r\t\u{1}\u{1F}\u{7F}", false) == "\"\\\"\\\\\\n\\r\\t\\u0001\\u001f\u{7F}\"")
  }

  @Test func tables() {
    let table = Table(
      headings: ["ENDPOINT", "HEALTH", "TOOK", "ERROR"],
      rows: [
        ["127.0.0.1:23911", "true", "3.686436ms", ""],
        ["127.0.0.1:1", "false", "1.001039178s", "context deadline exceeded"],
      ])
    #expect(
      table.text == """
        +-----------------+--------+--------------+---------------------------+
        |    ENDPOINT     | HEALTH |     TOOK     |           ERROR           |
        +-----------------+--------+--------------+---------------------------+
        | 127.0.0.1:23911 |   true |   3.686436ms |                           |
        |     127.0.0.1:1 |  false | 1.001039178s | context deadline exceeded |
        +-----------------+--------+--------------+---------------------------+

        """)
  }
}
