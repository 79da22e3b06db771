// A command line cut as Go's flag package cuts it, which etcd uses: one dash or two, a value after = or as the next word,
// switches without one, `--` or the first word that is no flag ends it.

struct CommandLineFlags {
  /// By the flags' own names.
  var values: [String: String] = [:]
  /// What is left behind the flags.
  private(set) var arguments: [String] = []
  private(set) var wantsHelp = false
  private(set) var wantsVersion = false

  init(_ words: [String], _ table: FlagTable) throws(FlagError) {
    var rest = words[...]
    while let word = rest.first {
      guard word.hasPrefix("-"), word != "-" else { break }
      rest = rest.dropFirst()
      if word == "--" { break }
      let body = word.dropFirst(word.hasPrefix("--") ? 2 : 1)
      guard let first = body.first, first != "-", first != "=" else {
        throw CommandLineFlags.misuse("bad flag syntax: \(word)")
      }
      let parts = body.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts.first ?? "")
      let value = parts.count == 2 ? String(parts[1]) : nil
      switch name {
      case "help", "h": wantsHelp = true
      case "version": wantsVersion = try CommandLineFlags.isOn(name, value)
      default: try take(name, value, &rest, table)
      }
    }
    arguments = Array(rest)
  }

  private mutating func take(
    _ name: String, _ given: String?, _ rest: inout ArraySlice<String>, _ table: FlagTable
  ) throws(FlagError) {
    guard let flag = table.flag(name) else {
      let hint = table.nearest(name).map { "; did you mean --\($0)?" } ?? ""
      throw CommandLineFlags.misuse("flag provided but not defined: -\(name)\(hint)")
    }
    guard let value = given ?? (flag.isSwitch ? "true" : rest.popFirst()) else {
      throw CommandLineFlags.misuse("flag needs an argument: -\(name)")
    }
    guard flag.takes(value) else {
      throw CommandLineFlags.misuse(
        "invalid \(flag.isSwitch ? "boolean value" : "value") \"\(value)\" for \(flag.isSwitch ? "" : "flag ")-\(name): "
          + "parse error")
    }
    values[flag.name] = value
  }

  private static func isOn(_ name: String, _ value: String?) throws(FlagError) -> Bool {
    guard let isOn = Flag.boolean(value ?? "true") else {
      throw misuse("invalid boolean value \"\(value ?? "")\" for -\(name): parse error")
    }
    return isOn
  }

  private static func misuse(_ description: String) -> FlagError {
    FlagError(description: description, status: 2, showsUsage: true)
  }
}
