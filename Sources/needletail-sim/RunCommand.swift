// `needletail-sim run` and `needletail-sim replay`: simulated clusters, one seed after another or one looked at.

import ArgumentParser
import Glibc
import NeedletailClusterSimulator
import NeedletailSimulator

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Simulate clusters with faults, a seed each; say which seeds fail.",
    discussion: """
      Raft, log, engine and store are the real ones; disks, network and time are simulated. Rules of consensus are looked \
      at in every step, progress when all faults are healed, and what clients saw is checked for linearizability. \
      Standard error shows progress. A line for each seed that failed goes to standard output, then a summary.

      Exit status: 0 if no seed failed and faults of every frequent kind came up, else 1. docs/simulator.md says more.
      """)

  @Option(help: "How many seeds.")
  var seeds: UInt64 = 100

  @Option(help: "The first seed.")
  var from: UInt64 = 1

  @Option(help: "Seconds of virtual time with faults, for each seed.")
  var seconds = 2.0

  @Flag(help: "Run every seed twice and compare what happened.")
  var twice = false

  func validate() throws {
    guard seeds > 0, seeds <= 1 << 40, from < 1 << 60 else { throw ValidationError("too many seeds") }
    guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds must be more than 0, at most 3600") }
  }

  func run() throws {
    var failed = 0
    var steps = 0
    var answered = 0
    var faults = FaultCounts()
    let clock = ContinuousClock()
    let start = clock.now
    for seed in from..<from + seeds {
      var report = SimulationReport.run(seed: seed, seconds: seconds)
      if twice, SimulationReport.run(seed: seed, seconds: seconds).hash != report.hash {
        report.failure = report.failure ?? "two runs of the seed differ"
      }
      if let failure = report.failure {
        failed += 1
        print("seed \(seed): \(failure)")
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
    let isQuiet = seeds >= 100 && FaultCounts.Kind.allCases.contains { faults[$0] == 0 }
    if isQuiet { print("some faults never came up: this run proves nothing") }
    if failed > 0 || isQuiet { throw ExitCode(1) }
  }
}

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Run one seed again and tell what happens in it.")

  @Argument(help: "The seed.")
  var seed: UInt64

  @Option(help: "Seconds of virtual time with faults: as in the run that is looked at.")
  var seconds = 2.0

  @Option(help: "Where to put the clients' history, for check-history.")
  var history: String?

  func validate() throws {
    guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds must be more than 0, at most 3600") }
  }

  func run() throws {
    let report = SimulationReport.run(seed: seed, seconds: seconds) { print($0) }
    if let history { try write(report.history, to: history) }
    print("seed \(seed): \(report.steps) steps, \(report.answered) answers, hash \(String(report.hash, radix: 16))")
    print(report.faults.summary)
    print(report.failure.map { "FAILED: \($0)" } ?? "all was right")
    if report.failure != nil { throw ExitCode(1) }
  }

  private func write(_ text: String, to path: String) throws {
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard file >= 0 else { throw ValidationError("\(path): \(String(cString: strerror(errno)))") }
    defer { close(file) }
    let bytes = Array(text.utf8)
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
      guard count > 0 else { throw ValidationError("\(path): \(String(cString: strerror(errno)))") }
      done += count
    }
  }
}

/// A line on standard error.
func complain(_ text: String) {
  let line = Array("needletail-sim: \(text)\n".utf8)
  _ = Glibc.write(STDERR_FILENO, line, line.count)
}
