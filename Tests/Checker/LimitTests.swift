// Long histories stay quick, hard ones stay within their limits, and a limit is never a pass.
import Foundation
import Testing

@testable import NeedletailChecker

@Suite struct LimitTests {
  /// Writes that overlap in every way and reads that nothing explains: as many configurations as one likes.
  private static func hard(_ count: Int) -> String {
    var lines: [String] = []
    for process in 0..<count { lines.append("\(process) :invoke :cas [\(process % 7) \((process * 3 + 1) % 7)]") }
    lines.append("900 :invoke :write 0")
    lines.append("900 :ok :write 0")
    for process in 0..<count { lines.append("\(process) :info :cas :timed-out") }
    for _ in 0..<40 {
      lines.append(contentsOf: ["901 :invoke :write 3", "901 :ok :write 3", "901 :invoke :read nil", "901 :ok :read 5"])
    }
    return lines.map { "INFO  jepsen.util - \($0)\n" }.joined()
  }

  private static func sequential(_ count: Int) -> String {
    (0..<count).map { "INFO  jepsen.util - 0 :invoke :write \($0)\nINFO  jepsen.util - 0 :ok :write \($0)\n" }.joined()
  }

  @Test func limitsMeanUnknown() throws {
    #expect(try check(LimitTests.sequential(2000), Limits(seconds: 0)) == .unknown(.time))
    #expect(try check(LimitTests.sequential(2000), Limits(bytes: 1)) == .unknown(.memory))
    #expect(try check(LimitTests.sequential(2000)) == .linearizable)
    let start = Date()
    let verdict = try check(LimitTests.hard(60), Limits(seconds: 1, bytes: 64 << 20))
    #expect(verdict != .linearizable)
    #expect(Date().timeIntervalSince(start) < 60)
    print("a hard history: \(verdict)")
  }

  @Test(arguments: [3, 12])
  func longStoreHistories(processes: Int) throws {
    for seed in seeds(2) {
      var random = SeededGenerator(seed)
      let count = 10_000
      let history = RecordedHistory<StoreSpecification>(
        &random, processes: processes, count: count, isFaulty: false, lostPercent: 2)
      let start = Date()
      #expect(try check(history.text) == .linearizable, "NEEDLETAIL_SEED=\(seed)")
      print("\(count) operations of \(processes) clients: \(Date().timeIntervalSince(start)) s")
    }
  }

  @Test func longKeyValueHistories() throws {
    for seed in seeds(2) {
      var random = SeededGenerator(seed)
      let history = RecordedHistory<TextSpecification<UniqueTexts>>(
        &random, processes: 20, count: 4000, isFaulty: false, lostPercent: 0)
      let start = Date()
      #expect(try check(history.text) == .linearizable, "NEEDLETAIL_SEED=\(seed)")
      print("4000 operations on two keys: \(Date().timeIntervalSince(start)) s")
    }
  }
}
