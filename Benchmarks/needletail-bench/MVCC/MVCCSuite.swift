// The tests: each writes a line of figures and one for eyes.
import Foundation
import NeedletailRPC

enum MVCCTest: String, CaseIterable {
  /// Ranges of 100 and 10,000 keys from a random one on.
  case range100, range10000
  /// One key of all: the count must not cost a walk.
  case limit1
  /// Gets at random revisions of a key that was put 10,000 times.
  case past
  /// All records put once more and compacted, beside gets.
  case compact
  /// From the start of the process to the first answer: after a stop, and after a kill.
  case restart, restartkilled
  /// What the process holds in memory, the mapped file apart.
  case memory

  static let names = allCases.map(\.rawValue).joined(separator: ",")
}

final class MVCCSuite {
  private let records: UInt64
  private let seconds: Double
  private let folder: String
  private let program: String?
  private let processors: String?
  private let output: Output
  private var server: ServerProcess?

  init(records: UInt64, seconds: Double, folder: String, program: String?, processors: String?, output: Output) {
    self.records = records
    self.seconds = seconds
    self.folder = folder
    self.program = program
    self.processors = processors
    self.output = output
  }

  private func running() throws -> ServerProcess {
    if let server { return server }
    let started = try ServerProcess(
      .needletail, program: program, folder: folder + "/needletail", processors: processors)
    server = started
    return started
  }

  func stop() { server?.stop() }

  func load() throws {
    let result = try drive(.put, .everyRecord, connections: 16, depth: 64, seed: 0)
    output.progress("\(result.requests) records loaded")
  }

  private func drive(
    _ test: ServerTest, _ limit: LoadLimit, connections: Int, depth: Int, seed: UInt64
  ) throws -> LoadResult {
    try LoadClient<NativeWire>(
      port: try running().port, connections: connections, depth: depth, records: records, seed: seed
    ).run(test, limit)
  }

  func run(_ test: MVCCTest, _ repetition: Int) throws {
    do {
      switch test {
      case .range100: try ranges(test, 100, repetition)
      case .range10000: try ranges(test, min(10_000, records / 2), repetition)
      case .limit1: try limitOne(repetition)
      case .past: try past(repetition)
      case .compact: try compact(repetition)
      case .restart: try restart(test, killed: false, repetition)
      case .restartkilled: try restart(test, killed: true, repetition)
      case .memory: try memory(repetition)
      }
    } catch {
      throw BenchError("\(test.rawValue): \(error)\n\(server?.lastWords ?? "")")
    }
  }

  // MARK: The tests

  private func ranges(_ test: MVCCTest, _ count: UInt64, _ repetition: Int) throws {
    let caller = try FrameCaller(port: try running().port)
    var rng = Rng(seed: UInt64(repetition))
    var bytes = 0
    let latencies = try measure {
      let id = rng.below(records - count)
      let body = try caller.call(.range, message(key: key(id), end: key(id + count)))
      bytes += body.count
      return try self.count(in: body) == count
    }
    let rate = Double(bytes) / latencies.seconds
    try report(test, repetition, latencies) { $0.add("answer_bytes_per_s", figure: rate) }
  }

  private func limitOne(_ repetition: Int) throws {
    let caller = try FrameCaller(port: try running().port)
    let request = message(key: [0], end: [0]) + [0x18, 1]
    let latencies = try measure { try self.count(in: try caller.call(.range, request)) >= records }
    try report(.limit1, repetition, latencies)
  }

  private func past(_ repetition: Int) throws {
    let caller = try FrameCaller(port: try running().port)
    let name = Array("/history/\(repetition)".utf8)
    let put = message(key: name, end: [UInt8](repeating: 7, count: Record.valueLength))
    let first = try revision(of: try caller.call(.put, put))
    for _ in 0..<100 { try caller.call(.put, (0..<100).map { _ in put }) }
    var rng = Rng(seed: UInt64(repetition))
    let latencies = try measure {
      let wanted = first + rng.below(10_000)
      let body = try caller.call(.range, message(key: name, end: []) + [0x20] + varint(wanted))
      return try modRevision(in: body) == wanted
    }
    try report(.past, repetition, latencies) { $0.add("versions", 10_001) }
  }

