// What the flags mean, checked.
import Glibc
import Logging
import NeedletailRPC
import NeedletailServer
import NeedletailWAL

struct Configuration {
  let name: String
  let dataDirectory: String
  let listenAddresses: [ListenAddress]
  let advertisedURLs: [String]
  let peerURLs: [String]
  let logLevel: Logger.Level
  let autoCompaction: AutoCompactionOptions.Mode
  let requestBytesMax: Int
  let txnOperationsMax: Int
  let checkpointBytes: Int
  let slowRequest_ms: UInt64
  let reactors: Int
  let reactorKind: ReactorKind
  let walPath: WALOptions.Path
  let connectionsMax: Int?
  let stop_ms: Int32
  let scrubRate_mib: Int
  let quotaBytes: Int64
  let watchProgress_ms: UInt64

  init(_ flags: FlagValues) throws(FlagError) {
    name = flags["name"] ?? "default"
    guard !name.isEmpty, !name.contains("/") else { throw FlagError(description: "--name must be a plain word") }
    dataDirectory = flags["data-dir"] ?? "./\(name).needletail"
    guard !dataDirectory.isEmpty else { throw FlagError(description: "--data-dir must not be empty") }
    listenAddresses = try Configuration.addresses(flags["listen-client-urls"] ?? "http://127.0.0.1:2379")
    advertisedURLs =
      flags["advertise-client-urls"].map { $0.split(separator: ",").map(String.init) }
      ?? listenAddresses.map(\.description)
    peerURLs =
      flags["initial-advertise-peer-urls"].map { $0.split(separator: ",").map(String.init) }
      ?? ["http://localhost:2380"]
    logLevel = try Configuration.level(flags["log-level"] ?? "info")
    txnOperationsMax = try flags.integer("max-txn-ops", in: 1...1 << 20) ?? 128
    autoCompaction = try flags.autoCompaction()
    requestBytesMax = try flags.integer("max-request-bytes", in: 1...FrameLimits.requestBodyBytes) ?? 1_572_864
    checkpointBytes = (try flags.integer("snapshot-count", in: 1...1 << 20) ?? 64) << 20
    slowRequest_ms = UInt64(try flags.integer("warning-apply-duration", in: 1...3_600_000) ?? 300)
    let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    reactors = try flags.integer("reactors", in: 1...64) ?? min(processors, 4)
    reactorKind = try flags.choice("reactor", ReactorKind.self) ?? .auto
    walPath = try flags.choice("wal-io", WALOptions.Path.self) ?? .auto
    connectionsMax = try flags.integer("max-connections", in: 1...1 << 20)
    scrubRate_mib = try flags.integer("experimental-scrub-rate", in: 0...1 << 20) ?? 8
    quotaBytes = Int64(try flags.integer("quota-backend-bytes", in: Int.min...Int.max) ?? 0)
    watchProgress_ms = try flags.milliseconds("experimental-watch-progress-notify-interval") ?? 600_000
    stop_ms = Int32(try flags.integer("stop-timeout", in: 0...3_600_000) ?? 5_000)
  }

  private static func addresses(_ text: String) throws(FlagError) -> [ListenAddress] {
    var addresses: [ListenAddress] = []
    for part in text.split(separator: ",") {
      if part.hasPrefix("https://") {
        throw FlagError(description: "--listen-client-urls: '\(part)': TLS is not served yet; use http:// or unix://")
      }
      guard let address = ListenAddress(String(part)) else {
        throw FlagError(description: "--listen-client-urls: '\(part)' is neither http://host:port nor unix://path")
      }
      addresses.append(address)
    }
    guard !addresses.isEmpty else { throw FlagError(description: "--listen-client-urls must not be empty") }
    return addresses
  }

  private static func level(_ text: String) throws(FlagError) -> Logger.Level {
    switch text {
    case "debug": return .debug
    case "info": return .info
    case "warn", "warning": return .warning
    case "error": return .error
    case "fatal", "panic": return .critical
    default: throw FlagError(description: "--log-level is one of debug, info, warn, error, not '\(text)'")
    }
  }
}
