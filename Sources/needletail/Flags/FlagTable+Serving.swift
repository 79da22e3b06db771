// The flags of etcd's help about the member, its cluster and the tuning of both.

extension FlagTable {
  static let alone = "it takes effect when members form clusters; this one runs alone so far"

  static let member = Group(
    title: "Member",
    flags: [
      Flag("name", .text, "default", "This member's name."),
      Flag("data-dir", .text, "${name}.needletail", "Where the data lies."),
      Flag("wal-dir", "Where the write-ahead log lies, if not in the data directory."),
      Flag(
        "snapshot-count", .integer, "0",
        "A checkpoint of the database at the latest after so many writes (0: by their size and by time alone)."),
      Flag(
        "heartbeat-interval", .integer, "100",
        "Milliseconds between heartbeats. Alone, a member only checks that it goes with the election timeout."),
      Flag(
        "election-timeout", .integer, "1000",
        "Milliseconds until an election. Half as much again, in whole seconds, is the shortest life of a lease."),
      Flag(
        "initial-election-tick-advance", .boolean, "true", .idle(alone), "Fast-forward the first election's ticks."),
      Flag("listen-peer-urls", .text, "http://localhost:2380", .idle(alone), "Where other members are listened for."),
      Flag(
        "listen-client-urls", .text, "http://127.0.0.1:2379",
        "Where clients are listened for: http://host:port or unix://path, separated by commas."),
      Flag(
        "listen-client-http-urls",
        "Where HTTP alone is served: the JSON gateway, health and metrics. Then the client URLs serve only metrics and "
          + "health of it."),
      Flag(
        "max-snapshots", .integer, "5", .idle("the database's file is checkpointed in place: no files pile up"),
        "Snapshot files to keep."),
      Flag(
        "max-wals", .integer, "5", .idle("segments of the log are used again when a checkpoint has what they hold"),
        "Log files to keep."),
      Flag(
        "quota-backend-bytes", .integer, "0",
        "Bytes in use at which the NOSPACE alarm is raised; 0 is 2 GiB, below 0 none."),
      Flag(
        "backend-batch-interval", .duration, "0", .idle("a batch is what has become durable: there is no waiting"),
        "The longest time before a commit."),
      Flag(
        "backend-batch-limit", .integer, "0", .idle("a batch is what has become durable, however much"),
        "Most operations before a commit."),
      Flag(
        "backend-bbolt-freelist-type", .text, "map", aliases: ["experimental-backend-bbolt-freelist-type"],
        .idle("there is no bbolt: free pages are bitmaps"), "The free list's form."),
      Flag("max-txn-ops", .integer, "128", "Most operations of one transaction."),
      Flag(
        "max-request-bytes", .integer, "1572864",
        "Largest write of a client; gRPC messages may have 512 KiB more."),
      Flag("max-concurrent-streams", .integer, "256", "Most gRPC streams open at a time on one connection."),
      Flag("grpc-keepalive-min-time", .duration, "5s", "Least time between a gRPC client's pings while it has calls."),
      Flag("grpc-keepalive-interval", .duration, "2h", "How often a quiet gRPC client is pinged; 0 is never."),
      Flag(
        "grpc-keepalive-timeout", .duration, "20s", "How long a ping's answer is waited for; 0 is for ever."),
      Flag(
        "socket-reuse-port", .boolean, "false", .idle("one server has a port"), "Set SO_REUSEPORT on listeners."),
      Flag(
        "socket-reuse-address", .boolean, "false", .idle("SO_REUSEADDR is always set"),
        "Set SO_REUSEADDR on listeners."),
    ])

  static let clustering = Group(
    title: "Clustering",
    flags: [
      Flag(
        "initial-advertise-peer-urls", .text, "http://localhost:2380", "What other members are told of this one."),
      Flag(
        "initial-cluster", .text, "default=http://localhost:2380",
        "The members that form the cluster. More than one is refused: this server runs alone so far."),
      Flag(
        "initial-cluster-state", .text, "new", .idle(alone), "Whether the cluster is 'new' or 'existing'."),
      Flag("initial-cluster-token", .text, "etcd-cluster", .idle(alone), "Tells one new cluster from another."),
      Flag("advertise-client-urls", .text, "the listen URLs", "What clients are told to use."),
      Flag("discovery", .text, "", .refused(noDiscovery), "A discovery service's URL."),
      Flag("discovery-endpoints", .text, "", .refused(noDiscovery), "Discovery by an etcd cluster: its endpoints."),
      Flag("discovery-token", .text, "", .refused(noDiscovery), "Discovery by an etcd cluster: the token."),
      Flag("discovery-srv", .text, "", .refused(noDiscovery), "Discovery by DNS: the domain."),
      Flag("discovery-srv-name", .text, "", .refused(noDiscovery), "Discovery by DNS: the suffix."),
      Flag("discovery-fallback", .text, "proxy", .idle("there is no discovery"), "What is done when discovery fails."),
      Flag("discovery-proxy", .text, "", .idle("there is no discovery"), "A proxy to reach the discovery service."),
      Flag(
        "strict-reconfig-check", .boolean, "true", .idle(alone), "Refuse changes that would cost the majority."),
      Flag("pre-vote", .boolean, "true", .idle(alone), "Ask before an election whether it could be won."),
      Flag(
        "auto-compaction-retention", .text, "0",
        "History that is kept: hours or a duration, or a number of revisions; 0 is all."),
      Flag("auto-compaction-mode", .text, "periodic", "What the retention means: periodic or revision."),
      Flag("enable-v2", .boolean, "false", .refused("the v2 API is not served"), "Serve the v2 API."),
      Flag("v2-deprecation", .text, "not-yet", .idle("the v2 API is not served"), "How far the v2 API is gone."),
      Flag("max-learners", .integer, "1", aliases: ["experimental-max-learners"], .idle(alone), "Most learners."),
    ])

