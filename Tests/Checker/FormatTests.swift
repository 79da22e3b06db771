// What is read, and what is refused with which words.
import Testing

@testable import NeedletailChecker

@Suite struct FormatTests {
  private static let store = "{:history :needletail, :version 1}\n"

  private func word(_ text: String) throws -> String { try check(text).word }

  private func refusal(_ text: String) -> HistoryError? {
    do {
      let verdict = try check(text)
      Issue.record("read as a history that is \(verdict.word)")
      return nil
    } catch { return error }
  }

  // MARK: Jepsen

  @Test func jepsenTakesBlanksNemesisAndOtherLoggers() throws {
    let text = """
      INFO  jepsen.core - Everything looks good!
      INFO  jepsen.util - :nemesis :info :start nil
      INFO  jepsen.util - 0   :invoke :write  1

      INFO  jepsen.util - 0   :ok     :write  1
      INFO  jepsen.util - 3\t:invoke\t:read\tnil
      INFO  jepsen.util - 3\t:ok\t:read\t1
      """
    #expect(try word(text) == "linearizable")
    #expect(try word(text.replacing(":read\t1", with: ":read\t2")) == "not-linearizable")
    #expect(try word(text.replacing("\n", with: "\r\n")) == "linearizable")
  }

  /// What is unanswered may come late, and a compare-and-set that was refused has met another value.
  @Test func jepsenUnansweredAndRefused() throws {
    func log(_ events: String...) -> String { events.map { "INFO  jepsen.util - \($0)\n" }.joined() }
    let late = log(
      "0 :invoke :write 1", "0 :info :write :timed-out", "1 :invoke :read nil", "1 :ok :read nil",
      "1 :invoke :read nil",
      "1 :ok :read 1")
    #expect(try word(late) == "linearizable")
    #expect(try word(late + log("1 :invoke :read nil", "1 :ok :read nil")) == "not-linearizable")
    let refused = log("0 :invoke :write 1", "0 :ok :write 1", "0 :invoke :cas [1 2]", "0 :fail :cas [1 2]")
    #expect(try word(refused) == "not-linearizable")
    #expect(try word(refused.replacing(":fail :cas [1 2]", with: ":fail :cas :timed-out")) == "linearizable")
  }

  @Test func jepsenRefusals() {
    let cases: [(String, Int, String)] = [
      ("INFO  jepsen.util - 0 :invoke :wri", 1, "ends early"),
      ("INFO  jepsen.util - x :invoke :read nil", 1, "no process"),
      ("INFO  jepsen.util - 0 :invoke :write", 1, "ends early"),
      ("INFO  jepsen.util - 0 :invoke :cas [1 ", 1, "ends inside"),
      ("INFO  jepsen.util - 0 :invoke :cas [1]", 1, "does not have"),
      ("INFO  jepsen.util - 0 :invoke :write 99999999999999999999", 1, "neither a number"),
      ("INFO  jepsen.util - 0 :invoke :read nil\nwhat?", 2, "no line of a Jepsen log"),
      ("INFO  jepsen.util - 0 :ok :read 1", 1, "has not begun"),
      ("INFO  jepsen.util - 0 :invoke :read nil\nINFO  jepsen.util - 0 :invoke :read nil", 2, "that of line 1 is open"),
      ("INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :ok :write 2", 2, "other values"),
      ("INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :ok :read 2", 2, "began as"),
      ("INFO  jepsen.util - 0 :invoke :write 1\nINFO  jepsen.util - 0 :maybe :write 1", 2, "no kind of event"),
    ]
    for (text, line, reason) in cases {
      let error = refusal(text)
      #expect(error?.line == line && error?.reason.contains(reason) == true, "\(text): \(String(describing: error))")
    }
  }

  // MARK: Key-value logs

