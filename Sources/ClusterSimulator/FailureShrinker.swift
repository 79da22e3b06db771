// Makes a failing run small: leaves out faults, clients and time as long as it fails in the same way.

package struct FailureShrinker {
  private let seed: UInt64
  private let runsMax: Int
  private let isSameKind: (String) -> Bool
  package private(set) var settings: ClusterSettings
  /// The smallest run so far.
  package private(set) var report: SimulationReport
  package private(set) var runs = 1
  /// Told of every step forward.
  package var progress: ((String) -> Void)?

  /// nil where the run does not fail.
  package init?(seed: UInt64, settings: ClusterSettings, runsMax: Int = 400) {
    let report = SimulationReport.run(seed: seed, settings: settings)
    guard let failure = report.failure else { return nil }
    let kind = FailureShrinker.kind(failure)
    isSameKind = { FailureShrinker.kind($0) == kind }
    self.seed = seed
    self.runsMax = runsMax
    self.settings = settings
    self.report = report
  }

  /// What failed, without the numbers in it.
  private static func kind(_ failure: String) -> String {
    String(failure.prefix { $0 != "[" }.filter { !$0.isNumber })
  }

  package mutating func shrink() {
    cutTime()
    var count = Int.max
    // What one way of leaving out has made possible, another may use.
    while size < count, runs < runsMax {
      count = size
      leaveOutFaults()
      leaveOutClients()
      cutTime()
    }
  }

  private var faults: Set<Int> { settings.faults ?? Set(0..<report.faultsSeen) }
  private var clients: Set<Int> { settings.clients ?? Set(0..<report.clients) }
  private var size: Int { faults.count + clients.count }

  /// Takes the settings over if the run still fails.
  private mutating func accept(_ candidate: ClusterSettings) -> Bool {
    guard runs < runsMax else { return false }
    runs += 1
    let tried = SimulationReport.run(seed: seed, settings: candidate)
    guard let failure = tried.failure, isSameKind(failure) else { return false }
    settings = candidate
    report = tried
    progress?("\(runs) runs: \(faults.count) faults, \(clients.count) clients, \(settings.seconds) s")
    return true
  }

  /// Delta debugging: ever smaller parts are left out.
  private mutating func leaveOutFaults() {
    var part = max(1, faults.count / 2)
    while true {
      var rest = faults.sorted()
      var hasShrunk = false
      while !rest.isEmpty, runs < runsMax {
        var candidate = settings
        candidate.faults = faults.subtracting(rest.suffix(part))
        rest.removeLast(min(part, rest.count))
        if accept(candidate) { hasShrunk = true }
      }
      if part == 1, !hasShrunk || runs >= runsMax { return }
      part = max(1, part / 2)
    }
  }

  private mutating func leaveOutClients() {
    for client in clients.sorted() where clients.count > 1 {
      var candidate = settings
      candidate.clients = clients.subtracting([client])
      _ = accept(candidate)
    }
  }

  private mutating func cutTime() {
    for share in [1.0, 0.75, 0.5, 0.25] {
      var candidate = settings
      let ended = Double(report.ended_ns) / 1e9
      candidate.seconds = max(0.05, (min(settings.seconds, ended) * share * 100).rounded() / 100)
      if candidate.seconds < settings.seconds { _ = accept(candidate) }
    }
  }
}