  private static let noDiscovery = "this server runs alone so far and would not find the others"

  static let tuning = Group(
    title: "Tuning",
    flags: [
      Flag(
        "watch-progress-notify-interval", .duration, "10m", aliases: ["experimental-watch-progress-notify-interval"],
        "How often quiet watches hear how far they are."),
      Flag(
        "warning-apply-duration", .duration, "100ms", aliases: ["experimental-warning-apply-duration"],
        "Commits that take longer are logged and counted."),
      Flag(
        "warning-unary-request-duration", .duration, "300ms",
        aliases: ["experimental-warning-unary-request-duration"], "Requests that take longer are logged."),
      Flag(
        "compaction-batch-limit", .integer, "1000", aliases: ["experimental-compaction-batch-limit"],
        "Most revisions that a compaction removes at a time."),
      Flag(
        "compaction-sleep-interval", .duration, "10ms", aliases: ["experimental-compaction-sleep-interval"],
        .idle("compaction is paced by the load"), "The pause between them."),
      Flag(
        "enable-lease-checkpoint", .boolean, "true", aliases: ["experimental-enable-lease-checkpoint"],
        .idle("what is left of leases is always written down"), "Write down what is left of leases."),
      Flag(
        "enable-lease-checkpoint-persist", .boolean, "true",
        aliases: ["experimental-enable-lease-checkpoint-persist"], .idle("it is always kept"),
        "Keep it over a restart."),
      Flag(
        "initial-corrupt-check", .boolean, "false", aliases: ["experimental-initial-corrupt-check"],
        .idle("every page is checked when it is first read, and the scrub reads them all"),
        "Check the data before serving it."),
      Flag(
        "corrupt-check-time", .duration, "0", aliases: ["experimental-corrupt-check-time"],
        .idle("members are compared when they form clusters; --experimental-scrub-rate checks the file meanwhile"),
        "How often members are compared."),
      Flag(
        "compact-hash-check-enabled", .boolean, "false", aliases: ["experimental-compact-hash-check-enabled"],
        .idle(alone), "Compare hashes of compactions."),
      Flag(
        "compact-hash-check-time", .duration, "1m", aliases: ["experimental-compact-hash-check-time"], .idle(alone),
        "How often they are compared."),
      Flag(
        "downgrade-check-time", .duration, "5s", aliases: ["experimental-downgrade-check-time"], .idle(alone),
        "How often a downgrade is looked for."),
      Flag(
        "snapshot-catchup-entries", .integer, "5000", aliases: ["experimental-snapshot-catchup-entries"],
        .idle(alone), "Entries kept for slow followers."),
      Flag(
        "bootstrap-defrag-threshold-megabytes", .integer, "0",
        aliases: ["experimental-bootstrap-defrag-threshold-megabytes"],
        .idle("free pages are used again, and the file's free tail is given back while it runs"),
        "Free space at which the database is defragmented at a start."),
      Flag(
        "stop-grpc-service-on-defrag", .boolean, "false", aliases: ["experimental-stop-grpc-service-on-defrag"],
        .idle("defragmentation does not stop anything"), "Stop serving while defragmenting."),
      Flag(
        "memory-mlock", .boolean, "false", aliases: ["experimental-memory-mlock"],
        .idle("the page cache decides what stays in memory"), "Keep the database in memory."),
      Flag(
        "txn-mode-write-with-shared-buffer", .boolean, "true",
        aliases: ["experimental-txn-mode-write-with-shared-buffer"], .idle("there are no such buffers"),
        "Share the buffer of writing transactions."),
      Flag("feature-gates", .text, "", .idle("features have flags of their own here"), "Switches, name=true|false."),
    ])

  static let unsafe = Group(
    title: "Unsafe",
    flags: [
      Flag(
        "force-new-cluster", .boolean, "false", .idle("a member that runs alone has no cluster to leave"),
        "Form a cluster of this member alone."),
      Flag(
        "unsafe-no-fsync", .boolean, "false", .idle("what is acknowledged is always on disk"),
        "Acknowledge writes that are not on disk."),
    ])

  static let own = Group(
    title: "Needletail's own",
    flags: [
      Flag(
        "checkpoint-mib", .integer, "64", "A checkpoint at the latest after so many MiB of writes have been applied."),
      Flag("reactors", .integer, "the processors, 4 at most", "Threads that serve connections."),
      Flag("reactor", .text, "auto", "How they wait: auto, io_uring or epoll."),
      Flag("wal-io", .text, "auto", "How the log is written: auto, io_uring or pwritev2."),
      Flag("max-connections", .integer, "16384 for each reactor", "Client connections at once."),
      Flag(
        "experimental-scrub-rate", .integer, "8",
        "MiB of the database checked on disk a second, once an hour at most; 0 is off."),
      Flag("stop-timeout", .integer, "5000", "Milliseconds given to requests in flight at a stop."),
    ])
}
