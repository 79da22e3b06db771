// What was given on the command line, in variables or in the configuration file, read as etcd reads it: the command line
// goes before the variables, and a configuration file stands for both.

struct FlagValues {
  private var values: [String: String] = [:]
  /// To be logged: what was given without effect, and why.
  private(set) var warnings: [Warning] = []
  private(set) var wantsHelp = false
  private(set) var wantsVersion = false
  /// The file that everything came from, if one did.
  private(set) var configFile: String?
  private let table: FlagTable

  struct Warning: Equatable {
    let message: String
    let name: String
    let why: String
  }

  subscript(name: String) -> String? { values[name] }

  /// `arguments` without the program's name; `environment` is all variables; `load` reads a configuration file's text.
  init(
    _ arguments: [String], environment: [String: String], table: FlagTable,
    load: (String) throws(FlagError) -> ConfigFile
  ) throws(FlagError) {
    self.table = table
    var line = try CommandLineFlags(arguments, table)
    wantsHelp = line.wantsHelp
    wantsVersion = line.wantsVersion
    if wantsHelp || wantsVersion { return }
    if let argument = line.arguments.first {
      throw FlagError(description: "error verifying flags, '\(argument)' is not a valid flag. See 'etcd --help'.")
    }
    if let path = line.values["config-file"] ?? environment[Flag.variable("config-file")], !path.isEmpty {
      try take(try load(path), path)
      line.values["config-file"] = nil
      for name in line.values.keys.sorted() {
        warn("flag is ignored: the configuration file stands for all", "--\(name)", "--config-file is given")
      }
    } else {
      values = line.values
      try take(environment, shadowedBy: line.values)
    }
    try judge()
  }

  private mutating func warn(_ message: String, _ name: String, _ why: String) {
    warnings.append(Warning(message: message, name: name, why: why))
  }

  /// Variables, in the order of their names.
  private mutating func take(_ environment: [String: String], shadowedBy line: [String: String]) throws(FlagError) {
    for variable in environment.keys.sorted() where variable.hasPrefix("ETCD_") {
      guard let value = environment[variable], !value.isEmpty else { continue }
      guard let flag = table.flag(variable: variable) else {
        if !FlagValues.isTool(variable) {
          warn("unrecognized environment variable", variable, "no flag has this name")
        }
        continue
      }
      if line[flag.name] != nil {
        warn(
          "recognized environment variable, but unused: shadowed by corresponding flag", variable,
          "--\(flag.name) is given")
        continue
      }
      guard flag.takes(value) else {
        throw FlagError(description: "error verifying flags, invalid value \"\(value)\" for \(variable): parse error")
      }
      values[flag.name] = value
    }
  }

  /// Variables of etcdctl and of Debian's packaging, which are nobody's mistake.
  private static func isTool(_ variable: String) -> Bool {
    variable.hasPrefix("ETCDCTL_") || variable == "ETCD_UNSUPPORTED_ARCH" || variable == "ETCD_VERSION"
  }

  private mutating func take(_ file: ConfigFile, _ path: String) throws(FlagError) {
    configFile = path
    for setting in file.settings {
      let (name, value) = (setting.name, setting.value)
      guard let flag = table.flag(name) else {
        warn("unknown key in the configuration file", name, "no flag has this name")
        continue
      }
      // etcd's file has durations as nanoseconds.
      let text = flag.kind == .duration && Int64(value) != nil && value != "0" ? value + "ns" : value
      guard flag.takes(text) else {
        throw FlagError(
          description: "error verifying flags, \(path): invalid value \"\(value)\" for \(name): parse error")
      }
      values[flag.name] = text
    }
  }

  /// Says what has no effect, refuses what can't be.
  private mutating func judge() throws(FlagError) {
    for flag in table.flags {
      guard let value = values[flag.name], !flag.isStandard(value) else { continue }
      switch flag.meaning {
      case .used: break
      case .idle(let why): warn("flag has no effect", "--\(flag.name)", why)
      case .refused(let why): throw FlagError(description: "--\(flag.name) \(value): \(why)")
      }
    }
  }

  func isOn(_ name: String) -> Bool { values[name].flatMap { Flag.boolean($0) } ?? false }

  func integer(_ name: String, in range: ClosedRange<Int>) throws(FlagError) -> Int? {
    guard let text = values[name] else { return nil }
    guard let value = Flag.integer(text), range.contains(value) else {
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

  /// The parts between commas, without the empty ones.
  func list(_ name: String) -> [String]? {
    values[name].map { $0.split(separator: ",").map(String.init) }
  }
}
