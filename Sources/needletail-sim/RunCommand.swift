// `needletail-sim run`: simulated clusters, one seed after another.

import ArgumentParser
import Glibc
import NeedletailClusterSimulator
import NeedletailSimulator

extension ClusterSettings.Clocks: ExpressibleByArgument {}

/// What `run`, `replay` and `shrink` have in common.
struct RunOptions: ParsableArguments {
  @Option(help: "Seconds of virtual time with faults, for each seed.")
  var seconds = 2.0

  @Option(help: "bounded, or unbounded: rates differ by more than leases allow, and stale reads are to be found.")
  var clocks = ClusterSettings.Clocks.bounded

  func validate() throws {
    guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds must be more than 0, at most 3600") }
  }

  var settings: ClusterSettings {
    var settings = ClusterSettings()
    settings.seconds = seconds
    settings.clocks = clocks
    return settings
  }
}

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Simulate clusters with faults, a seed each; say which seeds fail.",
    discussion: """
      Raft, log, engine and store are the real ones; disks, network and time are simulated. Rules of consensus are looked \
      at in every step, progress when all faults are healed, and what clients saw is checked for linearizability. \
      Standard error shows progress. A line for each seed that failed goes to standard output, then a summary.

      Exit status: 0 if no seed failed and faults of every kind came up, else 1. docs/simulator.md says more.
      """)

  @Option(help: "How many seeds.")
  var seeds: UInt64 = 100

  @Option(help: "The first seed.")
  var from: UInt64 = 1

  @OptionGroup var options: RunOptions

  @Flag(help: "Run every seed twice and compare what happened.")
  var twice = false

  @Flag(help: "Stop at the first seed that fails; name each on standard error before it runs.")
  var first = false

  @Flag(help: "Stop at the first seed that fails, make its run small and tell its story.")
  var shrink = false

  func validate() throws {
    guard seeds > 0, seeds <= 1 << 40, from < 1 << 60 else { throw ValidationError("too many seeds") }
  }

  func run() throws {
    var failed = 0
    var steps = 0
    var answered = 0
    var faults = FaultCounts()
    let settings = options.settings
    let clock = ContinuousClock()
    let start = clock.now
    for seed in from..<from + seeds {
      if first { complain("seed \(seed)") }
      var report = SimulationReport.run(seed: seed, settings: settings)
      if twice, SimulationReport.run(seed: seed, settings: settings).hash != report.hash {
        report.failure = report.failure ?? "two runs of the seed differ"
      }
      if let failure = report.failure {
        failed += 1
        print("seed \(seed): \(failure)")
        fflush(nil)
        if shrink { return try Story(seed, settings).tell() }
        if first { throw ExitCode(1) }
      }
      steps += report.steps
      answered += report.answered
      faults.add(report.faults)
      let done = seed - from + 1
      if done % 50 == 0 { complain("\(done) of \(seeds) seeds, \(failed) failed, \(clock.now - start)") }
    }
    print("\(seeds) seeds, \(failed) failed, \(steps) steps, \(answered) answers, in \(clock.now - start)")
    print(faults.summary)
    // Few seeds may not meet everything; many that meet too little prove nothing.
    let isQuiet = seeds >= 300 && !faults.missing.isEmpty
    if isQuiet {
      print("never came up: \(faults.missing.map(\.name).joined(separator: ", ")). This run proves nothing")
    }
    if failed > 0 || isQuiet { throw ExitCode(1) }
  }
}

/// A line on standard error.
func complain(_ text: String) {
  let line = Array("needletail-sim: \(text)\n".utf8)
  _ = Glibc.write(STDERR_FILENO, line, line.count)
}