  /// The p99 of gets beside a removal against that of the same gets before it.
  private func compact(_ repetition: Int) throws {
    _ = try drive(.put, .everyRecord, connections: 16, depth: 64, seed: UInt64(repetition))
    let port = try running().port
    let caller = try FrameCaller(port: port)
    let length = LoadLimit.duration(nanoseconds: 250_000_000)
    var (quiet, busy): ([Double], [Double]) = ([], [])
    for slice in 0..<max(4, Int(seconds * 4)) {
      let result = try drive(.get, length, connections: 8, depth: 1, seed: UInt64(slice))
      if slice > 0 { quiet.append(Double(result.latencies.valueAtPercentile(99)) / 1e3) }
    }
    let newest = try revision(of: try caller.call(.range, message(key: [1], end: [])))
    let removal = Removal()
    let started = nanoseconds()
    let request = [0x08] + varint(newest) + [0x10, 1]
    let thread = Thread {
      // Answered when all is removed and durable.
      let outcome = Result { try FrameCaller(port: port).call(.compact, request).count }
      removal.end(outcome.map { _ in nanoseconds() &- started })
    }
    thread.start()
    while removal.outcome == nil {
      let result = try drive(.get, length, connections: 8, depth: 1, seed: UInt64(busy.count + 100))
      busy.append(Double(result.latencies.valueAtPercentile(99)) / 1e3)
    }
    // A slice that began before the end may have run on behind it.
    if busy.count > 1 { busy.removeLast() }
    let took = Double(try removal.outcome?.get() ?? 0) / 1e9
    var line = begin(.compact, repetition)
    line.add("removal_s", figure: took)
    line.add("p99_us_without", figure: median(quiet))
    line.add("p99_us", figure: median(busy))
    line.add("p99_ratio", figure: median(busy) / median(quiet))
    try output.result(line)
    output.progress(
      "\(repetition) compact        removed in \(JSONLine.figure(took)) s; p99 of gets "
        + "\(readable(median(quiet))) µs without, \(readable(median(busy))) µs beside it")
  }

  private func restart(_ test: MVCCTest, killed: Bool, _ repetition: Int) throws {
    let old = try running()
    if killed { old.kill() } else { old.stop() }
    server = nil
    let started = nanoseconds()
    let caller = try FrameCaller(port: try running().port)
    let body = try caller.call(.range, message(key: key(records / 2), end: []))
    let took = Double(nanoseconds() &- started) / 1e6
    guard try count(in: body) == 1 else { throw BenchError("the record is not there") }
    var line = begin(test, repetition)
    line.add("first_answer_ms", figure: took)
    try output.result(line)
    output.progress("\(repetition) " + padded(test.rawValue, -15) + "first answer after \(JSONLine.figure(took)) ms")
  }

