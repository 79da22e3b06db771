// What a command says, at the level that the script asked for.

import NeedletailRaft

final class ScriptOutput {
  static let levels = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"]

  private(set) var text = ""
  /// Position in `levels`; the last silences commands too, but for their errors.
  var level = 0

  var isQuiet: Bool { level == Self.levels.count - 1 }

  func begin() { text = "" }

  func write(_ more: String) { if !isQuiet { text += more } }

  func log(_ at: LogLevel, _ line: String) {
    if level <= at.rawValue { text += "\(Self.levels[at.rawValue]) \(line)\n" }
  }

  func setLevel(_ name: String) throws(ScriptFailure) {
    guard let found = Self.levels.firstIndex(of: name.uppercased()) else {
      throw ScriptFailure("log levels must be either of [\(Self.levels.joined(separator: " "))]")
    }
    level = found
  }

  /// What `body` writes, two spaces to the right.
  func indented(_ body: () throws -> Void) throws {
    let outer = text
    text = ""
    defer {
      var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
      if lines.last == "" { lines.removeLast() }
      text = outer + lines.map { "  \($0)\n" }.joined()
    }
    try body()
  }
}
