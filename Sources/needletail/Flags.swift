// Command line and environment: every flag is also a variable, as etcd's are. The command line wins.

/// A flag's name, what it takes, and what is said about it.
struct Flag: Sendable {
  enum Meaning: Sendable {
    /// Has its effect.
    case used
    /// Taken because etcd takes it; without effect here, which is said when it is given.
    case ignored(String)
  }

  let name: String
  let isSwitch: Bool
  let meaning: Meaning
  let help: String

  init(_ name: String, isSwitch: Bool = false, _ help: String) {
    self.name = name
    self.isSwitch = isSwitch
    meaning = .used
    self.help = help
  }

  init(ignoring name: String, isSwitch: Bool = false, _ why: String) {
    self.name = name
    self.isSwitch = isSwitch
    meaning = .ignored(why)
    help = "accepted, without effect: \(why)"
  }

  /// data-dir → ETCD_DATA_DIR.
  var variable: String {
    "ETCD_" + String(name.map { $0 == "-" ? "_" : Character($0.uppercased()) })
  }
}

struct FlagError: Error, CustomStringConvertible {
  let description: String
}

/// What was given, by flag name.
struct FlagValues {
  private var values: [String: String] = [:]
  /// In the order of the table: flags that were given and have no effect, and why.
  private(set) var ignored: [(name: String, why: String)] = []
  private(set) var wantsHelp = false
  private(set) var wantsVersion = false

  subscript(name: String) -> String? { values[name] }

  /// `arguments` without the program's name.
  init(_ arguments: [String], environment: (String) -> String?, table: [Flag]) throws(FlagError) {
    for flag in table {
      if let value = environment(flag.variable), !value.isEmpty { values[flag.name] = value }
    }
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      guard argument.hasPrefix("-"), argument.count > 1 else {
        throw FlagError(description: "unexpected argument '\(argument)'")
      }
      let body = argument.drop { $0 == "-" }
      let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts.first ?? "")
      switch name {
      case "help", "h":
        wantsHelp = true
        continue
      case "version":
        wantsVersion = true
        continue
      default: break
      }
      guard let flag = table.first(where: { $0.name == name }) else {
        throw FlagError(description: "unknown flag '\(argument)'; see --help")
      }
      if parts.count == 2 {
        values[name] = String(parts[1])
      } else if flag.isSwitch {
        values[name] = "true"
      } else if let value = rest.popFirst() {
        values[name] = value
      } else {
        throw FlagError(description: "--\(name) needs a value")
      }
    }
    for flag in table {
      if case .ignored(let why) = flag.meaning, values[flag.name] != nil { ignored.append((flag.name, why)) }
    }
  }

  func integer(_ name: String, in range: ClosedRange<Int>) throws(FlagError) -> Int? {
    guard let text = values[name] else { return nil }
    guard let value = Int(text), range.contains(value) else {
      throw FlagError(
        description: "--\(name) takes a number from \(range.lowerBound) to \(range.upperBound), not '\(text)'")
    }
    return value
  }

  func choice<T: RawRepresentable & CaseIterable>(_ name: String, _ type: T.Type) throws(FlagError) -> T?
  where T.RawValue == String {
    guard let text = values[name] else { return nil }
    guard let value = T(rawValue: text) else {
      let all = T.allCases.map(\.rawValue).joined(separator: ", ")
      throw FlagError(description: "--\(name) is one of \(all), not '\(text)'")
    }
    return value
  }
}
