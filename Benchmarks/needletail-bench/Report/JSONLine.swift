// One result, one line of JSON with its fields in the order they were given.

struct JSONLine {
  private(set) var text = ""

  mutating func add(_ name: String, _ value: String) {
    begin(name)
    text += Self.quoted(value)
  }

  mutating func add(_ name: String, _ value: Int) {
    begin(name)
    text += String(value)
  }

  /// A figure, to four significant digits or a whole number: more would claim more than was measured.
  mutating func add(_ name: String, figure value: Double) {
    begin(name)
    text += Self.figure(value)
  }

  mutating func add(_ name: String, hex value: UInt64) {
    begin(name)
    let digits = String(value, radix: 16)
    text += "\"" + String(repeating: "0", count: 16 - digits.count) + digits + "\""
  }

  var line: String { "{" + text + "}" }

  private mutating func begin(_ name: String) {
    if !text.isEmpty { text += "," }
    text += Self.quoted(name) + ":"
  }

  static func figure(_ value: Double) -> String {
    guard value.isFinite else { return "null" }
    var scale = 1.0
    while abs(value) * scale < 1000, scale < 1e6 { scale *= 10 }
    let rounded = (value * scale).rounded() / scale
    return rounded == rounded.rounded() && abs(rounded) < 1e15 ? String(Int(rounded)) : String(rounded)
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
