// Bytes, sizes and durations as etcdctl writes them: Go's formats, rebuilt here to the letter.

import NeedletailRPC

/// Go's time.Duration as text.
enum DurationText {
  /// `2.91681ms`, `1.001346894s`, `1m30s`: the largest unit below a second that fits, without trailing zeros.
  static func format(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = attoseconds / 1_000_000_000
    if seconds == 0 {
      if nanoseconds < 1_000 { return nanoseconds == 0 ? "0s" : "\(nanoseconds)ns" }
      if nanoseconds < 1_000_000 { return decimal(nanoseconds, 1_000) + "µs" }
      return decimal(nanoseconds, 1_000_000) + "ms"
    }
    let whole = decimal(seconds % 60 * 1_000_000_000 + nanoseconds, 1_000_000_000) + "s"
    if seconds < 60 { return whole }
    let minutes = "\(seconds / 60 % 60)m" + whole
    return seconds < 3_600 ? minutes : "\(seconds / 3_600)h" + minutes
  }

  /// `value / unit` with as many decimals as needed.
  private static func decimal(_ value: Int64, _ unit: Int64) -> String {
    let fraction = value % unit
    if fraction == 0 { return "\(value / unit)" }
    var digits = String(fraction)
    digits = String(repeating: "0", count: String(unit).count - 1 - digits.count) + digits
    while digits.last == "0" { digits.removeLast() }
    return "\(value / unit).\(digits)"
  }

  /// Reads Go's form: numbers with units, such as `1m30s` or `1.5h`. Nil when it isn't one.
  static func parse(_ text: [UInt8]) -> Duration? {
    var rest = text[...]
    if rest == Array("0".utf8)[...] { return .zero }
    var total = 0.0
    guard !rest.isEmpty else { return nil }
    while !rest.isEmpty {
      let digits = rest.prefix { ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9")) || $0 == UInt8(ascii: ".") }
      guard let number = Double(String(decoding: digits, as: UTF8.self)) else { return nil }
      rest = rest[digits.endIndex...]
      let unit = rest.prefix { $0 > UInt8(ascii: "9") }
      rest = rest[unit.endIndex...]
      switch String(decoding: unit, as: UTF8.self) {
      case "ns": total += number / 1e9
      case "us", "µs", "μs": total += number / 1e6
      case "ms": total += number / 1e3
      case "s": total += number
      case "m": total += number * 60
      case "h": total += number * 3_600
      default: return nil
      }
    }
    // Go's longest duration is about 292 years.
    guard total < 9_223_372_036 else { return nil }
    return .nanoseconds(Int64(total * 1e9))
  }
}

/// Sizes in powers of 1000, as etcdctl shows them: `20 kB`, `1.5 MB`.
enum SizeText {
  static func format(_ bytes: Int64) -> String {
    let bytes = max(bytes, 0)
    if bytes < 10 { return "\(bytes) B" }
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"]
    var unit = 0
    var divisor: Int64 = 1
    while bytes / divisor >= 1_000 {
      divisor *= 1_000
      unit += 1
    }
    let tenths = (Double(bytes) / Double(divisor) * 10 + 0.5).rounded(.down)
    if tenths < 100 { return "\(Int(tenths) / 10).\(Int(tenths) % 10) \(units[unit])" }
    return "\(Int((tenths / 10).rounded(.toNearestOrEven))) \(units[unit])"
  }
}

extension OutBuffer {
  /// `\x66\x6f`: every byte in hexadecimal.
  mutating func appendHex(_ bytes: [UInt8]) {
    for byte in bytes {
      append("\\x")
      append(byte: hexDigit(byte >> 4))
      append(byte: hexDigit(byte & 15))
    }
  }

  /// The text between quotes with escapes, as Go's %q writes it: printable characters stand as they are, bytes that are
  /// not UTF-8 as \x.., other characters as \u.... .
  mutating func appendQuoted(_ bytes: [UInt8]) {
    append(byte: UInt8(ascii: "\""))
    appendQuotedContents(bytes)
    append(byte: UInt8(ascii: "\""))
  }

  mutating func appendQuotedContents(_ bytes: [UInt8]) {
    var at = 0
    while at < bytes.count {
      let (scalar, size) = decodeScalar(bytes, at)
      if let scalar {
        appendQuoted(scalar, bytes[at..<at + size])
      } else {
        append("\\x")
        append(byte: hexDigit(bytes[at] >> 4))
        append(byte: hexDigit(bytes[at] & 15))
      }
      at += size
    }
  }

  private mutating func appendQuoted(_ scalar: Unicode.Scalar, _ bytes: ArraySlice<UInt8>) {
    switch scalar {
    case "\"": append("\\\"")
    case "\\": append("\\\\")
    case "\u{7}": append("\\a")
    case "\u{8}": append("\\b")
    case "\u{C}": append("\\f")
    case "\n": append("\\n")
    case "\r": append("\\r")
    case "\t": append("\\t")
    case "\u{B}": append("\\v")
    case _ where isPrintable(scalar): bytes.withUnsafeBytes { append($0) }
    case _ where scalar.value < 0x80: appendHexNumber("\\x", scalar.value, digits: 2)
    case _ where scalar.value < 0x1_0000: appendHexNumber("\\u", scalar.value, digits: 4)
    default: appendHexNumber("\\U", scalar.value, digits: 8)
    }
  }

  private mutating func appendHexNumber(_ prefix: String, _ value: UInt32, digits: Int) {
    append(prefix)
    for place in (0..<digits).reversed() {
      append(byte: hexDigit(UInt8(truncatingIfNeeded: value >> UInt32(4 * place)) & 15))
    }
  }
}

private func hexDigit(_ value: UInt8) -> UInt8 {
  value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}

/// Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space.
private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
  if scalar.isASCII { return scalar.value >= 0x20 && scalar.value < 0x7F }
  switch scalar.properties.generalCategory {
  case .control, .format, .surrogate, .privateUse, .unassigned, .spaceSeparator, .lineSeparator, .paragraphSeparator:
    return false
  default:
    return true
  }
}

/// The character at `at` and its bytes; nil and 1 when the bytes there are not UTF-8 (as Go steps over them).
private func decodeScalar(_ bytes: [UInt8], _ at: Int) -> (Unicode.Scalar?, Int) {
  let first = bytes[at]
  if first < 0x80 { return (Unicode.Scalar(first), 1) }
  let size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
  let window = bytes[at..<min(at + size, bytes.count)]
  guard let text = String(validating: window, as: UTF8.self), let scalar = text.unicodeScalars.first,
    UTF8.width(scalar) == window.count
  else { return (nil, 1) }
  return (scalar, window.count)
}
