// Command lines as etcdctl takes them: flags anywhere, `--flag value` and `--flag=value`, `-w json`, `-wjson`, `-w=json`,
// `--switch` and `--switch=false`, and `--` before arguments that begin with a dash.
//
// Written by hand for two reasons: arguments are bytes here (a key needs not be UTF-8), and a library that parses with
// reflection costs more time at start than a put over the network.

/// A flag that a command takes.
struct Flag: Sendable {
  enum Kind: Sendable {
    /// On when present; `=false` turns it off.
    case toggle
    case value(placeholder: String)
  }

  let name: String
  var short: Character?
  let kind: Kind
  let help: String

  init(_ name: String, short: Character? = nil, _ help: String) {
    self.init(name, short: short, kind: .toggle, help)
  }

  init(_ name: String, short: Character? = nil, value placeholder: String, _ help: String) {
    self.init(name, short: short, kind: .value(placeholder: placeholder), help)
  }

  private init(_ name: String, short: Character?, kind: Kind, _ help: String) {
    self.name = name
    self.short = short
    self.kind = kind
    self.help = help
  }

  var isToggle: Bool { if case .toggle = kind { true } else { false } }
}

/// A command line taken apart.
struct ParsedLine {
  /// What is no flag, the command's own words left out. Bytes, because keys and values are.
  var arguments: [[UInt8]] = []
  /// How many of the arguments stood before `--`; nil where there was none.
  private(set) var separatorAt: Int?
  /// Given flags by name; the last of several counts. A toggle's text is "true" or "false".
  private(set) var texts: [String: [UInt8]] = [:]

  mutating func markSeparator() { separatorAt = arguments.count }

  mutating func set(_ flag: Flag, _ text: [UInt8]) throws(Failure) {
    if flag.isToggle {
      guard let on = ParsedLine.boolean(text) else { throw .badFlag(flag.name, text, "it is true or false") }
      texts[flag.name] = on ? Array("true".utf8) : Array("false".utf8)
    } else {
      texts[flag.name] = text
    }
  }

  /// The spellings of Go's strconv.ParseBool, which etcdctl takes.
  private static func boolean(_ text: [UInt8]) -> Bool? {
    switch String(decoding: text, as: UTF8.self) {
    case "1", "t", "T", "true", "TRUE", "True": true
    case "0", "f", "F", "false", "FALSE", "False": false
    default: nil
    }
  }

  func isOn(_ name: String) -> Bool { texts[name].map { $0 == Array("true".utf8) } ?? false }
  func bytes(_ name: String) -> [UInt8]? { texts[name] }
  func text(_ name: String) -> String? { texts[name].map { String(decoding: $0, as: UTF8.self) } }

  /// A decimal number that fits 64 bits.
  func number(_ name: String) throws(Failure) -> Int64? {
    guard let text = texts[name] else { return nil }
    guard let number = Int64(String(decoding: text, as: UTF8.self)) else {
      throw .badFlag(name, text, "it is a whole number")
    }
    return number
  }

  /// A duration such as `500ms`, `5s`, `1m30s`.
  func duration(_ name: String) throws(Failure) -> Duration? {
    guard let text = texts[name] else { return nil }
    guard let duration = DurationText.parse(text), duration > .zero else {
      throw .badFlag(name, text, "it is a duration above zero with a unit, such as 500ms or 5s")
    }
    return duration
  }
}

extension Command {
  /// Takes a command's part of the line apart. `tokens` are the arguments without the command's own words; flags given
  /// before those are among them.
  func parse(_ tokens: [[UInt8]]) throws(Failure) -> ParsedLine {
    var line = ParsedLine()
    var rest = tokens[...]
    while let token = rest.popFirst() {
      if token == Array("--".utf8) {
        line.markSeparator()
        line.arguments += rest
        break
      }
      if token.starts(with: Array("--".utf8)) {
        try takeLong(token, &rest, &line)
      } else if token.first == UInt8(ascii: "-"), token.count > 1 {
        try takeShort(token, &rest, &line)
      } else {
        line.arguments.append(token)
      }
    }
    return line
  }

  private func takeLong(
    _ token: [UInt8], _ rest: inout ArraySlice<[UInt8]>, _ line: inout ParsedLine
  ) throws(Failure) {
    let body = token.dropFirst(2)
    let equals = body.firstIndex(of: UInt8(ascii: "="))
    let name = String(decoding: body[..<(equals ?? body.endIndex)], as: UTF8.self)
    guard let flag = allFlags.first(where: { $0.name == name }) else { throw .usage("unknown flag: --\(name)", self) }
    if let equals {
      try line.set(flag, Array(body[(equals + 1)...]))
    } else if flag.isToggle {
      try line.set(flag, Array("true".utf8))
    } else if let value = rest.popFirst() {
      try line.set(flag, value)
    } else {
      throw .usage("flag needs an argument: --\(name)", self)
    }
  }

  /// One or more one-letter toggles, the last of which may take a value.
  private func takeShort(
    _ token: [UInt8], _ rest: inout ArraySlice<[UInt8]>, _ line: inout ParsedLine
  ) throws(Failure) {
    var letters = token.dropFirst()
    while let letter = letters.popFirst() {
      let character = Character(Unicode.Scalar(letter))
      guard let flag = allFlags.first(where: { $0.short == character }) else {
        throw .usage("unknown shorthand flag: '\(character)' in \(String(decoding: token, as: UTF8.self))", self)
      }
      if flag.isToggle {
        try line.set(flag, Array("true".utf8))
        continue
      }
      if letters.first == UInt8(ascii: "=") { letters.removeFirst() }
      if !letters.isEmpty {
        try line.set(flag, Array(letters))
      } else if let value = rest.popFirst() {
        try line.set(flag, value)
      } else {
        throw .usage("flag needs an argument: '\(character)' in \(String(decoding: token, as: UTF8.self))", self)
      }
      return
    }
  }
}
