// The server as a process: signals, the order of starting and stopping, and how it ends.
//
// The main thread starts everything, then waits for signals; once a second it samples what scrapes must not wait for.
import Glibc
import Logging
import NeedletailRPC
import NeedletailServer

struct ServerProcess {
  let configuration: Configuration
  let logger: Logger

  /// Runs until a signal. Returns the process's exit status.
  func run() -> Int32 {
    var signals = sigset_t()
    ServerProcess.blockSignals(&signals)
    ServerProcess.raiseDescriptorLimit()
    do throws(ServerError) {
      return try serve(&signals)
    } catch {
      logger.critical("can't serve: \(error)")
      return 1
    }
  }

  private func serve(_ signals: inout sigset_t) throws(ServerError) -> Int32 {
    logger.info(
      "starting",
      metadata: [
        "name": "\(configuration.name)", "data-dir": "\(configuration.dataDirectory)", "version": "\(Version.program)",
        "reactors": "\(configuration.reactors)",
      ])
    let group: ReactorGroup
    do { group = try ReactorGroup(count: configuration.reactors) } catch { throw .listen(error) }
    let node = try Node(nodeOptions, sink: ReactorSink(group), logger: logger) { reason in
      // The log has said why. Nothing after the failure may be acknowledged: no orderly stop.
      _exit(1)
    }
    logger.info("enabled capabilities for version", metadata: ["cluster-version": "\(Version.cluster)"])

    let reactors = try ReactorThreads(reactorOptions, group: group, logger: logger)
    let figures = ServerFigures(readers: ReaderWatch(logger: logger))
    figures.sample(node.database)
    let metrics = (0..<group.count).map { _ in ThreadMetrics() }
    let page = MetricsPage(
      node.status, figures: figures, group: group, threads: metrics, quotaBytes: quotaBytes, watch: node.watch.figures,
      showsHandlingTimes: configuration.http.showsHandlingTimes)
    let context = FaceContext(
      server: node.server, metrics: page, figures: figures, latch: node.latch, logger: logger,
      requestBytesMax: configuration.requestBytesMax, slowRequest_ms: configuration.slowRequest_ms,
      http2: configuration.http2, http: httpOptions)
    try node.start()
    announceQuota()
    let latch = node.latch
    let transports = try reactors.start(context, metrics: metrics) { latch.fail($0) }
    announce(node, transports)

    let signal = wait(&signals) { figures.sample(node.database) }
    logger.info("stopping", metadata: ["signal": "\(signal == SIGINT ? "SIGINT" : "SIGTERM")"])
    // Reactors first: answers of their writes still come, because the node runs on.
    reactors.stop(within_ms: configuration.stop_ms)
    node.stop()
    logger.info("stopped")
    return node.latch.failure == nil ? 0 : 1
  }

  /// What etcd shows: below 0 as it was given, 0 as the default.
  private var quotaBytes: Int64 {
    configuration.quotaBytes == 0 ? QuotaOptions.standardBytes : configuration.quotaBytes
  }

  private func announceQuota() {
    let size: Logger.Metadata = ["quota-size-bytes": "\(quotaBytes)"]
    guard quotaBytes >= 0 else { return logger.info("disabled backend quota", metadata: size) }
    guard configuration.quotaBytes > 0 else {
      return logger.info("enabled backend quota with default value", metadata: size)
    }
    if quotaBytes > QuotaOptions.suggestedBytesMax {
      logger.warning(
        "quota exceeds the maximum value",
        metadata: size.merging(["quota-maximum-size-bytes": "\(QuotaOptions.suggestedBytesMax)"]) { $1 })
    }
    logger.info("enabled backend quota", metadata: size)
  }

  private func announce(_ node: Node, _ transports: [String]) {
    let identity = node.directory.identity
    logger.info(
      "published local member to cluster",
      metadata: [
        "local-member-id": "\(String(identity.memberID, radix: 16))",
        "cluster-id": "\(String(identity.clusterID, radix: 16))", "name": "\(configuration.name)",
        "advertise-client-urls": "\(configuration.advertisedURLs.joined(separator: ","))",
      ])
    for refused in Set(transports.filter { $0.contains("refused") }) {
      logger.warning("io_uring is not to be had here", metadata: ["reactor": "\(refused)"])
    }
    logger.info(
      "ready to serve client requests",
      metadata: [
        "reactors": "\(transports.count)", "transport": "\(transports.first ?? "")",
        "listen-client-urls": "\(ServerProcess.text(configuration.clientAddresses))",
      ])
    for (name, addresses) in [("HTTP", configuration.httpAddresses), ("metrics", configuration.metricsAddresses)]
    where !addresses.isEmpty {
      logger.info("serving \(name) alone", metadata: ["urls": "\(ServerProcess.text(addresses))"])
    }
  }

  private static func text(_ addresses: [ListenAddress]) -> String {
    addresses.map(\.description).joined(separator: ",")
  }

  private var httpOptions: HTTPOptions {
    var options = configuration.http
    options.roles = ListenerRoles(http: configuration.httpAddresses, metrics: configuration.metricsAddresses)
    return options
  }

  private var nodeOptions: NodeOptions {
    var options = NodeOptions(dataDirectory: configuration.dataDirectory)
    options.log.path = configuration.walPath
    options.walDirectory = configuration.walDirectory
    options.checkpoint.bytes = configuration.checkpointBytes
    options.checkpoint.entries = configuration.checkpointEntries
    options.apply.slow_ms = configuration.slowApply_ms
    options.apply.removalRows = configuration.compactionBatch
    options.leases.ttlMin = configuration.leaseTTLMin
    options.requestLimit = configuration.requestBytesMax
    options.autoCompaction.mode = configuration.autoCompaction
    options.txnOperationsMax = configuration.txnOperationsMax
    options.member.name = configuration.name
    options.member.clientURLs = configuration.advertisedURLs
    options.member.peerURLs = configuration.peerURLs
    options.quota.configuredBytes = configuration.quotaBytes
    options.scrub.rate_mib = configuration.scrubRate_mib
    options.watch.progress_ms = configuration.watchProgress_ms
    return options
  }

  private var reactorOptions: ReactorOptions {
    var options = ReactorOptions()
    options.kind = configuration.reactorKind
    options.count = configuration.reactors
    options.addresses = configuration.clientAddresses + configuration.httpAddresses + configuration.metricsAddresses
    if let connections = configuration.connectionsMax {
      options.limits.connections = max(1, (connections + configuration.reactors - 1) / configuration.reactors)
    }
    return options
  }

  // MARK: - Signals and limits

  /// SIGTERM and SIGINT are waited for, in every thread: those started later inherit the mask. A write to a closed pipe
  /// is an error, not an end.
  private static func blockSignals(_ signals: inout sigset_t) {
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigaddset(&signals, SIGINT)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// The first signal; `eachSecond` runs meanwhile.
  private func wait(_ signals: inout sigset_t, eachSecond: () -> Void) -> Int32 {
    while true {
      var second = timespec(tv_sec: 1, tv_nsec: 0)
      let signal = sigtimedwait(&signals, nil, &second)
      if signal > 0 { return signal }
      eachSecond()
    }
  }

  /// As many descriptors as the system allows: each connection takes one.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(resource, &limit)
  }
}
