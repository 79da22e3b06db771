// --auto-compaction-mode and --auto-compaction-retention, in etcd's words.
import NeedletailServer

extension FlagValues {
  /// Periodic retention is hours where it is a plain number, else a duration such as 30m or 1h30m; 0 is off.
  func autoCompaction() throws(FlagError) -> AutoCompactionOptions.Mode {
    let text = self["auto-compaction-retention"] ?? "0"
    let mode = self["auto-compaction-mode"] ?? "periodic"
    switch mode {
    case "periodic":
      if let hours = UInt64(text) {
        let (period, overflows) = hours.multipliedReportingOverflow(by: 3_600_000)
        if !overflows { return period == 0 ? .off : .periodic(period) }
      } else if let period = GoDuration(text)?.milliseconds, period >= 0 {
        return period == 0 ? .off : .periodic(UInt64(period))
      }
    case "revision":
      if let revisions = Int64(text), revisions >= 0 { return revisions == 0 ? .off : .revision(revisions) }
    default: throw FlagError(description: "--auto-compaction-mode is one of periodic, revision, not '\(mode)'")
    }
    throw FlagError(description: "--auto-compaction-retention: '\(text)' is no retention for the mode \(mode)")
  }

  func milliseconds(_ name: String, min: Int64 = 1) throws(FlagError) -> UInt64? {
    guard let text = self[name] else { return nil }
    guard let time = GoDuration(text)?.milliseconds, time >= min, time <= 1 << 40 else {
      throw FlagError(description: "--\(name) takes a duration such as 500ms or 10m, not '\(text)'")
    }
    return UInt64(time)
  }
}