  @Test func keyValueTakesEscapesAndAnyOrderOfFields() throws {
    let text = #"""
      {:type :invoke :f :put :value "a\"\\\n\x41" :key "k" :process 0}
      {:process 0, :type :ok, :f :put, :key "k", :value "a\"\\\n\u"}
      """#
    #expect(refusal(text)?.line == 2)
    let good = text.replacing(#"\n\u"#, with: #"\nA"#)
    #expect(try word(good) == "linearizable")
  }

  @Test func keyValueRefusals() {
    let begin = "{:process 0, :type :invoke, :f :put, :key \"k\", :value \"v\"}\n"
    let cases: [(String, Int, String)] = [
      ("{:process 0, :type :invoke, :f :put, :key \"k\"}", 1, ":value is missing"),
      ("{:process 0, :type :invoke, :f :push, :key \"k\"}", 1, ":f is :push"),
      ("{:process 0, :type :invoke, :f :put, :key 3, :value \"v\"}", 1, ":key is no string"),
      ("{:process 0, :type :invoke, :f :put, :key \"k\", :value \"v", 1, "ends inside a string"),
      ("{:process 0, :process 1}", 1, ":process twice"),
      ("{:process}", 1, "has no value"),
      ("{:process 0} x", 1, "behind the end"),
      (String(repeating: "{:a ", count: 100_000), 1, "too deeply"),
      (begin + "{:process 0, :type :ok, :f :put, :key \"k\", :value \"w\"}", 2, "another value"),
      (begin + "{:process 0, :type :ok, :f :put, :key \"l\", :value \"v\"}", 2, "another function or key"),
      (begin + "{:process 1, :type :ok, :f :put, :key \"k\", :value \"v\"}", 2, "has not begun"),
      (begin + "[1 2]", 2, "no map"),
    ]
    for (text, line, reason) in cases {
      let error = refusal(text)
      #expect(
        error?.line == line && error?.reason.contains(reason) == true,
        "\(text.prefix(80)): \(String(describing: error))")
    }
  }

  // MARK: Own histories

  @Test func storeRefusals() {
    let put = "{:process 0, :time 5, :type :invoke, :f :put, :key \"k\", :value \"v\"}\n"
    let cases: [(String, Int, String)] = [
      ("{:history :other, :version 1}", 1, "version 1"),
      ("{:history :needletail, :version 2}", 1, "version 1"),
      (FormatTests.store + "{:process 0, :type :invoke, :f :put, :key \"k\", :value \"v\"}", 2, ":time is missing"),
      (FormatTests.store + put + "{:process 0, :time 4, :type :ok}", 3, ":time goes back"),
      (FormatTests.store + put + "{:process 0, :time 9223372036854775807, :type :ok}", 3, "30 years"),
      (FormatTests.store + put + "{:process 0, :time 6, :type :ok, :revision 0}", 3, "a revision of 0"),
      (FormatTests.store + put + "{:process 0, :time 6, :type :ok, :revision 4294967296}", 3, "a revision of"),
      (FormatTests.store + put + "{:process 0, :time 6, :type :ok, :prev [1 2]}", 3, "a pair that is not"),
      (FormatTests.store + put + "{:process 0, :time 6, :type :fail, :error :nonsense}", 3, ":error is :nonsense"),
      (FormatTests.store + "{:process 0, :time 6, :type :invoke, :f :grant, :lease 0, :ttl 1}", 2, ":lease is 0"),
      (FormatTests.store + "{:process 0, :time 6, :type :invoke, :f :txn, :if [[:mod \"k\"]]}", 2, "a comparison"),
      (
        FormatTests.store + "{:process 0, :time 6, :type :invoke, :f :txn, :then [[:put \"k\"]]}", 2,
        ":put with arguments"
      ),
    ]
    for (text, line, reason) in cases {
      let error = refusal(text)
      #expect(error?.line == line && error?.reason.contains(reason) == true, "\(text): \(String(describing: error))")
    }
  }

  @Test func noHistoryAtAll() throws {
    #expect(refusal("")?.reason == "the file is empty")
    #expect(refusal("\n \n\t\n")?.reason == "the file is empty")
    #expect(refusal("\nhello\n")?.line == 2)
    let binary = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 167) }
    #expect(throws: HistoryError.self) { try HistoryChecker.check(binary) }
    #expect(throws: HistoryError.self) { try HistoryFile.read("/nonexistent/file") }
    #expect(throws: HistoryError.self) { try HistoryFile.read("/") }
    #expect(throws: HistoryError("larger than 256 MiB")) { try HistoryFile.read("/dev/zero") }
  }

  // MARK: Damage

  /// Histories with bytes changed, dropped or doubled, and cut short: a verdict or an error, never a trap, in bounded time.
  @Test func damagedHistories() {
    let telling = Array("0123456789 {}[]\":-\\".utf8)
    var refused = 0
    var judged = 0
    for seed in seeds(6000) {
      var random = SeededGenerator(seed)
      var bytes = Array(FormatTests.sample(&random).utf8)
      for _ in 0...random.below(4) where !bytes.isEmpty {
        let at = random.below(bytes.count)
        switch random.below(5) {
        case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.remove(at: at)
        case 2: bytes.insert(bytes[random.below(bytes.count)], at: at)
        case 3: bytes[at] = telling[random.below(telling.count)]
        default: bytes.removeLast(random.below(min(200, bytes.count)))
        }
      }
      do {
        _ = try HistoryChecker.check(bytes, Limits(seconds: 5))
        judged += 1
      } catch { refused += 1 }
    }
    print("damaged histories: \(refused) refused, \(judged) judged")
    if refused + judged > 100 { #expect(refused > 0 && judged > 0) }
  }

  private static func sample(_ random: inout SeededGenerator) -> String {
    switch random.below(3) {
    case 0: RecordedHistory<RegisterSpecification>(&random, processes: 4, count: 12, isFaulty: false).text
    case 1: RecordedHistory<TextSpecification<FewTexts>>(&random, processes: 4, count: 12, isFaulty: false).text
    default: RecordedHistory<StoreSpecification>(&random, processes: 4, count: 12, isFaulty: false).text
    }
  }
}
