// The log: a line for each event, as words (time, level, message, key=value) or as etcd's JSON, to one place or several.
import Glibc
import Logging

package enum LogFormat: String, CaseIterable, Sendable {
  case console
  case json
}

package struct LineLog: LogHandler {
  package var metadata: Logger.Metadata = [:]
  package var logLevel: Logger.Level
  private let format: LogFormat
  private let outputs: [Int32]

  /// Descriptors that stay open for the process's life.
  package init(level: Logger.Level, format: LogFormat = .console, outputs: [Int32] = [STDERR_FILENO]) {
    logLevel = level
    self.format = format
    self.outputs = outputs
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
    var line: String
    switch format {
    case .console:
      line = "\(LineLog.time()) \(LineLog.name(event.level)) \(event.message)"
      for (key, value) in all { line += " \(key)=\(LineLog.quoted("\(value)"))" }
    case .json:
      line = "{\"level\":\"\(LineLog.name(event.level))\",\"ts\":\"\(LineLog.time())\",\"msg\":"
      line += LineLog.json("\(event.message)")
      for (key, value) in all { line += ",\(LineLog.json(key)):\(LineLog.json("\(value)"))" }
      line += "}"
    }
    line += "\n"
    // One write to each: lines of several threads don't mix.
    line.withUTF8 { text in
      for output in outputs { _ = write(output, text.baseAddress, text.count) }
    }
  }

  private static func name(_ level: Logger.Level) -> String {
    switch level {
    case .trace, .debug: "debug"
    case .info, .notice: "info"
    case .warning: "warn"
    case .error: "error"
    case .critical: "fatal"
    }
  }

  /// Quoted where it would not read as one word; a log line stays one line.
  private static func quoted(_ text: String) -> String {
    let isPlain = !text.isEmpty && text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "\"" && $0 != "=" }
    return isPlain ? text : json(text)
  }

  private static func json(_ text: String) -> String {
    var quoted = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": quoted += "\\\""
      case "\\": quoted += "\\\\"
      case "\n": quoted += "\\n"
      case _ where scalar.value < 0x20: quoted += "?"
      default: quoted.unicodeScalars.append(scalar)
      }
    }
    return quoted + "\""
  }

  /// UTC to the millisecond, as 2026-01-31T12:34:56.789Z.
  private static func time() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    gmtime_r(&now.tv_sec, &parts)
    func padded(_ number: Int, _ width: Int) -> String {
      let digits = String(number)
      return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
    let date = "\(parts.tm_year + 1900)-\(padded(Int(parts.tm_mon) + 1, 2))-\(padded(Int(parts.tm_mday), 2))"
    let clock = "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))"
    return "\(date)T\(clock).\(padded(now.tv_nsec / 1_000_000, 3))Z"
  }
}
