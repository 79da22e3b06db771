// One seed: what happened, and whether it was right.

import NeedletailChecker
import NeedletailSimulator

package struct SimulationReport: Sendable {
  package var seed: UInt64
  package var settings: ClusterSettings
  /// Why it failed; nil where all was right.
  package var failure: String?
  package var hash: UInt64
  package var steps: Int
  package var answered: Int
  package var faults: FaultCounts
  /// Faults there were, those that were left out included.
  package var faultsSeen: Int
  /// Clients that the seed has.
  package var clients: Int
  /// The virtual time at its end.
  package var ended_ns: Int64
  package var history: String

  /// Runs a cluster by `seed`. Two runs of a seed have one hash.
  package static func run(
    seed: UInt64, settings: ClusterSettings = ClusterSettings(), trace: ((String) -> Void)? = nil
  ) -> SimulationReport {
    let cluster = SimulatedCluster(seed: seed, settings: settings)
    cluster.trace = trace
    var failure: String?
    do {
      let text = try cluster.run()
      let verdict = try HistoryChecker.check(Array(text.utf8), Limits(seconds: 20))
      if verdict != .linearizable { failure = "the clients' history is \(verdict.word)" }
    } catch let error as HistoryError {
      failure = "the clients' history: \(error)"
    } catch {
      failure = "\(error)"
    }
    return SimulationReport(
      seed: seed, settings: settings, failure: failure, hash: cluster.hash.value, steps: cluster.steps,
      answered: cluster.answered, faults: cluster.faults, faultsSeen: cluster.faultsSeen,
      clients: cluster.clients.count, ended_ns: cluster.now_ns, history: cluster.history.text)
  }
}
