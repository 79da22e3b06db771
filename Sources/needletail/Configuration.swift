// What the flags mean, checked.
import Glibc
import Logging
import NeedletailRPC
import NeedletailServer
import NeedletailWAL

struct Configuration {
  let name: String
  let dataDirectory: String
  let walDirectory: String?
  let clientAddresses: [ListenAddress]
  /// Of HTTP alone; with them the client addresses serve only metrics and health of it.
  let httpAddresses: [ListenAddress]
  let metricsAddresses: [ListenAddress]
  let advertisedURLs: [String]
  let log: LogConfiguration
  let http: HTTPOptions
  let http2: HTTP2Limits
  let peerURLs: [String]
  let autoCompaction: AutoCompactionOptions.Mode
  let requestBytesMax: Int
  let txnOperationsMax: Int
  let checkpointBytes: Int
  /// 0: by their size alone.
  let checkpointEntries: Int
  let slowRequest_ms: UInt64
  let slowApply_ms: UInt64
  let compactionBatch: Int
  let leaseTTLMin: Int64
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
    walDirectory = flags["wal-dir"].flatMap { $0.isEmpty ? nil : $0 }
    clientAddresses = try Configuration.addresses("listen-client-urls", flags["listen-client-urls"]) ?? [.standard]
    httpAddresses = try Configuration.addresses("listen-client-http-urls", flags["listen-client-http-urls"]) ?? []
    metricsAddresses = try Configuration.addresses("listen-metrics-urls", flags["listen-metrics-urls"]) ?? []
    advertisedURLs = flags.list("advertise-client-urls") ?? clientAddresses.map(\.description)
    log = try LogConfiguration(flags)
    http = try Configuration.http(flags)
    peerURLs = flags.list("initial-advertise-peer-urls") ?? ["http://localhost:2380"]
    txnOperationsMax = try flags.integer("max-txn-ops", in: 1...1 << 20) ?? 128
    autoCompaction = try flags.autoCompaction()
    requestBytesMax = try flags.integer("max-request-bytes", in: 1...FrameLimits.requestBodyBytes) ?? 1_572_864
    http2 = try Configuration.http2(flags, requestBytes: requestBytesMax)
    checkpointBytes = (try flags.integer("checkpoint-mib", in: 1...1 << 20) ?? 64) << 20
    checkpointEntries = try flags.integer("snapshot-count", in: 0...Int.max) ?? 0
    slowRequest_ms = try flags.milliseconds("warning-unary-request-duration") ?? 300
    slowApply_ms = try flags.milliseconds("warning-apply-duration") ?? 100
    compactionBatch = try flags.integer("compaction-batch-limit", in: 1...1 << 30) ?? 1_000
    leaseTTLMin = try Configuration.leaseTTLMin(flags)
    let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    reactors = try flags.integer("reactors", in: 1...64) ?? min(processors, 4)
    reactorKind = try flags.choice("reactor", ReactorKind.self) ?? .auto
    walPath = try flags.choice("wal-io", WALOptions.Path.self) ?? .auto
    connectionsMax = try flags.integer("max-connections", in: 1...1 << 20)
    scrubRate_mib = try flags.integer("experimental-scrub-rate", in: 0...1 << 20) ?? 8
    quotaBytes = Int64(try flags.integer("quota-backend-bytes", in: Int.min...Int.max) ?? 0)
    watchProgress_ms = try flags.milliseconds("watch-progress-notify-interval") ?? 600_000
    stop_ms = Int32(try flags.integer("stop-timeout", in: 0...3_600_000) ?? 5_000)
    try checkAddresses()
    try Configuration.checkCluster(flags)
  }

  private static func addresses(_ flag: String, _ text: String?) throws(FlagError) -> [ListenAddress]? {
    guard let text else { return nil }
    var addresses: [ListenAddress] = []
    for part in text.split(separator: ",") {
      if part.hasPrefix("https://") || part.hasPrefix("unixs:") {
        throw FlagError(description: "--\(flag): '\(part)': TLS is not served yet; use http:// or unix://")
      }
      guard let address = ListenAddress(String(part)) else {
        throw FlagError(description: "--\(flag): '\(part)' is neither http://host:port nor unix://path")
      }
      addresses.append(address)
    }
    guard !addresses.isEmpty || flag != "listen-client-urls" else {
      throw FlagError(description: "--\(flag) must not be empty")
    }
    return addresses
  }

  /// A connection's port or path alone tells what it may be used for.
  private func checkAddresses() throws(FlagError) {
    for (flag, addresses) in [("listen-metrics-urls", metricsAddresses), ("listen-client-http-urls", httpAddresses)] {
      for address in addresses where clientAddresses.contains(where: { $0.sharesPlace(with: address) }) {
        throw FlagError(description: "--\(flag): \(address.description) has a port or path of --listen-client-urls")
      }
    }
    for address in metricsAddresses where httpAddresses.contains(where: { $0.sharesPlace(with: address) }) {
      throw FlagError(
        description: "--listen-metrics-urls: \(address.description) has a port or path of --listen-client-http-urls")
    }
  }

  private static func http(_ flags: FlagValues) throws(FlagError) -> HTTPOptions {
    var options = HTTPOptions()
    if let origins = flags.list("cors"), !origins.isEmpty, !origins.contains("*") { options.origins = origins }
    if let hosts = flags.list("host-whitelist"), !hosts.isEmpty, !hosts.contains("*") {
      options.hosts = hosts.map { $0.lowercased() }
    }
    switch flags["metrics"] ?? "basic" {
    case "basic": options.showsHandlingTimes = false
    case "extensive": options.showsHandlingTimes = true
    case let other: throw FlagError(description: "--metrics is one of basic, extensive, not '\(other)'")
    }
    return options
  }

  private static func http2(_ flags: FlagValues, requestBytes: Int) throws(FlagError) -> HTTP2Limits {
    var limits = HTTP2Limits()
    // etcd's rule: what is around a request in its message may be so large.
    limits.messageBytes = requestBytes + 512 << 10
    if let streams = try flags.integer("max-concurrent-streams", in: 1...Int(UInt32.max)) {
      limits.streams = UInt32(clamping: streams)
    }
    func time(_ name: String, _ standard: UInt64) throws(FlagError) -> UInt64 {
      guard let time = try flags.milliseconds(name, min: 0) else { return standard }
      return time == 0 ? never_ms : time
    }
    limits.pingInterval_ms = try flags.milliseconds("grpc-keepalive-min-time", min: 0) ?? limits.pingInterval_ms
    limits.keepAlive_ms = try time("grpc-keepalive-interval", limits.keepAlive_ms)
    limits.keepAliveAnswer_ms = try time("grpc-keepalive-timeout", limits.keepAliveAnswer_ms)
    return limits
  }

  /// Some decades.
  private static let never_ms: UInt64 = 1 << 40

  /// etcd's rule: as long as an election may take and half as long again, in whole seconds.
  private static func leaseTTLMin(_ flags: FlagValues) throws(FlagError) -> Int64 {
    let heartbeat = try flags.integer("heartbeat-interval", in: 1...1 << 30) ?? 100
    let election = try flags.integer("election-timeout", in: 1...1 << 30) ?? 1_000
    guard election >= 5 * heartbeat else {
      throw FlagError(
        description: "--election-timeout[\(election)ms] should be at least as 5 times as "
          + "--heartbeat-interval[\(heartbeat)ms]")
    }
    guard election <= 50_000 else {
      throw FlagError(
        description: "--election-timeout[\(election)ms] is too long, and should be set less than 50000ms")
    }
    let ticks = 3 * (election / heartbeat) / 2
    return Int64((ticks * heartbeat + 999) / 1_000)
  }

  /// A cluster of this member alone is what there is anyway; three such servers in place of a cluster of three would each
  /// acknowledge what the others never hear of.
  private static func checkCluster(_ flags: FlagValues) throws(FlagError) {
    let members = Set((flags.list("initial-cluster") ?? []).compactMap { $0.split(separator: "=").first })
    guard members.count <= 1 else {
      throw FlagError(
        description: "--initial-cluster names \(members.count) members: clusters are not served yet, and several "
          + "servers alone are none")
    }
  }
}

extension ListenAddress {
  static var standard: ListenAddress { .tcp(host: "127.0.0.1", port: 2379) }

  /// True where connections to both could not be told apart by port or path.
  func sharesPlace(with other: ListenAddress) -> Bool {
    switch (self, other) {
    case (.tcp(_, let port), .tcp(_, let otherPort)): port == otherPort && port != 0
    case (.unix(let path), .unix(let otherPath)): path == otherPath
    default: false
    }
  }
}
