// Flags that every command takes, and their places in the environment.

import Glibc
import NeedletailClient

/// How answers are shown.
enum OutputFormat: String {
  case simple, json, fields, table
}

struct GlobalOptions {
  static let flags: [Flag] = [
    Flag("endpoints", value: "LIST", "servers, host:port or unix:/path, separated by commas (127.0.0.1:2379)"),
    Flag("write-out", short: "w", value: "FORMAT", "simple, json, fields or table (simple)"),
    Flag("hex", "print byte strings as hex encoded strings"),
    Flag("dial-timeout", value: "DURATION", "how long a server may take to accept a connection (2s)"),
    Flag("command-timeout", value: "DURATION", "how long a request may take in all (5s)"),
    Flag("help", short: "h", "show this text"),
  ]

  let endpoints: [Endpoint]
  let format: OutputFormat
  let hex: Bool
  let dialTimeout: Duration
  let commandTimeout: Duration

  init(_ given: ParsedLine) throws(Failure) {
    var line = given
    for flag in GlobalOptions.flags where flag.name != "help" && given.bytes(flag.name) == nil {
      let name = "ETCDCTL_" + flag.name.uppercased().map { $0 == "-" ? "_" : $0 }
      if let value = getenv(name) { try line.set(flag, Array(String(cString: value).utf8)) }
    }
    do { endpoints = try Endpoint.list(line.text("endpoints") ?? "127.0.0.1:2379") } catch { throw .client(error) }
    guard let format = OutputFormat(rawValue: line.text("write-out") ?? "simple") else {
      throw .message("unsupported output format")
    }
    self.format = format
    hex = line.isOn("hex")
    dialTimeout = try line.duration("dial-timeout") ?? .seconds(2)
    commandTimeout = try line.duration("command-timeout") ?? .seconds(5)
  }

  /// `others`: in place of those given.
  func makeClient(_ others: [Endpoint]? = nil) -> BlockingClient {
    var options = DispatcherOptions()
    options.dialTimeout = dialTimeout
    return BlockingClient(others ?? endpoints, timeout: commandTimeout, options: options)
  }

  /// Whether a flag that stands before the command has its value in the token after it.
  static func takesNextToken(_ token: [UInt8]) -> Bool {
    let text = String(decoding: token, as: UTF8.self)
    return flags.contains { flag in
      !flag.isToggle && (text == "--" + flag.name || flag.short.map { text == "-\($0)" } ?? false)
    }
  }
}
