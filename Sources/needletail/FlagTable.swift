// The flags of the server: etcd's names where etcd has one.

enum FlagTable {
  private static let cluster = "this server has no peers yet"
  private static let transport = "TLS is not served yet"

  static let all: [Flag] = [
    Flag("name", "this member's name"),
    Flag("data-dir", "where the data lies (./NAME.needletail)"),
    Flag("listen-client-urls", "http://host:port or unix://path, separated by commas (http://127.0.0.1:2379)"),
    Flag("advertise-client-urls", "what clients are told to use (the listen URLs)"),
    Flag("log-level", "debug, info, warn, error (info)"),
    Flag("max-request-bytes", "largest request (1572864)"),
    Flag("max-txn-ops", "most operations of one transaction (128)"),
    Flag("auto-compaction-mode", "periodic or revision (periodic)"),
    Flag("auto-compaction-retention", "history kept: hours or a duration, or a number of revisions; 0 is all (0)"),
    Flag("quota-backend-bytes", "bytes in use at which the NOSPACE alarm is raised; 0 = 2 GiB, below 0 = none (0)"),
    Flag("snapshot-count", "a checkpoint at the latest after so many MiB of writes have been applied (64)"),
    Flag("warning-apply-duration", "requests slower than so many ms are logged (300)"),
    Flag("reactors", "threads that serve connections (the processors, 4 at most)"),
    Flag("reactor", "auto, io_uring or epoll (auto)"),
    Flag("wal-io", "how the log is written: auto, io_uring or pwritev2 (auto)"),
    Flag("max-connections", "client connections at once (16384 for each reactor)"),
    Flag("experimental-scrub-rate", "MiB of the database checked on disk a second, once an hour at most; 0 = off (8)"),
    Flag("experimental-watch-progress-notify-interval", "how often quiet watches hear how far they are (10m)"),
    Flag("stop-timeout", "ms given to requests in flight at a stop (5000)"),

    Flag(ignoring: "listen-peer-urls", cluster),
    Flag(ignoring: "initial-advertise-peer-urls", cluster),
    Flag(ignoring: "initial-cluster", cluster),
    Flag(ignoring: "initial-cluster-state", cluster),
    Flag(ignoring: "initial-cluster-token", cluster),
    Flag(ignoring: "heartbeat-interval", cluster),
    Flag(ignoring: "election-timeout", cluster),
    Flag(ignoring: "strict-reconfig-check", isSwitch: true, cluster),
    Flag(ignoring: "pre-vote", isSwitch: true, cluster),
  ]

  static var help: String {
    var text = """
      needletail: a strongly consistent key-value store, compatible with etcd v3

      usage: needletail [--flag value | --flag=value]…
             needletail db COMMAND …       check, dump, back up, compact, restore database files (needletail db --help)
             needletail wal COMMAND …      check a write-ahead log, cut a corrupt one (needletail wal --help)
      Each flag can also be given as a variable: --data-dir is ETCD_DATA_DIR.


      """
    let width = (all.map(\.name.count).max() ?? 0) + 4
    for flag in all + [
      Flag("version", isSwitch: true, "print versions and exit"), Flag("help", isSwitch: true, "this"),
    ] {
      let name = "--" + flag.name
      text += "  " + name + String(repeating: " ", count: max(1, width - name.count)) + flag.help + "\n"
    }
    return text
  }
}
