// What /metrics answers: etcd's names, where dashboards look for them, from counters that cost the hot path nothing.
import CNeedletail
import Glibc
import NeedletailRPC

/// Everything that a page is made of. Immutable, shared by all reactors.
package final class MetricsPage: Sendable {
  private let node: NodeStatus
  private let figures: ServerFigures
  private let group: ReactorGroup
  private let threads: [ThreadMetrics]
  private let quotaBytes: Int64
  private let watch: WatchFigures?
  private let showsHandlingTimes: Bool

  package init(
    _ node: NodeStatus, figures: ServerFigures, group: ReactorGroup, threads: [ThreadMetrics], quotaBytes: Int64,
    watch: WatchFigures? = nil, showsHandlingTimes: Bool = true
  ) {
    self.showsHandlingTimes = showsHandlingTimes
    self.watch = watch
    self.node = node
    self.figures = figures
    self.group = group
    self.threads = threads
    self.quotaBytes = quotaBytes
  }

  /// `keys` is how many there are now.
  package func render(keys: UInt64) -> String {
    var page = MetricsText()
    requests(&page)
    member(&page)
    alarms(&page)
    store(&page, keys)
    if let watch { watches(&page, watch) }
    care(&page)
    network(&page)
    process(&page)
    return page.text
  }

  private func labels(_ rpc: RPC) -> String {
    "grpc_type=\"\(rpc.grpcType)\",grpc_service=\"\(rpc.service)\",grpc_method=\"\(rpc.name)\""
  }

  private func handled(_ rpc: RPC, _ code: StatusCode) -> UInt64 { threads.reduce(0) { $0 + $1.handled(rpc, code) } }

  private func requests(_ page: inout MetricsText) {
    page.begin("grpc_server_started_total", .counter, "Requests begun, by method.")
    for rpc in RPC.allCases {
      page.sample("grpc_server_started_total", labels(rpc), threads.reduce(0) { $0 + $1.started(rpc) })
    }
    page.begin("grpc_server_handled_total", .counter, "Requests answered, by method and code.")
    for rpc in RPC.allCases {
      for code in StatusCode.allCases {
        let n = handled(rpc, code)
        guard n > 0 || code == .ok else { continue }
        page.sample("grpc_server_handled_total", "\(labels(rpc)),grpc_code=\"\(code.name)\"", n)
      }
    }
    guard showsHandlingTimes else { return }
    page.begin("grpc_server_handling_seconds", .histogram, "From the request's arrival to its answer's sending.")
    for rpc in RPC.allCases {
      var sum = LatencySum()
      for thread in threads { sum.add(thread.handling(Int(rpc.rawValue))) }
      guard sum.count > 0 else { continue }
      page.histogram("grpc_server_handling_seconds", labels(rpc), sum)
    }
  }

  private func member(_ page: inout MetricsText) {
    page.single("etcd_server_has_leader", .gauge, "Whether a leader exists.", 1)
    page.single("etcd_server_is_leader", .gauge, "Whether this member leads.", 1)
    page.single("etcd_server_leader_changes_seen_total", .counter, "Leader changes seen.", 0)
    page.single(
      "etcd_server_proposals_committed_total", .gauge, "Proposals that are durable.",
      node.committed.load(ordering: .relaxed))
    page.single(
      "etcd_server_proposals_applied_total", .gauge, "Proposals that readers can see.",
      node.applied.load(ordering: .relaxed))
    page.single(
      "etcd_server_proposals_pending", .gauge, "Proposals on their way.",
      UInt64(max(0, node.proposalsPending.load(ordering: .relaxed))))
    page.single(
      "etcd_server_proposals_failed_total", .counter, "Proposals refused.",
      node.proposalsFailed.load(ordering: .relaxed))
    page.single(
      "etcd_server_slow_apply_total", .counter, "Commits that took longer than 100 ms.",
      node.slowApplies.load(ordering: .relaxed))
    page.single(
      "etcd_server_slow_read_indexes_total", .counter,
      "Rounds of asking other members that took long: alone, none is asked.", 0)
    page.begin("etcd_server_version", .gauge, "The server's version.")
    page.sample("etcd_server_version", "server_version=\"\(Version.compatible)\"", 1)
    page.begin("etcd_cluster_version", .gauge, "The cluster's version.")
    page.sample("etcd_cluster_version", "cluster_version=\"\(Version.cluster)\"", 1)
    page.begin("needletail_version", .gauge, "The program's own version.")
    page.sample("needletail_version", "version=\"\(Version.program)\"", 1)
  }

  /// etcd's name and labels, which it calls debugging.
  private func alarms(_ page: inout MetricsText) {
    page.begin("etcd_debugging_server_alarms", .gauge, "Alarms that are raised, by member and type.")
    for alarm in node.alarms.list {
      let member = String(alarm.member, radix: 16)
      page.sample("etcd_debugging_server_alarms", "server_id=\"\(member)\",alarm_type=\"\(alarm.kind.name)\"", 1)
    }
  }

  private func store(_ page: inout MetricsText, _ keys: UInt64) {
    page.single("etcd_debugging_mvcc_keys_total", .gauge, "Keys that there are.", keys)
    page.begin("etcd_server_quota_backend_bytes", .gauge, "Quota of the database, below 0 = none.")
    page.sample("etcd_server_quota_backend_bytes", signed: quotaBytes)
    page.single(
      "etcd_mvcc_db_total_size_in_bytes", .gauge, "Bytes of the database's file.",
      figures.databaseBytes.load(ordering: .relaxed))
    page.single(
      "etcd_mvcc_db_total_size_in_use_in_bytes", .gauge, "Bytes of the database that hold live data.",
      figures.databaseLiveBytes.load(ordering: .relaxed))
    page.begin("etcd_disk_wal_fsync_duration_seconds", .histogram, "From a log write's submission until it is durable.")
    page.histogram("etcd_disk_wal_fsync_duration_seconds", "", LatencySum(node.logWrites))
    page.begin("etcd_disk_backend_commit_duration_seconds", .histogram, "Commits of the tree, until readers see them.")
    page.histogram("etcd_disk_backend_commit_duration_seconds", "", LatencySum(node.commits))
    page.single("etcd_mvcc_range_total", .counter, "Ranges answered.", handled(.range, .ok))
    page.single("etcd_mvcc_put_total", .counter, "Puts answered.", handled(.put, .ok))
    page.single("etcd_mvcc_delete_total", .counter, "Deletes answered.", handled(.deleteRange, .ok))
    page.single(
      "needletail_backend_commits_total", .counter, "Commits published to readers.",
      figures.databaseBatches.load(ordering: .relaxed))
    page.single(
      "needletail_backend_checkpoints_total", .counter, "Checkpoints made durable.",
      figures.databaseCheckpoints.load(ordering: .relaxed))
  }

  private func watches(_ page: inout MetricsText, _ watch: WatchFigures) {
    func count(_ value: Int) -> UInt64 { UInt64(max(0, value)) }
    page.single(
      "etcd_debugging_mvcc_watch_stream_total", .gauge, "Watch streams open.",
      count(watch.streams.load(ordering: .relaxed)))
    page.single(
      "etcd_debugging_mvcc_watcher_total", .gauge, "Watchers on them.", count(watch.watchers.load(ordering: .relaxed)))
    page.single(
      "etcd_debugging_mvcc_slow_watcher_total", .gauge, "Watchers that are behind.",
      count(watch.slowWatchers.load(ordering: .relaxed)))
    page.single(
      "etcd_debugging_mvcc_events_total", .counter, "Events sent to watchers.", watch.events.load(ordering: .relaxed))
    page.single(
      "etcd_debugging_mvcc_pending_events_total", .gauge, "Events that no connection has in its buffer yet.",
      count(watch.pendingEvents.load(ordering: .relaxed)))
    page.single(
      "needletail_watch_streams_paused", .gauge, "Watch streams whose client takes nothing.",
      count(watch.pausedStreams.load(ordering: .relaxed)))
    page.single(
      "needletail_watch_ring_reads_total", .counter, "Times that watchers who were behind got events from memory.",
      watch.ringReads.load(ordering: .relaxed))
    page.single(
      "needletail_watch_log_reads_total", .counter, "Times that they got them from the store.",
      watch.logReads.load(ordering: .relaxed))
    page.single(
      "needletail_watch_gaps_total", .counter, "Times that all watchers had to, because too much happened at once.",
      watch.gaps.load(ordering: .relaxed))
  }

  private func care(_ page: inout MetricsText) {
    let readers = figures.readers
    page.single(
      "needletail_readers_holding_back", .gauge, "Readers on a snapshot that is not the newest.",
      readers.holdingBack.load(ordering: .relaxed))
    page.begin("needletail_oldest_reader_age_seconds", .gauge, "For how long the oldest of them has been there.")
    page.sample(
      "needletail_oldest_reader_age_seconds", seconds: Double(readers.oldestAge_ms.load(ordering: .relaxed)) / 1e3)
    page.single(
      "needletail_oldest_reader_transaction", .gauge, "The transaction that it sees, 0 = no such reader.",
      readers.oldestTransaction.load(ordering: .relaxed))
    page.single(
      "needletail_oldest_reader_held_bytes", .gauge, "Replaced pages that are kept for it alone.",
      readers.oldestHeldBytes.load(ordering: .relaxed))
    let scrub = node.scrub
    page.single(
      "needletail_scrub_pages_total", .counter, "Pages read from disk and compared.",
      scrub.pages.load(ordering: .relaxed))
    page.single(
      "needletail_scrub_bytes_total", .counter, "Bytes read from disk for it.", scrub.bytes.load(ordering: .relaxed))
    page.single(
      "needletail_scrub_passes_total", .counter, "Times that all of the database was read.",
      scrub.passes.load(ordering: .relaxed))
    page.single(
      "needletail_scrub_damaged_pages", .gauge, "Pages found damaged on disk since the start.",
      scrub.damagedPages.load(ordering: .relaxed))
    page.begin("needletail_scrub_last_pass_seconds", .gauge, "How long the last whole pass took.")
    page.sample(
      "needletail_scrub_last_pass_seconds", seconds: Double(scrub.lastPass_ms.load(ordering: .relaxed)) / 1e3)
  }

  private func sum(_ field: ReactorCounters.Field) -> UInt64 {
    (0..<group.count).reduce(0) { $0 + group.counters($1).read(field) }
  }

  private func network(_ page: inout MetricsText) {
    page.single(
      "etcd_network_client_grpc_received_bytes_total", .counter, "Bytes of messages received over gRPC.",
      threads.reduce(0) { $0 + $1.messageBytesReceived })
    page.single(
      "etcd_network_client_grpc_sent_bytes_total", .counter, "Bytes of messages sent over gRPC.",
      threads.reduce(0) { $0 + $1.messageBytesSent })
    page.single(
      "needletail_received_bytes_total", .counter, "Bytes received from clients, whatever they speak.",
      sum(.receivedBytes))
    page.single("needletail_sent_bytes_total", .counter, "Bytes sent to them.", sum(.sentBytes))
    page.single(
      "needletail_connections", .gauge, "Client connections open.",
      UInt64(max(0, (0..<group.count).reduce(0) { $0 + group.connections($1) })))
    page.single("needletail_connections_accepted_total", .counter, "Connections accepted.", sum(.accepted))
    page.single("needletail_connections_refused_total", .counter, "Connections over the limit.", sum(.refused))
    page.single("needletail_connections_abandoned_total", .counter, "Connections given up.", sum(.abandoned))
    page.single(
      "needletail_connection_pauses_total", .counter, "Times a connection's requests waited for its answers to drain.",
      sum(.pauses))
    page.single("needletail_reactor_batches_total", .counter, "Turns of the reactors' loops.", sum(.batches))
  }

  private func process(_ page: inout MetricsText) {
    page.single("process_resident_memory_bytes", .gauge, "Resident memory.", ProcessFigures.residentBytes)
    page.begin("process_cpu_seconds_total", .counter, "Processor time used.")
    page.sample("process_cpu_seconds_total", seconds: ProcessFigures.cpuSeconds)
    page.single("process_max_fds", .gauge, "Descriptors that the process may have.", ProcessFigures.descriptorsMax)
  }
}

enum ProcessFigures {
  /// Second field of /proc/self/statm, in pages.
  static var residentBytes: UInt64 {
    let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return 0 }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let n = read(descriptor, &bytes, bytes.count)
    guard n > 0 else { return 0 }
    let fields = String(decoding: bytes[..<n], as: UTF8.self).split(separator: " ")
    guard fields.count > 1, let pages = UInt64(fields[1]) else { return 0 }
    return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
  }

  static var cpuSeconds: Double {
    var usage = rusage()
    guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 else { return 0 }
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
      + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
  }

  static var descriptorsMax: UInt64 {
    var limit = rlimit()
    return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? UInt64(limit.rlim_cur) : 0
  }
}
