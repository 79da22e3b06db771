// `needletail-bench engine`.
import ArgumentParser
import Foundation

extension RecordShape: ExpressibleByArgument {}

struct EngineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "engine", abstract: "Workload W on the engine and its peers, interleaved in one process.",
    discussion: """
      Tests: load bulk get getfresh multiget zipf miss scan100 full count ow1000 commit1 commit100.
      Engines: backend lmdb lmdb-writemap rocksdb.
      Results are JSON lines on standard output (or in --out), progress and a table of ratios go to standard error.
      A checksum that differs between engines or repetitions ends the run with exit code 1.
      """)

  @Option(help: "Shape of the records: \(RecordShape.allCases.map(\.rawValue).joined(separator: ", ")).")
  var shape = RecordShape.pods
  @Option(help: "Records.") var n: UInt64 = 1_000_000
  @Option(help: "Reader threads, comma-separated.") var threads = "1,2"
  @Option(help: "Tests, comma-separated; all when left out.") var tests: String?
  @Option(help: "Engines, comma-separated; all when left out.") var engines: String?
  @Option(help: "Repetitions.") var reps = 3
  @Flag(help: "Run each reading test a second time beside a thread that overwrites records at full speed.")
  var writer = false
  @Flag(help: "JSON lines on standard output. The default.") var json = false
  @Option(help: "Write the JSON lines to this file instead.") var out: String?
  @Option(help: "Folder for the stores; a temporary one when left out.") var dir: String?
  @Option(help: "Folder in which the loaded stores stay; where a run left some there, they are opened as they are.")
  var stores: String?
  @Option(help: "Do one in so many of the operations of each reading test: for stores that do not fit in memory.")
  var thin = 1

  func validate() throws {
    guard n >= 1_000, n <= 400_000_000 else {
      throw ValidationError("--n must be 1000 … 400000000: keys have nine digits")
    }
    guard thin >= 1 else { throw ValidationError("--thin must be at least 1") }
    if stores != nil, testNames.contains(where: { WriteTest(rawValue: $0) != nil }) {
      throw ValidationError("--stores is for reading tests: others change the stores")
    }
    guard reps >= 1 else { throw ValidationError("--reps must be at least 1") }
    _ = try parsedThreads()
    _ = try parsedEngines()
    for name in testNames where ReadTest(rawValue: name) == nil && WriteTest(rawValue: name) == nil {
      throw ValidationError("there is no test '\(name)'")
    }
    if testNames.isEmpty { throw ValidationError("no tests") }
  }

  private var testNames: [String] {
    guard let tests else { return WriteTest.allCases.map(\.rawValue) + ReadTest.allCases.map(\.rawValue) }
    return list(tests)
  }

  private func list(_ text: String) -> [String] { text.split(separator: ",").map(String.init) }

  private func parsedThreads() throws -> [Int] {
    let counts = list(threads).map { Int($0) ?? 0 }
    guard !counts.isEmpty, counts.allSatisfy({ (1...64).contains($0) }) else {
      throw ValidationError("--threads must be numbers from 1 to 64")
    }
    return counts
  }

  private func parsedEngines() throws -> [EngineName] {
    guard let engines else { return EngineName.allCases }
    let names = try list(engines).map { name in
      guard let engine = EngineName(rawValue: name) else { throw ValidationError("there is no engine '\(name)'") }
      return engine
    }
    if names.isEmpty || Set(names).count != names.count { throw ValidationError("--engines names none, or one twice") }
    return names
  }

  func run() throws {
    let folder = try stores == nil ? TemporaryFolder(in: dir) : nil
    defer { folder?.remove() }
    let path = folder?.path ?? stores ?? "."
    let output = try Output(path: out)
    try output.result(Machine.describe(suite: "engine", directory: path))
    Record.shape = shape
    let names = testNames
    var suite = EngineSuite(
      n: n, threads: try parsedThreads(), reads: ReadTest.allCases.filter { names.contains($0.rawValue) },
      writes: WriteTest.allCases.filter { names.contains($0.rawValue) }, engines: try parsedEngines(),
      repetitions: reps, hasWriter: writer, directory: path, output: output)
    suite.keeps = stores != nil
    suite.thin = thin
    try suite.run()
  }
}
