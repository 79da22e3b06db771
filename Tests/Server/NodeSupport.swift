// What the tests of a node share: a directory, a sink that remembers answers, and blocking calls.
import Foundation
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import NeedletailWAL
import Testing

typealias Bytes = [UInt8]

struct NodeAnswer: Sendable, Equatable {
  var status: UInt32
  var body: Bytes
  var text: String { String(decoding: body, as: UTF8.self) }
}

/// Sendable: guarded by its monitor. An answer that comes twice is recorded as a failure.
final class AnswerBox: ReplySink, @unchecked Sendable {
  private let monitor = Monitor()
  private var answers: [UInt32: NodeAnswer] = [:]
  private var duplicates = 0
  private var nextStream: UInt32 = 0
  /// Who takes messages on streams.
  let streams = WatchBox()

  func deliver(_ delivery: StreamDelivery, to reactor: UInt16) { streams.deliver(delivery) }

  func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer) {
    let answer = NodeAnswer(status: status, body: Bytes(body))
    monitor.locked {
      if answers.updateValue(answer, forKey: address.stream) != nil { duplicates += 1 }
      monitor.signal()
    }
  }

  func address() -> ReplyAddress {
    let stream = monitor.locked {
      nextStream += 1
      return nextStream
    }
    return ReplyAddress(reactor: 0, method: 2, slot: 0, generation: 0, stream: stream, startedAt_ns: 0)
  }

  /// Nil when no answer comes in time.
  func wait(for address: ReplyAddress, seconds: Double = 20) -> NodeAnswer? {
    let deadline = Date().addingTimeInterval(seconds)
    return monitor.locked {
      while answers[address.stream] == nil, Date() < deadline { monitor.wait(atMost_ms: 100) }
      return answers[address.stream]
    }
  }

  var count: Int { monitor.locked { answers.count } }
  var duplicateCount: Int { monitor.locked { duplicates } }
}

/// Remembers what the latch said.
final class FailureBox: @unchecked Sendable {
  private let monitor = Monitor()
  private var reasons: [String] = []

  func note(_ reason: String) {
    monitor.locked {
      reasons.append(reason)
      monitor.signal()
    }
  }

  func wait(seconds: Double = 10) -> [String] {
    let deadline = Date().addingTimeInterval(seconds)
    return monitor.locked {
      while reasons.isEmpty, Date() < deadline { monitor.wait(atMost_ms: 100) }
      return reasons
    }
  }

  var all: [String] { monitor.locked { reasons } }
}

final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("node-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A running node with blocking calls.
final class RunningNode {
  let node: Node
  let sink = AnswerBox()
  let failures = FailureBox()

  static let quiet: Logger = {
    var logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    logger.logLevel = .critical
    return logger
  }()

  static func options(_ path: String) -> NodeOptions {
    var options = NodeOptions(dataDirectory: path)
    options.log.segmentSize = 1 << 20
    options.log.groupSize = 256 << 10
    return options
  }

  init(_ path: String, _ adjust: (inout NodeOptions) -> Void = { _ in }) throws {
    var options = RunningNode.options(path)
    adjust(&options)
    let failures = failures
    node = try Node(options, sink: sink, logger: RunningNode.quiet) { failures.note($0) }
    try node.start()
  }

  // They hold the node's server, which holds the sink.
  deinit {
    sink.streams.onDrained = nil
    sink.streams.onItem = nil
  }

  /// What a crash now would leave of `path`, as `copy`. Nothing checkpoints meanwhile; but a start removes the log's old
  /// segments bit by bit beside the work, and a file that goes between being seen and being copied means once more.
  static func copyRunning(_ path: String, to copy: String) throws {
    for attempt in 1... {
      do { return try FileManager.default.copyItem(atPath: path, toPath: copy) } catch {
        guard attempt < 50 else { throw error }
        try? FileManager.default.removeItem(atPath: copy)
        usleep(10_000)
      }
    }
  }

  func propose(put key: Bytes, _ value: Bytes, prevKV: Bool = false, lease: Int64 = 0) throws -> ReplyAddress {
    let address = sink.address()
    let body = key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        var request = PutRequestView()
        request.key = key
        request.value = value
        request.prevKV = prevKV
        request.lease = lease
        return request.encoded()
      }
    }
    try RunningNode.call(body) { (body) throws(StatusError) in try node.server.put(body, reply: address) }
    return address
  }

  func put(_ key: Bytes, _ value: Bytes, prevKV: Bool = false) throws -> PutResponse {
    let answer = try #require(sink.wait(for: try propose(put: key, value, prevKV: prevKV)))
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try PutResponse($0) }
  }

  func delete(_ key: Bytes, _ end: Bytes = [], prevKV: Bool = false) throws -> DeleteRangeResponse {
    let address = sink.address()
    let body = key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        var request = DeleteRangeRequestView()
        request.key = key
        request.rangeEnd = end
        request.prevKV = prevKV
        return request.encoded()
      }
    }
    try RunningNode.call(body) { (body) throws(StatusError) in try node.server.deleteRange(body, reply: address) }
    let answer = try #require(sink.wait(for: address))
    try #require(answer.status == 0, "\(answer.text)")
    return try answer.body.withUnsafeBytes { try DeleteRangeResponse($0) }
  }

  func range(_ key: Bytes, _ end: Bytes = [], _ adjust: (inout RangeRequestView) -> Void = { _ in }) throws
    -> RangeResponse
  {
    let reader = try node.server.makeReader()
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    try key.withUnsafeBytes { key in
      try end.withUnsafeBytes { end in
        var request = RangeRequestView()
        request.key = key
        request.rangeEnd = end
        adjust(&request)
        do { try node.server.range(view, request, into: &out) } catch let error as StatusError
          where error == KVServer.largeAnswer
        {
          let stream = try node.server.rangeStream(request, .measured)
          while try !stream.measure(entriesMax: 100) {}
          while try !stream.write(into: &out, bytesMax: 1000) {}
          #expect(out.count == stream.size)
        }
      }
    }
    return try RangeResponse(out.bytes)
  }

  /// Everything the store holds.
  func everything() throws -> [Bytes: Bytes] {
    let answer = try range([0], [0])
    return Dictionary(uniqueKeysWithValues: answer.kvs.map { ($0.key, $0.value) })
  }

  static func call(_ body: Bytes, _ run: (UnsafeRawBufferPointer) throws(StatusError) -> Void) throws {
    try body.withUnsafeBytes { try run($0) }
  }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z &>> 31)
  }

  /// NEEDLETAIL_SEED replays a run.
  static func seed(_ name: String) -> UInt64 {
    let given = ProcessInfo.processInfo.environment["NEEDLETAIL_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
    print("\(name): NEEDLETAIL_SEED=\(seed)")
    return seed
  }
}
