// Measures each load on each server in turn and writes results and a table.
import Histogram

struct ServerSuite {
  let records: UInt64
  let nanoseconds: UInt64
  let repetitions: Int
  let pinned: String
  let output: Output

  private struct Row: Hashable {
    var test: ServerTest
    var load: LoadShape
    var name: String { "\(test.rawValue) \(load.connections) × \(load.depth)" }
  }

  private var rates: [Row: [ServerName: [Double]]] = [:]
  private var costs: [Row: [ServerName: [Double]]] = [:]

  init(records: UInt64, nanoseconds: UInt64, repetitions: Int, pinned: String, output: Output) {
    self.records = records
    self.nanoseconds = nanoseconds
    self.repetitions = repetitions
    self.pinned = pinned
    self.output = output
  }

  /// Puts every record once.
  func load(_ server: ServerProcess) throws {
    let result = try drive(server, connections: 16, depth: 64, .put, .everyRecord, seed: 0)
    output.progress(
      "\(server.name.rawValue): \(result.requests) records loaded, \(readable(Self.rate(result))) puts/s")
  }

  mutating func run(_ servers: [ServerProcess], tests: [ServerTest], loads: [LoadShape]) throws {
    let rows = tests.flatMap { test in loads.map { Row(test: test, load: $0) } }
    for repetition in 1...repetitions {
      for row in rows {
        for server in servers { try measure(row, server, repetition) }
      }
    }
    printTable(rows, servers.map(\.name))
  }

  private func drive(
    _ server: ServerProcess, connections: Int, depth: Int, _ test: ServerTest, _ limit: LoadLimit, seed: UInt64
  ) throws -> LoadResult {
    func run<Wire: ServerWire>(_: Wire.Type) throws -> LoadResult {
      try LoadClient<Wire>(port: server.port, connections: connections, depth: depth, records: records, seed: seed)
        .run(test, limit)
    }
    do {
      return switch server.name {
      case .needletail: try run(NativeWire.self)
      case .needletailGRPC, .etcd, .etcd2: try run(GRPCWire.self)
      case .redis: try run(RedisWire.self)
      }
    } catch {
      throw BenchError("\(server.name.rawValue), \(test.rawValue): \(error)\n\(server.lastWords)")
    }
  }

  private static func rate(_ result: LoadResult) -> Double {
    Double(result.requests) * 1e9 / Double(result.nanoseconds)
  }

  private mutating func measure(_ row: Row, _ server: ServerProcess, _ repetition: Int) throws {
    let (connections, depth) = (row.load.connections, row.load.depth)
    // A tenth of the time first, with other records, so that nothing is measured cold.
    _ = try drive(
      server, connections: connections, depth: depth, row.test, .duration(nanoseconds: nanoseconds / 10),
      seed: UInt64(repetition) &+ 1_000)
    let before = try server.processorNanoseconds()
    let result = try drive(
      server, connections: connections, depth: depth, row.test, .duration(nanoseconds: nanoseconds),
      seed: UInt64(repetition))
    let used = try server.processorNanoseconds() - before
    let rate = Self.rate(result)
    let cost = Double(used) / 1e3 / Double(result.requests)
    let (p50, p99) = (result.latencies.valueAtPercentile(50), result.latencies.valueAtPercentile(99))

    var line = JSONLine()
    line.add("suite", "server")
    line.add("server", server.name.rawValue)
    line.add("face", server.name.face)
    line.add("test", row.test.rawValue)
    line.add("connections", connections)
    line.add("depth", depth)
    line.add("value_bytes", Record.valueLength)
    line.add("n", Int(records))
    line.add("rep", repetition)
    line.add("requests", result.requests)
    line.add("requests_per_s", figure: rate)
    line.add("p50_us", figure: Double(p50) / 1e3)
    line.add("p99_us", figure: Double(p99) / 1e3)
    line.add("p999_us", figure: Double(result.latencies.valueAtPercentile(99.9)) / 1e3)
    line.add("server_cpu_us_per_request", figure: cost)
    line.add("config", server.name.configuration + "; " + pinned)
    try output.result(line)
    output.progress(
      padded("\(repetition)/\(repetitions) \(row.name)", -18) + padded(server.name.rawValue, -16)
        + padded(readable(rate), 10) + " requests/s   p50 \(readable(Double(p50) / 1e3)) µs   p99 "
        + "\(readable(Double(p99) / 1e3)) µs   server CPU \(JSONLine.figure(cost)) µs")
    rates[row, default: [:]][server.name, default: []].append(rate)
    costs[row, default: [:]][server.name, default: []].append(cost)
  }

  private func printTable(_ rows: [Row], _ servers: [ServerName]) {
    output.progress("")
    output.progress("n = \(records), median of \(repetitions): requests/s, and µs of server CPU for each request")
    var head = padded("", -14)
    for server in servers { head += padded(server.rawValue, 24) }
    output.progress(head)
    for row in rows {
      var text = padded(row.name, -14)
      for server in servers {
        let rate = median(rates[row]?[server] ?? [])
        let cost = median(costs[row]?[server] ?? [])
        text += padded("\(readable(rate))  \(JSONLine.figure((cost * 100).rounded() / 100)) µs", 24)
      }
      output.progress(text)
    }
  }
}
