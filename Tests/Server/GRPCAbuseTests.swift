// What no honest client sends over HTTP/2: floods, bombs, garbage. The connection that did it ends or is held up; memory is
// bounded; others notice nothing.
import Foundation
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.serialized) struct GRPCAbuseTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]

  /// Sends as much as goes, and takes in what comes until the server closes.
  private func pour(_ client: GRPCSocket, _ bytes: [UInt8], times: Int) throws {
    for _ in 0..<times {
      do { try client.socket.send(bytes) } catch { break }
    }
    try client.drain()
  }

  private func residentBytes() throws -> Int {
    let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
    return (Int(text.split(separator: " ")[1]) ?? 0) * 4096
  }

  @Test(arguments: kinds) func floodsEndTheirConnectionAlone(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let bystander = try GRPCSocket(server)
    #expect(try bystander.call(GRPCPath.put, putBody("k", [1])).status == 0)
    let before = try residentBytes()
    let ping = HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: 0, count: 8)).bytes
    let settings = HTTP2Frame(kind: HTTP2Frame.Kind.settings).bytes
    let head = HTTP2Frame(kind: HTTP2Frame.Kind.headers, flags: 0, stream: 1, payload: grpcHead(GRPCPath.range)).bytes
    let more = HTTP2Frame(kind: HTTP2Frame.Kind.continuation, flags: 0, stream: 1, payload: literal("a", "b")).bytes
    let floods: [(String, [UInt8], UInt32?)] = [
      ("pings", (0..<5_000).flatMap { _ in ping }, 11),
      ("settings", (0..<5_000).flatMap { _ in settings }, 11),
      ("continuations", head + (0..<5_000).flatMap { _ in more }, nil),
    ]
    for (name, bytes, code) in floods {
      let client = try GRPCSocket(server)
      try pour(client, bytes, times: 20)
      if let code { #expect(client.goAway?.code == code, "\(name)") }
      #expect(try bystander.call(GRPCPath.range, rangeBody("k")).status == 0, "\(name)")
    }
    // Streams that are opened and reset at once.
    let rapid = try GRPCSocket(server)
    var bytes: [UInt8] = []
    for i in 0..<20_000 {
      let id = UInt32(2 * i + 1)
      bytes += rapid.request(id, GRPCPath.put, putBody("k", [1]))
      bytes += HTTP2Frame(kind: HTTP2Frame.Kind.reset, stream: id, payload: bigEndian(8)).bytes
    }
    try pour(rapid, bytes, times: 1)
    #expect(rapid.goAway != nil)
    #expect(try bystander.call(GRPCPath.range, rangeBody("k")).status == 0)
    #expect(try residentBytes() - before < 200 << 20)
  }

  @Test func pingsAmidWorkAreFine() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    for i in 0..<20 {
      try client.send(HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: UInt8(i), count: 8)))
      #expect(try client.call(GRPCPath.range, rangeBody("k")).status == 0)
    }
    #expect(client.pongs == 20 && client.goAway == nil)
    // With nothing in between, the fourth is too much.
    for _ in 0..<6 {
      try? client.send(HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: 0, count: 8)))
    }
    try client.drain()
    #expect(client.goAway?.code == 11 && client.goAway?.text == "too_many_pings")
  }

  @Test func headsAreBounded() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let long = String(repeating: "x", count: 4_000)
    let fine = try client.answer(
      client.open(GRPCPath.range, rangeBody("k"), [("a", long), ("b", long), ("c", long)]))
    #expect(fine.status == 0)
    // Fits its frames, but is more than 16 KiB when unpacked: one field in HPACK's table, named again and again.
    let stored: [UInt8] = [0x40, 1, 97] + literal("", long).dropFirst(2)
    let bomb = grpcHead(GRPCPath.range) + stored + [UInt8](repeating: 0xbe, count: 10_000)
    try client.send(HTTP2Frame(kind: HTTP2Frame.Kind.headers, flags: 5, stream: 101, payload: bomb))
    let refused = try client.answer(101)
    #expect(refused.fields[":status"] == "431" || refused.resetCode != nil)
    try client.socket.send(client.request(103, GRPCPath.range, rangeBody("k")))
    #expect(try client.answer(103).status == 0)
  }

  /// More unfinished requests than a connection may hold: those beyond are refused.
  @Test func unfinishedRequestsAreBounded() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let part = grpcMessage([UInt8](repeating: 1, count: 2 << 20)).dropLast(1_000)
    let ids = try (0..<20).map { _ in try client.open(GRPCPath.put, nil, isEnd: false) }
    for id in ids { try client.socket.send(client.data(id, Array(part), isEnd: false)) }
    let answer = try client.answer(try #require(ids.last))
    #expect(answer.status == 8 && answer.text == "needletail: too many unfinished requests")
    #expect(try GRPCSocket(server).call(GRPCPath.range, rangeBody("k")).status == 0)
  }

  @Test func moreStreamsThanThereMayBeAreRefused() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    // Our acknowledgement of the limit must be there first.
    #expect(try client.call(GRPCPath.range, rangeBody("k")).status == 0)
    let ids = try (0..<300).map { _ in try client.open(GRPCPath.put, nil, isEnd: false) }
    // It had been told, and said so: a protocol error.
    try client.drain()
    #expect(client.goAway?.code == 1 && ids.count > 256)
    let honest = try GRPCSocket(server)
    #expect(try honest.call(GRPCPath.range, rangeBody("k")).status == 0)
    let all = try (0..<256).map { _ in try honest.open(GRPCPath.put, nil, isEnd: false) }
    for id in all { try honest.socket.send(honest.data(id, grpcMessage(putBody("k", [1])), isEnd: true)) }
    for id in all { #expect(try honest.answer(id).status == 0) }
  }

  /// Random frames, random bytes, real requests cut and changed: seeded, so that what fails can be run again.
  @Test(arguments: kinds) func fuzz(_ kind: ReactorKind) throws {
    let environment = ProcessInfo.processInfo.environment
    let seed = SeededGenerator.seed("gRPC fuzz")
    let rounds = environment["NEEDLETAIL_SEEDS"].flatMap(Int.init).map { $0 * 20 } ?? 200
    var random = SeededGenerator(seed)
    let server = try RunningServer(kind)
    defer { server.stop() }
    for _ in 0..<rounds {
      let client = try GRPCSocket(server)
      var bytes: [UInt8] = []
      for i in 0..<Int.random(in: 1...30, using: &random) {
        bytes += fuzzed(client, UInt32(2 * i + 1), &random)
      }
      for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      try? client.socket.send(bytes)
      client.socket.finishSending()
      try client.drain()
    }
    #expect(try GRPCSocket(server).call(GRPCPath.put, putBody("k", [1])).status == 0, "seed \(seed)")
    #expect(server.hasReaders(0))
    #expect(server.node.watch.figures.watchers.load(ordering: .relaxed) == 0)
  }

  private func fuzzed(_ client: GRPCSocket, _ id: UInt32, _ random: inout SeededGenerator) -> [UInt8] {
    let paths = [
      GRPCPath.range, GRPCPath.put, GRPCPath.watch, GRPCPath.keepAlive, GRPCPath.rangeStream, GRPCPath.snapshot,
      GRPCPath.lock, "/x",
    ]
    let noise = (0..<Int.random(in: 0...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
    let bodies = [noise, putBody("fuzz", noise), rangeBody("fuzz"), SeenWatch(key: [0], end: [0], start: 1).request]
    let body = bodies.randomElement(using: &random) ?? []
    switch Int.random(in: 0..<6, using: &random) {
    case 0:
      return HTTP2Frame(
        kind: UInt8.random(in: 0...10, using: &random), flags: UInt8.random(in: 0...255, using: &random),
        stream: UInt32.random(in: 0...20, using: &random), payload: noise
      ).bytes
    case 1:
      let more = [("grpc-encoding", "gzip"), ("grpc-timeout", "\(Int.random(in: 0...99, using: &random))m")]
      return client.request(id, paths.randomElement(using: &random) ?? "", body, more, packed: true)
    case 2:
      return client.request(id, paths.randomElement(using: &random) ?? "", body)
        + HTTP2Frame(kind: HTTP2Frame.Kind.reset, stream: id, payload: bigEndian(8)).bytes
    case 3:
      return client.request(id, paths.randomElement(using: &random) ?? "", body, isEnd: false)
        + client.data(id, noise, isEnd: Bool.random(using: &random))
    default:
      return client.request(id, paths.randomElement(using: &random) ?? "", body)
    }
  }
}
