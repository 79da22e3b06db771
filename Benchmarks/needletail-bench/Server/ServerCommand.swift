// `needletail-bench server`: the same closed loop on each server in turn, so that whatever disturbs the machine disturbs both.
import ArgumentParser
import Foundation

/// How many sockets, and how many requests in flight on each.
struct LoadShape: Hashable {
  var connections: Int
  var depth: Int

  init?(_ text: Substring) {
    let parts = text.split(separator: "x").map { Int($0) ?? 0 }
    guard parts.count == 2, (1...4096).contains(parts[0]), (1...1024).contains(parts[1]) else { return nil }
    (connections, depth) = (parts[0], parts[1])
  }
}

struct ServerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server", abstract: "A closed loop of gets and puts on Needletail, etcd and redis-server.",
    discussion: """
      Starts the servers itself on free ports and in temporary folders, loads the same records into each, and drives them with
      one epoll client: every answer is checked. Where there are two processors or more, the client has the last one for itself.
      The servers' time per request is read from /proc. Results are JSON lines as of the engine suite.
      needletail is driven over native frames, needletail-grpc, etcd and etcd2 over gRPC with serializable ranges.
      """)

  @Option(help: "Servers, comma-separated: needletail, needletail-grpc, redis, etcd, etcd2.")
  var servers = "needletail,redis"
  @Option(help: "Tests, comma-separated: get, put.") var tests = "get,put"
  @Option(help: "Connections x requests in flight on each, comma-separated.") var loads = "1x1,8x1,64x16"
  @Option(help: "Records loaded before.") var n: UInt64 = 100_000
  @Option(help: "Seconds of each measurement.") var seconds = 3.0
  @Option(help: "Repetitions.") var reps = 3
  @Flag(help: "Leave the processors to the kernel.") var noPin = false
  @Option(help: "The needletail to start; the one beside this program when left out.") var needletail: String?
  @Option(help: "The etcd to start as 'etcd'; the one in PATH when left out.") var etcd: String?
  @Option(help: "Another etcd, to start as 'etcd2': versions differ in what a request costs.") var etcd2: String?
  @Flag(help: "JSON lines on standard output. The default.") var json = false
  @Option(help: "Write the JSON lines to this file instead.") var out: String?
  @Option(help: "Folder for the stores; a temporary one when left out.") var dir: String?

  func validate() throws {
    guard n >= 1, n <= 400_000_000 else { throw ValidationError("--n must be 1 … 400000000: keys have nine digits") }
    guard reps >= 1, seconds > 0, seconds <= 600 else { throw ValidationError("--reps or --seconds is out of range") }
    if try parsedServers().contains(.etcd2), etcd2 == nil { throw ValidationError("etcd2 needs --etcd2 PATH") }
    _ = try parsedTests()
    _ = try parsedLoads()
  }

  private func parsed<Item>(_ text: String, _ what: String, _ make: (Substring) -> Item?) throws -> [Item] {
    let items = try text.split(separator: ",").map { part in
      guard let item = make(part) else { throw ValidationError("'\(part)' is no \(what)") }
      return item
    }
    if items.isEmpty { throw ValidationError("no \(what) is named") }
    return items
  }

  private func parsedServers() throws -> [ServerName] {
    try parsed(servers, "server") { ServerName(rawValue: String($0)) }
  }
  private func parsedTests() throws -> [ServerTest] { try parsed(tests, "test") { ServerTest(rawValue: String($0)) } }
  private func parsedLoads() throws -> [LoadShape] { try parsed(loads, "load (as 64x16)") { LoadShape($0) } }

  private func program(of name: ServerName) -> String? {
    switch name {
    case .needletail, .needletailGRPC: needletail
    case .etcd: etcd
    case .etcd2: etcd2
    case .redis: nil
    }
  }

  func run() throws {
    let folder = try TemporaryFolder(in: dir)
    defer { folder.remove() }
    let output = try Output(path: out)
    try output.result(Machine.describe(suite: "server", directory: folder.path))
    let pinning = noPin ? nil : Pinning()
    try pinning?.pinClient()

    let processes = try parsedServers().map { name in
      try ServerProcess(
        name, program: program(of: name), folder: folder.path + "/" + name.rawValue, processors: pinning?.servers)
    }
    defer { for process in processes { process.stop() } }
    var suite = ServerSuite(
      records: n, nanoseconds: UInt64(seconds * 1e9), repetitions: reps,
      pinned: pinning.map { "servers on \($0.servers), client on \($0.client)" } ?? "not pinned", output: output)
    for process in processes { try suite.load(process) }
    try suite.run(processes, tests: try parsedTests(), loads: try parsedLoads())
  }
}

/// Processors for the servers and one for the client, so that neither takes the other's time.
struct Pinning {
  let servers: String
  let client: Int

  init?() {
    let count = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    guard count >= 2 else { return nil }
    client = count - 1
    servers = count == 2 ? "0" : "0-\(count - 2)"
  }

  func pinClient() throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["taskset", "-c", "-p", "\(client)", "\(getpid())"]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    if process.terminationStatus != 0 { throw BenchError("taskset failed; --no-pin does without it") }
  }
}
