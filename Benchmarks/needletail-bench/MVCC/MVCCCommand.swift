// `needletail-bench mvcc`: ranges, history, compaction and restarts through the server.
import ArgumentParser
import Foundation

struct MVCCCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mvcc", abstract: "Ranges, history, compaction beside reads, and restarts of a Needletail server.",
    discussion: """
      Starts the server itself in a temporary folder and loads records of workload W. Latencies are one client's with one request
      on its way; answers are checked. Results are JSON lines as of the other suites.
      """)

  @Option(help: "Tests, comma-separated: \(MVCCTest.names).") var tests = MVCCTest.names
  @Option(help: "Records.") var n: UInt64 = 1_000_000
  @Option(help: "Seconds of each measurement.") var seconds = 3.0
  @Option(help: "Repetitions.") var reps = 3
  @Flag(help: "Leave the processors to the kernel.") var noPin = false
  @Option(help: "The needletail to start; the one beside this program when left out.") var needletail: String?
  @Flag(help: "JSON lines on standard output. The default.") var json = false
  @Option(help: "Write the JSON lines to this file instead.") var out: String?
  @Option(help: "Folder for the store; a temporary one when left out.") var dir: String?

  func validate() throws {
    guard n >= 100, n <= 400_000_000 else { throw ValidationError("--n must be 100 … 400000000") }
    guard reps >= 1, seconds > 0, seconds <= 600 else { throw ValidationError("--reps or --seconds is out of range") }
    _ = try parsedTests()
  }

  private func parsedTests() throws -> [MVCCTest] {
    try tests.split(separator: ",").map { part in
      guard let test = MVCCTest(rawValue: String(part)) else { throw ValidationError("'\(part)' is no test") }
      return test
    }
  }

  func run() throws {
    let folder = try TemporaryFolder(in: dir)
    defer { folder.remove() }
    let output = try Output(path: out)
    try output.result(Machine.describe(suite: "mvcc", directory: folder.path))
    let pinning = noPin ? nil : Pinning()
    try pinning?.pinClient()
    let suite = MVCCSuite(
      records: n, seconds: seconds, folder: folder.path, program: needletail, processors: pinning?.servers,
      output: output)
    try suite.load()
    defer { suite.stop() }
    for repetition in 1...reps {
      for test in try parsedTests() { try suite.run(test, repetition) }
    }
  }
}
