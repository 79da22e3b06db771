// `needletail-bench watch`: how fast changes reach many watchers, and what that costs the server.
import ArgumentParser
import Foundation

/// Where the watchers look.
enum WatchLayout: String, CaseIterable {
  /// All at one key: every put is as many events as there are watchers.
  case one
  /// Each at a key of its own: every put is one event.
  case spread
}

struct WatchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch", abstract: "Fan-out of changes to watchers.",
    discussion: """
      Starts a server on a free port and in a temporary folder, opens the watchers over some connections, and puts; a put
      follows when the events of one before have all come, so that at most `window` puts are on their way. Every event is
      checked: each watcher gets each change of its key once and in order. Latency is from the put's sending to the event's
      arrival, through the log; with 0 watchers, to the put's answer. Where there are two processors or more, the client has the last one for itself; the server's
      time is read from /proc. Results are JSON lines as of the server suite.
      """)

  @Option(help: "Watchers, comma-separated.") var watchers = "1,1000,10000"
  @Option(help: "Layouts, comma-separated: one (all on one key), spread (a key for each).") var layouts = "one,spread"
  @Option(help: "Connections that the watchers share, one stream on each.") var connections = 16
  @Option(help: "Puts whose events have not all come, at most.") var window = 4
  @Option(help: "Bytes of a value.") var valueBytes = 256
  @Option(help: "Seconds of each measurement.") var seconds = 3.0
  @Option(help: "Repetitions.") var reps = 3
  @Flag(help: "Leave the processors to the kernel.") var noPin = false
  @Option(help: "The needletail to start; the one beside this program when left out.") var needletail: String?
  @Flag(help: "JSON lines on standard output. The default.") var json = false
  @Option(help: "Write the JSON lines to this file instead.") var out: String?
  @Option(help: "Folder for the store; a temporary one when left out.") var dir: String?

  func validate() throws {
    guard reps >= 1, seconds > 0, seconds <= 600 else { throw ValidationError("--reps or --seconds is out of range") }
    guard (1...1024).contains(connections), (1...1024).contains(window), (16...1 << 20).contains(valueBytes) else {
      throw ValidationError("--connections, --window or --value-bytes is out of range")
    }
    _ = try counts()
    _ = try parsedLayouts()
  }

  private func counts() throws -> [Int] {
    try watchers.split(separator: ",").map { part in
      guard let count = Int(part), (0...1 << 20).contains(count) else {
        throw ValidationError("'\(part)' is no number of watchers")
      }
      return count
    }
  }

  private func parsedLayouts() throws -> [WatchLayout] {
    try layouts.split(separator: ",").map { part in
      guard let layout = WatchLayout(rawValue: String(part)) else { throw ValidationError("'\(part)' is no layout") }
      return layout
    }
  }

  func run() throws {
    let folder = try TemporaryFolder(in: dir)
    defer { folder.remove() }
    let output = try Output(path: out)
    try output.result(Machine.describe(suite: "watch", directory: folder.path))
    let pinning = noPin ? nil : Pinning()
    try pinning?.pinClient()
    let server = try ServerProcess(
      .needletail, program: needletail, folder: folder.path + "/needletail", processors: pinning?.servers)
    defer { server.stop() }
    let pinned = pinning.map { "server on \($0.servers), client on \($0.client)" } ?? "not pinned"
    for repetition in 1...reps {
      for layout in try parsedLayouts() {
        for count in try counts() { try measure(server, layout, count, repetition, pinned, output) }
      }
    }
  }

  private func measure(
    _ server: ServerProcess, _ layout: WatchLayout, _ count: Int, _ repetition: Int, _ pinned: String, _ output: Output
  ) throws {
    let load = try WatchLoad(
      port: server.port, layout: layout, watchers: count, connections: min(connections, count),
      window: window, valueBytes: valueBytes)
    do {
      _ = try load.run(nanoseconds: UInt64(seconds * 1e8))
      let before = try server.processorNanoseconds()
      let result = try load.run(nanoseconds: UInt64(seconds * 1e9))
      let used = try server.processorNanoseconds() - before
      let rate = Double(result.events) * 1e9 / Double(result.nanoseconds)
      let cost = result.events == 0 ? 0 : Double(used) / 1e3 / Double(result.events)
      let putCost = Double(used) / 1e3 / Double(max(1, result.puts))
      let (p50, p99) = (result.latencies.valueAtPercentile(50), result.latencies.valueAtPercentile(99))
      var line = JSONLine()
      line.add("suite", "watch")
      line.add("server", server.name.rawValue)
      line.add("face", server.name.face)
      line.add("test", layout.rawValue)
      line.add("watchers", count)
      line.add("connections", min(connections, count))
      line.add("window", window)
      line.add("value_bytes", valueBytes)
      line.add("rep", repetition)
      line.add("puts", result.puts)
      line.add("events", result.events)
      line.add("events_per_s", figure: rate)
      line.add("p50_us", figure: Double(p50) / 1e3)
      line.add("p99_us", figure: Double(p99) / 1e3)
      line.add("p999_us", figure: Double(result.latencies.valueAtPercentile(99.9)) / 1e3)
      line.add("server_cpu_us_per_event", figure: cost)
      line.add("server_cpu_us_per_put", figure: putCost)
      line.add("config", server.name.configuration + "; " + pinned)
      try output.result(line)
      output.progress(
        padded("\(repetition)/\(reps) \(layout.rawValue) \(count)", -20) + padded(readable(rate), 10)
          + " events/s   p50 \(readable(Double(p50) / 1e3)) µs   p99 \(readable(Double(p99) / 1e3)) µs   server CPU "
          + "\(JSONLine.figure((cost * 1000).rounded() / 1000)) µs an event, \(JSONLine.figure(putCost.rounded())) µs a put"
      )
    } catch {
      throw BenchError("watch, \(layout.rawValue) \(count): \(error)\n\(server.lastWords)")
    }
  }
}
