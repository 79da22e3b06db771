// One seed: what happened, and whether it was right.

import NeedletailChecker
import NeedletailSimulator

package struct SimulationReport: Sendable {
  package var seed: UInt64
  /// Why it failed; nil where all was right.
  package var failure: String?
  package var hash: UInt64
  package var steps: Int
  package var answered: Int
  package var faults: FaultCounts
  package var history: String

  /// Runs a cluster by `seed` for some seconds of virtual time. Two runs of a seed have one hash.
  package static func run(
    seed: UInt64, seconds: Double = 4, trace: ((String) -> Void)? = nil
  ) -> SimulationReport {
    let cluster = SimulatedCluster(seed: seed)
    cluster.trace = trace
    var failure: String?
    do {
      let text = try cluster.run(duration_ns: Int64(seconds * 1e9))
      let verdict = try HistoryChecker.check(Array(text.utf8), Limits(seconds: 20))
      if verdict != .linearizable { failure = "the clients' history is \(verdict)" }
    } catch let error as HistoryError {
      failure = "the clients' history: \(error)"
    } catch {
      failure = "\(error)"
    }
    return SimulationReport(
      seed: seed, failure: failure, hash: cluster.hash.value, steps: cluster.steps, answered: cluster.answered,
      faults: cluster.faults, history: cluster.history.text)
  }
}