  private func memory(_ repetition: Int) throws {
    let path = "/proc/\(try running().processIdentifier)/status"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    func bytes(_ field: String) throws -> Int {
      guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(field + ":") }),
        let kilobytes = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({ Int($0) })
      else { throw BenchError("no \(field) in \(path)") }
      return kilobytes << 10
    }
    var line = begin(.memory, repetition)
    let (own, all) = (try bytes("RssAnon"), try bytes("VmRSS"))
    line.add("rss_anonymous_bytes", own)
    line.add("rss_bytes", all)
    try output.result(line)
    output.progress("\(repetition) memory         \(own >> 20) MiB of its own, \(all >> 20) MiB with the mapped file")
  }

  // MARK: Measuring

  private struct Timed {
    var latencies = makeLatencies()
    var requests = 0
    var seconds = 0.0
  }

  /// Calls again and again until time is over; a tenth of it before, not counted. `call` says whether the answer is right.
  private func measure(_ call: () throws -> Bool) throws -> Timed {
    var timed = Timed()
    for (length, counts) in [(seconds / 10, false), (seconds, true)] {
      let started = nanoseconds()
      var now = started
      repeat {
        guard try call() else { throw BenchError("a wrong answer") }
        let end = nanoseconds()
        if counts {
          _ = timed.latencies.record(end &- now)
          timed.requests += 1
        }
        now = end
      } while Double(now &- started) < length * 1e9
      timed.seconds = Double(now &- started) / 1e9
    }
    return timed
  }

  private func begin(_ test: MVCCTest, _ repetition: Int) -> JSONLine {
    var line = JSONLine()
    line.add("suite", "mvcc")
    line.add("server", ServerName.needletail.rawValue)
    line.add("face", ServerName.needletail.face)
    line.add("test", test.rawValue)
    line.add("n", Int(records))
    line.add("rep", repetition)
    line.add("config", ServerName.needletail.configuration)
    return line
  }

  private func report(
    _ test: MVCCTest, _ repetition: Int, _ timed: Timed, _ more: (inout JSONLine) -> Void = { _ in }
  ) throws {
    let rate = Double(timed.requests) / timed.seconds
    let (p50, p99) = (timed.latencies.valueAtPercentile(50), timed.latencies.valueAtPercentile(99))
    var line = begin(test, repetition)
    line.add("requests", timed.requests)
    line.add("requests_per_s", figure: rate)
    line.add("p50_us", figure: Double(p50) / 1e3)
    line.add("p99_us", figure: Double(p99) / 1e3)
    more(&line)
    try output.result(line)
    output.progress(
      "\(repetition) " + padded(test.rawValue, -15) + padded(readable(rate), 8) + " requests/s   p50 "
        + "\(readable(Double(p50) / 1e3)) µs   p99 \(readable(Double(p99) / 1e3)) µs")
  }

  // MARK: Bytes

  private func key(_ id: UInt64) -> [UInt8] {
    var key = [UInt8](repeating: 0, count: Record.keyLength)
    key.withUnsafeMutableBytes { if let start = $0.baseAddress { Record.writeKey(number: 2 * id, to: start) } }
    return key
  }

  /// Fields 1 and 2, both bytes: a range's key and end, or a put's key and value.
  private func message(key: [UInt8], end: [UInt8]) -> [UInt8] {
    var body = [0x0A] + varint(UInt64(key.count)) + key
    if !end.isEmpty { body += [0x12] + varint(UInt64(end.count)) + end }
    return body
  }

  private func varint(_ number: UInt64) -> [UInt8] {
    var (rest, bytes): (UInt64, [UInt8]) = (number, [])
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  /// RangeResponse's count (4), which stands behind all pairs.
  private func count(in body: ArraySlice<UInt8>) throws -> UInt64 {
    try body.withUnsafeBytes { bytes in
      var reader = ProtoReader(bytes)
      var count: UInt64 = 0
      while let tag = try reader.nextTag() {
        if tag.field == 4 { count = try reader.uint64(tag) } else { try reader.skip(tag) }
      }
      return count
    }
  }

  private func revision(of body: ArraySlice<UInt8>) throws -> UInt64 {
    try body.withUnsafeBytes { bytes in
      var reader = ProtoReader(bytes)
      while let tag = try reader.nextTag() {
        if tag.field == 1 { return UInt64(clamping: try ResponseHeader(reader.bytes(tag)).revision) }
        try reader.skip(tag)
      }
      throw BenchError("an answer without a header")
    }
  }

  private func modRevision(in body: ArraySlice<UInt8>) throws -> UInt64 {
    let answer = try body.withUnsafeBytes { try RangeResponse($0) }
    return UInt64(clamping: answer.kvs.first?.modRevision ?? 0)
  }
}

/// What became of a compaction on another thread.
private final class Removal: @unchecked Sendable {
  private let lock = NSLock()
  private var result: Result<UInt64, any Error>?

  func end(_ outcome: Result<UInt64, any Error>) {
    lock.lock()
    result = outcome
    lock.unlock()
  }

  var outcome: Result<UInt64, any Error>? {
    lock.lock()
    defer { lock.unlock() }
    return result
  }
}
