// `needletail-sim replay` and `needletail-sim shrink`: one seed that is looked at.

import ArgumentParser
import Glibc
import NeedletailClusterSimulator
import NeedletailSimulator

struct ReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Run one seed again and tell what happens in it.")

  @Argument(help: "The seed.")
  var seed: UInt64

  @OptionGroup var options: RunOptions

  @Option(help: "Only these of its faults happen: numbers with commas, or none.")
  var faults: String?

  @Option(help: "Only these of its clients work: numbers with commas, or none.")
  var clients: String?

  @Option(help: "Where to put the clients' history, for check-history.")
  var history: String?

  func validate() throws {
    for list in [faults, clients] {
      if let list, ClusterSettings.numbers(list) == nil { throw ValidationError("\(list) is no list of numbers") }
    }
  }

  func run() throws {
    var settings = options.settings
    settings.faults = faults.flatMap(ClusterSettings.numbers)
    settings.clients = clients.flatMap(ClusterSettings.numbers)
    let report = SimulationReport.run(seed: seed, settings: settings) { print($0) }
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

struct ShrinkCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shrink",
    abstract: "Leave out all that a failing seed can do without, and tell the story of what is left.")

  @Argument(help: "The seed.")
  var seed: UInt64

  @OptionGroup var options: RunOptions

  func run() throws { try Story(seed, options.settings).tell() }
}

/// A failing run, made small.
struct Story {
  private let seed: UInt64
  private let settings: ClusterSettings

  init(_ seed: UInt64, _ settings: ClusterSettings) {
    self.seed = seed
    self.settings = settings
  }

  /// Always ends with an exit status: 1, or 2 where the seed does not fail.
  func tell() throws {
    guard var shrinker = FailureShrinker(seed: seed, settings: settings) else {
      complain("seed \(seed) does not fail")
      throw ExitCode(2)
    }
    shrinker.progress = { complain($0) }
    shrinker.shrink()
    let report = SimulationReport.run(seed: seed, settings: shrinker.settings) { print($0) }
    print("FAILED: \(report.failure ?? "not any more")")
    print("again: needletail-sim replay \(seed) \(shrinker.settings.words)")
    throw ExitCode(1)
  }
}
