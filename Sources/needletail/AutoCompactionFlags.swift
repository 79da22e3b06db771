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
      } else if let period = FlagValues.duration_ms(text) {
        return period == 0 ? .off : .periodic(period)
      }
    case "revision":
      if let revisions = Int64(text), revisions >= 0 { return revisions == 0 ? .off : .revision(revisions) }
    default: throw FlagError(description: "--auto-compaction-mode is one of periodic, revision, not '\(mode)'")
    }
    throw FlagError(description: "--auto-compaction-retention: '\(text)' is no retention for the mode \(mode)")
  }

  func milliseconds(_ name: String) throws(FlagError) -> UInt64? {
    guard let text = self[name] else { return nil }
    guard let time = FlagValues.duration_ms(text), time > 0, time <= 1 << 40 else {
      throw FlagError(description: "--\(name) takes a duration such as 500ms or 10m, not '\(text)'")
    }
    return time
  }

  /// Numbers with the units h, m, s and ms.
  static func duration_ms(_ text: String) -> UInt64? {
    var rest = Substring(text)
    guard !rest.isEmpty else { return nil }
    var total: UInt64 = 0
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      let unit = rest.dropFirst(digits.count).prefix { $0.isLetter }
      rest = rest.dropFirst(digits.count + unit.count)
      let scale: UInt64
      switch unit {
      case "h": scale = 3_600_000
      case "m": scale = 60_000
      case "s": scale = 1_000
      case "ms": scale = 1
      default: return nil
      }
      guard let number = UInt64(digits), number <= UInt64.max / 2 / scale else { return nil }
      let (sum, overflows) = total.addingReportingOverflow(number * scale)
      guard !overflows else { return nil }
      total = sum
    }
    return total
  }
}
