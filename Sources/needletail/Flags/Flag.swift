// One flag: its names, what it takes, and what is said about it.

struct Flag: Sendable {
  enum Kind: Sendable {
    case text
    case boolean
    case integer
    case duration
  }

  enum Meaning: Sendable {
    /// Has its effect.
    case used
    /// Taken because etcd takes it; without effect here, which is said when it is given another value than its standard.
    case idle(String)
    /// Promises something that is not kept here, so that a server that went on would be another than was asked for: with
    /// another value than its standard it is refused.
    case refused(String)
  }

  let name: String
  /// Names of the same in other releases of etcd.
  let aliases: [String]
  let kind: Kind
  /// What holds where it is not given, as it is shown.
  let standard: String
  let meaning: Meaning
  let help: String

  init(
    _ name: String, _ kind: Kind, _ standard: String, aliases: [String] = [], _ meaning: Meaning, _ help: String
  ) {
    self.name = name
    self.aliases = aliases
    self.kind = kind
    self.standard = standard
    self.meaning = meaning
    self.help = help
  }

  init(_ name: String, _ kind: Kind, _ standard: String, aliases: [String] = [], _ help: String) {
    self.init(name, kind, standard, aliases: aliases, .used, help)
  }

  init(_ name: String, isSwitch: Bool = false, _ help: String) {
    self.init(name, isSwitch ? .boolean : .text, "", help)
  }

  /// True where it may stand without a value.
  var isSwitch: Bool { kind == .boolean }

  /// data-dir → ETCD_DATA_DIR.
  static func variable(_ name: String) -> String {
    "ETCD_" + String(name.map { $0 == "-" ? "_" : Character($0.uppercased()) })
  }

  /// Whether the text is a value of this kind, as Go's flag package judges.
  func takes(_ text: String) -> Bool {
    switch kind {
    case .text: true
    case .boolean: Flag.boolean(text) != nil
    case .integer: Flag.integer(text) != nil
    case .duration: GoDuration(text) != nil
    }
  }

  func isStandard(_ text: String) -> Bool {
    switch kind {
    case .text: text == standard
    case .boolean: Flag.boolean(text) == (Flag.boolean(standard) ?? false)
    case .integer: Flag.integer(text) == Flag.integer(standard)
    case .duration: GoDuration(text) == GoDuration(standard)
    }
  }

  static func boolean(_ text: String) -> Bool? {
    switch text {
    case "1", "t", "T", "true", "TRUE", "True": true
    case "0", "f", "F", "false", "FALSE", "False": false
    default: nil
    }
  }

  /// Decimal, or with the prefix 0x, 0o or 0b, with underscores between digits.
  static func integer(_ text: String) -> Int? {
    var digits = Substring(text)
    var sign = ""
    if let first = digits.first, first == "-" || first == "+" {
      sign = first == "-" ? "-" : ""
      digits = digits.dropFirst()
    }
    var radix = 10
    for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.lowercased().hasPrefix(prefix) {
      radix = base
      digits = digits.dropFirst(2)
    }
    guard let first = digits.first, first != "_", first != "-", first != "+", digits.last != "_" else { return nil }
    return Int(sign + digits.filter { $0 != "_" }, radix: radix)
  }
}

/// What is wrong with a command line, a variable or a configuration file.
struct FlagError: Error, CustomStringConvertible, Equatable {
  let description: String
  /// Go's flag package ends a process that was called wrongly with 2, etcd's own checks with 1.
  var status: Int32 = 1
  /// Worth showing how it is called.
  var showsUsage = false
}
