// The log's flags.
import Logging
import NeedletailServer

struct LogConfiguration: Equatable {
  let level: Logger.Level
  let format: LogFormat
  let outputs: [LogOutput]
  /// Words of --log-outputs that name nothing here.
  let missing: [String]

  init(_ flags: FlagValues) throws(FlagError) {
    level = flags.isOn("debug") ? .debug : try LogConfiguration.level(flags["log-level"] ?? "info")
    let logger = flags["logger"] ?? "console"
    guard ["zap", "capnslog", "console"].contains(logger) else {
      throw FlagError(description: "--logger is one of zap, capnslog, console, not '\(logger)'")
    }
    format = try flags.choice("log-format", LogFormat.self) ?? (logger == "zap" ? .json : .console)
    let words = flags.list("log-outputs") ?? ["default"]
    missing = words.filter { LogOutput($0) == nil }
    let named = words.compactMap { LogOutput($0) }
    outputs = named.isEmpty ? [.standardError] : named
  }

  private static func level(_ text: String) throws(FlagError) -> Logger.Level {
    switch text {
    case "debug": return .debug
    case "info": return .info
    case "warn", "warning": return .warning
    case "error": return .error
    case "dpanic", "panic", "fatal": return .critical
    default:
      throw FlagError(description: "--log-level is one of debug, info, warn, error, panic, fatal, not '\(text)'")
    }
  }
}

extension LogConfiguration {
  /// Opens the outputs; from here on everything is logged to them.
  func start() throws(FlagError) -> Logger {
    var descriptors: [Int32] = []
    for output in outputs {
      do { descriptors.append(try output.open()) } catch { throw FlagError(description: "--log-outputs: \(error)") }
    }
    let handler = LineLog(level: level, format: format, outputs: descriptors)
    LoggingSystem.bootstrap { _ in handler }
    let logger = Logger(label: "needletail")
    for word in missing { logger.warning("log output is not to be had", metadata: ["name": "\(word)"]) }
    return logger
  }
}
