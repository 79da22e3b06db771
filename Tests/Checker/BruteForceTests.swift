// The checker's verdict on thousands of small random histories, true ones and ones made by a store that cheats, compared
// with trying every order of plain specifications.
import Testing

@testable import NeedletailChecker

@Suite struct BruteForceTests {
  /// Compares and tells how many had an order.
  private func compare<S: Specification>(_ kind: S.Type, _ name: String, histories: Int, calls: Int) {
    var linearizable = 0
    var others = 0
    for seed in seeds(histories) {
      var random = SeededGenerator(seed)
      let isFaulty = random.chance(60)
      let history = RecordedHistory<S>(
        &random, processes: 2 + random.below(4), count: 3 + random.below(calls), isFaulty: isFaulty)
      let expected = history.isLinearizable
      if !isFaulty { #expect(expected, "a true history has an order; NEEDLETAIL_SEED=\(seed)") }
      do {
        let verdict = try check(history.text)
        #expect(
          verdict.word == (expected ? "linearizable" : "not-linearizable"),
          "\(name) NEEDLETAIL_SEED=\(seed)\n\(history.text)")
      } catch {
        Issue.record("\(name) NEEDLETAIL_SEED=\(seed): \(error)\n\(history.text)")
      }
      if expected { linearizable += 1 } else { others += 1 }
    }
    print("\(name): \(linearizable) linearizable, \(others) not")
    if linearizable + others > 100 {
      #expect(min(linearizable, others) * 20 > linearizable + others, "one kind is too rare to prove anything")
    }
  }

  @Test func registers() { compare(RegisterSpecification.self, "registers", histories: 4000, calls: 10) }
  @Test func texts() { compare(TextSpecification<FewTexts>.self, "texts", histories: 4000, calls: 8) }
  @Test func stores() { compare(StoreSpecification.self, "stores", histories: 6000, calls: 8) }
}
