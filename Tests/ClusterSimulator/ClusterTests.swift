// Simulated clusters, a seed each. `needletail-sim shrink SEED` tells the story of one that fails.
import Foundation
import NeedletailRaft
import NeedletailSimulator
import Testing

@testable import NeedletailClusterSimulator

@Suite struct ClusterTests {
  private static func setting(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  /// NEEDLETAIL_SEED alone, or 320 seeds from 1, which are more than a million steps; up to ten times as many with
  /// NEEDLETAIL_SEEDS.
  private static var seeds: ClosedRange<UInt64> {
    if let seed = setting("NEEDLETAIL_SEED") { return seed...seed }
    return 1...320 * min(10, max(1, setting("NEEDLETAIL_SEEDS") ?? 1))
  }

  @Test func seedsHold() {
    var faults = FaultCounts()
    var steps = 0
    var answered = 0
    for seed in ClusterTests.seeds {
      let report = SimulationReport.run(seed: seed)
      if let failure = report.failure {
        Issue.record("seed \(seed): \(failure); needletail-sim shrink \(seed)")
      }
      faults.add(report.faults)
      steps += report.steps
      answered += report.answered
    }
    print("\(ClusterTests.seeds.count) seeds: \(steps) steps, \(answered) answers; \(faults.summary)")
    guard ClusterTests.seeds.count >= 320 else { return }
    #expect(steps >= 1_000_000)
    #expect(answered > 100 * ClusterTests.seeds.count)
    #expect(faults.missing.isEmpty, "never came up: \(faults.missing.map(\.name)): the run proves little")
  }

  @Test func aSeedDecidesEverything() {
    var hashes: Set<UInt64> = []
    var settings = ClusterSettings()
    settings.seconds = 1
    for seed in 1...10 as ClosedRange<UInt64> {
      let one = SimulationReport.run(seed: seed, settings: settings)
      let other = SimulationReport.run(seed: seed, settings: settings)
      #expect(one.hash == other.hash && one.history == other.history && one.steps == other.steps, "seed \(seed)")
      hashes.insert(one.hash)
    }
    #expect(hashes.count == 10)
  }

  /// Clocks that differ by more than leases allow make stale reads, and those are noticed; what is left of such a run
  /// after shrinking still fails.
  @Test func staleReadsAreNoticedAndMadeSmall() throws {
    var settings = ClusterSettings()
    settings.clocks = .unbounded
    let seeds: ClosedRange<UInt64> = 1...400
    let failing = seeds.first { SimulationReport.run(seed: $0, settings: settings).failure != nil }
    let seed = try #require(failing)
    var shrinker = try #require(FailureShrinker(seed: seed, settings: settings, runsMax: 120))
    #expect(shrinker.report.failure == "the clients' history is not-linearizable")
    let before = shrinker.report
    shrinker.shrink()
    let small = SimulationReport.run(seed: seed, settings: shrinker.settings)
    #expect(small.failure != nil && small.hash == shrinker.report.hash)
    #expect((shrinker.settings.faults?.count ?? .max) < before.faultsSeen)
    #expect(shrinker.settings.words.contains("--clocks unbounded --faults"))
  }

  @Test func faultsAndClientsCanBeLeftOut() {
    var settings = ClusterSettings()
    settings.seconds = 1
    settings.faults = []
    settings.clients = [0]
    let quiet = SimulationReport.run(seed: 3, settings: settings)
    #expect(quiet.failure == nil && quiet.faultsSeen > 3 && quiet.clients >= 3)
    #expect(quiet.faults[.powerCut] + quiet.faults[.kill] + quiet.faults[.partition] + quiet.faults[.pause] == 0)
    #expect(!quiet.history.contains(":process 1,") && quiet.history.contains(":process 0,"))
    #expect(ClusterSettings.numbers("none") == [] && ClusterSettings.numbers("3,1") == [1, 3])
    #expect(ClusterSettings.numbers("") == nil && ClusterSettings.numbers("1,,2") == nil)
    #expect(ClusterSettings.numbers("-1") == nil && ClusterSettings.numbers("x") == nil)
  }
}
