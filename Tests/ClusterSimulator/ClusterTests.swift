// Simulated clusters, a seed each. `needletail-sim replay SEED` tells the story of one that fails.
import Foundation
import NeedletailSimulator
import Testing

@testable import NeedletailClusterSimulator

@Suite struct ClusterTests {
  private static func setting(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  /// NEEDLETAIL_SEED alone, or 150 seeds from 1; up to ten times as many with NEEDLETAIL_SEEDS.
  private static var seeds: ClosedRange<UInt64> {
    if let seed = setting("NEEDLETAIL_SEED") { return seed...seed }
    return 1...150 * min(10, max(1, setting("NEEDLETAIL_SEEDS") ?? 1))
  }

  @Test func seedsHold() {
    var faults = FaultCounts()
    var steps = 0
    var answered = 0
    for seed in ClusterTests.seeds {
      let report = SimulationReport.run(seed: seed, seconds: 2)
      if let failure = report.failure {
        Issue.record("seed \(seed): \(failure); needletail-sim replay \(seed)")
      }
      faults.add(report.faults)
      steps += report.steps
      answered += report.answered
    }
    print("\(ClusterTests.seeds.count) seeds: \(steps) steps, \(answered) answers; \(faults.summary)")
    guard ClusterTests.seeds.count >= 100 else { return }
    #expect(answered > 50 * ClusterTests.seeds.count)
    for kind in FaultCounts.Kind.allCases { #expect(faults[kind] > 0, "no \(kind.name): the run proves little") }
  }

  @Test func aSeedDecidesEverything() {
    var hashes: Set<UInt64> = []
    for seed in 1...10 as ClosedRange<UInt64> {
      let one = SimulationReport.run(seed: seed, seconds: 1)
      let other = SimulationReport.run(seed: seed, seconds: 1)
      #expect(one.hash == other.hash && one.history == other.history && one.steps == other.steps, "seed \(seed)")
      hashes.insert(one.hash)
    }
    #expect(hashes.count == 10)
  }
}
