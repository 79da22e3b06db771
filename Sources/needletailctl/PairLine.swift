// One pair as a line of JSON: {"key": "...", "value": "..."}, or "key64" and "value64" in base64 for what is not UTF-8.
//
// A strict reader of exactly this form, not of JSON at large: an object with one key and one value, each once, in any
// order, and nothing else. Everything else is refused with its place in the line.

import NeedletailRPC

/// What is wrong with a line, and at which byte of it (from 1).
struct PairLineError: Error, Equatable, CustomStringConvertible {
  let why: String
  let column: Int
  var description: String { "\(why) at byte \(column)" }
}

/// Reads lines into two buffers that it uses again for each.
struct PairLineReader: ~Copyable {
  private var keyBytes = OutBuffer()
  private var valueBytes = OutBuffer()
  private var scratch = OutBuffer()

  deinit {
    var (key, value, scratch) = (keyBytes, valueBytes, scratch)
    key.free()
    value.free()
    scratch.free()
  }

  /// The pair of the last line read; valid until the next.
  var key: UnsafeRawBufferPointer { keyBytes.bytes }
  var value: UnsafeRawBufferPointer { valueBytes.bytes }

  mutating func read(_ line: UnsafeRawBufferPointer) throws(PairLineError) {
    guard String(validating: line, as: UTF8.self) != nil else {
      throw PairLineError(why: "line is not UTF-8", column: 1)
    }
    var cursor = Cursor(line: line)
    keyBytes.removeAll()
    valueBytes.removeAll()
    var hasKey = false
    var hasValue = false
    try cursor.expect(UInt8(ascii: "{"))
    repeat {
      scratch.removeAll()
      cursor.skipSpace()
      let column = cursor.column
      try cursor.string(into: &scratch)
      let name = String(decoding: scratch.bytes, as: UTF8.self)
      try cursor.expect(UInt8(ascii: ":"))
      switch name {
      case "key" where !hasKey, "key64" where !hasKey:
        try cursor.value(isBase64: name == "key64", into: &keyBytes, &scratch)
        hasKey = true
      case "value" where !hasValue, "value64" where !hasValue:
        try cursor.value(isBase64: name == "value64", into: &valueBytes, &scratch)
        hasValue = true
      case "key", "key64", "value", "value64":
        throw PairLineError(why: "member \"\(name)\" comes second", column: column)
      default:
        throw PairLineError(why: "unknown member \"\(name)\"", column: column)
      }
    } while cursor.take(UInt8(ascii: ","))
    try cursor.expect(UInt8(ascii: "}"))
    try cursor.expectEnd()
    guard hasKey && hasValue else {
      throw PairLineError(why: "line has no \(hasKey ? "value" : "key")", column: cursor.column)
    }
  }

  /// Appends a pair as a line.
  static func append(_ pair: (key: [UInt8], value: [UInt8]), to out: inout OutBuffer) {
    let isText =
      String(validating: pair.key, as: UTF8.self) != nil && String(validating: pair.value, as: UTF8.self) != nil
    if isText {
      out.append("{\"key\": ")
      JSONText.appendString(pair.key, likeGo: false, to: &out)
      out.append(", \"value\": ")
      JSONText.appendString(pair.value, likeGo: false, to: &out)
      out.append("}\n")
    } else {
      out.append("{\"key64\": \"")
      Base64.encode(pair.key, into: &out)
      out.append("\", \"value64\": \"")
      Base64.encode(pair.value, into: &out)
      out.append("\"}\n")
    }
  }
}

/// A place in a line that is known to be UTF-8. Invariant: 0 ≤ at ≤ line.count.
private struct Cursor {
  let line: UnsafeRawBufferPointer
  var at = 0

  init(line: UnsafeRawBufferPointer) { self.line = line }

  var column: Int { at + 1 }
  var next: UInt8? { at < line.count ? line[at] : nil }

  mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0D { at += 1 }
  }

  /// Steps over `byte` if it comes next, space aside.
  mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard next == byte else { return false }
    at += 1
    return true
  }

  mutating func expect(_ byte: UInt8) throws(PairLineError) {
    guard take(byte) else { throw fail("expected '\(Character(Unicode.Scalar(byte)))'") }
  }

  mutating func expectEnd() throws(PairLineError) {
    skipSpace()
    guard at == line.count else { throw fail("unexpected text after the object") }
  }

  mutating func value(
    isBase64: Bool, into out: inout OutBuffer, _ scratch: inout OutBuffer
  ) throws(PairLineError) {
    skipSpace()
    guard isBase64 else { return try string(into: &out) }
    let start = column
    scratch.removeAll()
    try string(into: &scratch)
    guard StrictBase64.decode(scratch.bytes, into: &out) else {
      throw PairLineError(why: "string is not base64", column: start)
    }
  }

  /// A JSON string's contents.
  mutating func string(into out: inout OutBuffer) throws(PairLineError) {
    guard take(UInt8(ascii: "\"")) else { throw fail("expected a string") }
    var plain = at
    while let byte = next {
      switch byte {
      case UInt8(ascii: "\""):
        out.append(UnsafeRawBufferPointer(rebasing: line[plain..<at]))
        at += 1
        return
      case UInt8(ascii: "\\"):
        out.append(UnsafeRawBufferPointer(rebasing: line[plain..<at]))
        at += 1
        try escape(into: &out)
        plain = at
      case 0..<0x20:
        throw fail("control character in a string")
      default:
        at += 1
      }
    }
    throw fail("string does not end")
  }

  private mutating func escape(into out: inout OutBuffer) throws(PairLineError) {
    guard let letter = next else { throw fail("string does not end") }
    at += 1
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): out.append(byte: letter)
    case UInt8(ascii: "b"): out.append(byte: 0x08)
    case UInt8(ascii: "f"): out.append(byte: 0x0C)
    case UInt8(ascii: "n"): out.append(byte: 0x0A)
    case UInt8(ascii: "r"): out.append(byte: 0x0D)
    case UInt8(ascii: "t"): out.append(byte: 0x09)
    case UInt8(ascii: "u"): try unicodeEscape(into: &out)
    default:
      at -= 1
      throw fail("unknown escape")
    }
  }

  /// \uXXXX, or two of them for a character beyond U+FFFF.
  private mutating func unicodeEscape(into out: inout OutBuffer) throws(PairLineError) {
    var value = try fourDigits()
    if value >= 0xD800 && value < 0xDC00, next == UInt8(ascii: "\\"), at + 1 < line.count,
      line[at + 1] == UInt8(ascii: "u")
    {
      at += 2
      let low = try fourDigits()
      guard low >= 0xDC00 && low < 0xE000 else { throw fail("half a surrogate pair") }
      value = 0x1_0000 + (value - 0xD800) << 10 + (low - 0xDC00)
    }
    guard let scalar = Unicode.Scalar(value) else { throw fail("half a surrogate pair") }
    for unit in UTF8.encode(scalar).unsafelyUnwrapped { out.append(byte: unit) }
  }

  private mutating func fourDigits() throws(PairLineError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let digit = next, let number = Character(Unicode.Scalar(digit)).hexDigitValue else {
        throw fail("expected four hexadecimal digits")
      }
      value = value << 4 | UInt32(number)
      at += 1
    }
    return value
  }

  private func fail(_ why: String) -> PairLineError { PairLineError(why: why, column: column) }
}
