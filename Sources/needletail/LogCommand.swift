// check, repair: what is in a write-ahead log, and cutting one that is corrupt.

import NeedletailServer
import NeedletailWAL

extension DatabaseCommand {
  static let logCheck = DatabaseCommand(
    name: "check", usage: "DIR", summary: "Reads the whole log and says what it holds",
    details: """
      Every record is read and checked, as a start of the server would; nothing is changed. A torn tail is what a crash
      leaves of writes that were never acknowledged: the next start cuts it by itself. Damage to what was acknowledged is
      corruption: then this says what would be lost, and the server does not start.
      """
  ) { line throws(Failure) in
    try line.expect(1)
    let care = try openLog(line.arguments[0])
    defer { care.close() }
    let findings = care.look()
    show(findings)
    if let failure = findings.failure { throw .failed("\(failure)") }
    print("\(line.arguments[0]): clean")
  }

  static let logRepair = DatabaseCommand(
    name: "repair", usage: "DIR [--lose-entries]", summary: "Cuts a corrupt log at the damage, if told so",
    details: """
      A log that is not corrupt is left as it is. Of one that is, this says what a cut would lose, and does it only with
      --lose-entries: writes that were acknowledged are gone then. What is cut away stays in the log's directory, as
      torn-… and lost-….wal. Where other members or a recent snapshot have the data, restore from there instead.
      """,
    flags: [Flag("lose-entries", isSwitch: true, "cut, and lose the entries behind the damage")]
  ) { line throws(Failure) in
    try line.expect(1)
    let care = try openLog(line.arguments[0])
    defer { care.close() }
    let findings = care.look()
    show(findings)
    guard let corruption = findings.corruption else {
      if let failure = findings.failure { throw .failed("this can't be repaired here: \(failure)") }
      return print("\(line.arguments[0]): clean, nothing to repair")
    }
    guard line.isOn("lose-entries") else {
      throw .failed("\(corruption.file) is corrupt at \(corruption.offset); --lose-entries cuts the log there")
    }
    do {
      let report = try care.cut()
      for name in report.lost { print("put aside  \(name)") }
      if let torn = report.torn, !torn.copy.isEmpty { print("copied     \(torn.copy), \(torn.length) bytes") }
    } catch {
      throw .failed("\(error)")
    }
    print("\(line.arguments[0]): cut at \(corruption.file) offset \(corruption.offset)")
  }

  private static func openLog(_ path: String) throws(Failure) -> LogCare {
    do { return try LogCare(path) } catch { throw .failed("\(error)") }
  }

  private static func show(_ findings: LogFindings) {
    if let report = findings.report {
      print("segments   \(report.segments), \(report.records) records")
    }
    print("entries    \(findings.entries)" + (findings.entries == 0 ? "" : range(findings)))
    print("database   holds entries up to \(findings.applied.index), term \(findings.applied.term)")
    if let torn = findings.report?.torn {
      print(
        "torn tail  \(torn.file) offset \(torn.offset), \(torn.length) bytes: \(torn.reason); never acknowledged, "
          + "the next start cuts it")
    }
    guard let corruption = findings.corruption else { return }
    print(
      "corrupt    \(corruption.file) offset \(corruption.offset): \(corruption.reason), at entry \(corruption.index); "
        + "the log held entries up to \(corruption.lastIndex)")
    if let lost = findings.lost {
      let count = lost.upperBound - lost.lowerBound + 1
      print("a cut loses entries \(lost.lowerBound) to \(lost.upperBound): \(count) acknowledged at the most")
    } else {
      print("a cut loses nothing: the database holds all of these entries")
    }
  }

  private static func range(_ findings: LogFindings) -> String {
    ": \(findings.first.index), term \(findings.first.term), to \(findings.last.index), term \(findings.last.term)"
  }
}
