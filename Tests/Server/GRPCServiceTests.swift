// gRPC's own services, and what etcd's flags say of its connections.
import Foundation
import NeedletailBytes
import NeedletailRPC
import Testing

@testable import NeedletailServer

@Suite(.serialized) struct GRPCServiceTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]
  private static let watchHealth = "/grpc.health.v1.Health/Watch"

  // MARK: - Health

  private func alarm(_ action: AlarmRequestView.Action, _ kind: Int32, _ server: RunningServer) throws {
    let member = AlarmMember(memberID: server.node.store.identity.memberID, alarm: kind)
    let answer = try GRPCSocket(server).call(
      "/etcdserverpb.Maintenance/Alarm", AlarmRequestView(action, member).encoded())
    #expect(answer.status == 0)
  }

  @Test(arguments: kinds) func healthIsWatched(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let client = try GRPCSocket(server)
    // The client has sent its last, or has not: it hears on.
    let whole = try client.open(Self.watchHealth, [])
    let open = try client.open(Self.watchHealth, [], isEnd: false)
    let unknown = try client.open(Self.watchHealth, [10, 1, 120])
    #expect(try client.messages(whole, 1) == [[8, 1]])
    #expect(try client.messages(open, 1) == [[8, 1]])
    #expect(try client.messages(unknown, 1) == [[8, 3]])
    var told: [[UInt8]] = [[8, 1]]
    for kind in [Int32(1), 2] {
      try alarm(.activate, kind, server)
      told.append([8, 2])
      #expect(try client.messages(whole, told.count) == told)
      #expect(try client.call("/grpc.health.v1.Health/Check", []).messages == [[8, 2]])
      try alarm(.deactivate, kind, server)
      told.append([8, 1])
      #expect(try client.messages(whole, told.count) == told)
    }
    #expect(try client.messages(open, told.count) == told)
    #expect(client.answers[unknown]?.messages == [[8, 3]])
    server.stop()
    let end = try client.answer(whole)
    #expect(end.messages.last == [8, 2] && end.status == 14)
    // Without a message, or with none that is one.
    let again = try RunningServer(kind)
    defer { again.stop() }
    let other = try GRPCSocket(again)
    #expect(try other.answer(other.open(Self.watchHealth)).text == "EOF")
    #expect(try other.call(Self.watchHealth, [10, 9]).status == 3)
  }

  // MARK: - Reflection

  private func reflection(_ version: String) -> String {
    "/grpc.reflection.\(version).ServerReflection/ServerReflectionInfo"
  }

  private func asking(_ field: UInt8, _ text: String) -> [UInt8] {
    [field << 3 | 2, UInt8(text.utf8.count)] + Array(text.utf8)
  }

  /// Fields of a message that are messages or text, by number.
  private func fields(_ body: [UInt8]) throws -> [Int: [[UInt8]]] {
    try body.withUnsafeBytes { bytes in
      var found: [Int: [[UInt8]]] = [:]
      var reader = ProtoReader(bytes)
      while let tag = try reader.nextTag() {
        if tag.wireType == .bytes {
          found[tag.field, default: []].append(Array(try reader.bytes(tag)))
        } else {
          try reader.skip(tag)
        }
      }
      return found
    }
  }

  private func text(_ bytes: [UInt8]?) -> String { String(decoding: bytes ?? [], as: UTF8.self) }

  @Test(arguments: ["v1", "v1alpha"]) func reflectionTellsOfEveryCall(_ version: String) throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let stream = try client.open(reflection(version), asking(7, "*"), isEnd: false)
    let list = try fields(client.messages(stream, 1)[0])
    #expect(list[2] == [asking(7, "*")])
    let services = try fields(try #require(list[6]?.first))[1]?.map { text(try fields($0)[1]?.first) }
    #expect(services == Set(RPC.allCases.map(\.service)).sorted())
    // Every call of the table, as a symbol: its file comes first, and all that it imports.
    for (i, rpc) in RPC.allCases.enumerated() {
      try client.message(stream, asking(4, "\(rpc.service).\(rpc.name)"))
      let answer = try fields(client.messages(stream, i + 2)[i + 1])
      let files = try fields(try #require(answer[4]?.first, "\(rpc)"))[1] ?? []
      let described = try files.map { try fields($0) }
      let names = Set(described.map { text($0[1]?.first) })
      #expect(text(described.first?[2]?.first) == rpc.service.split(separator: ".").dropLast().joined(separator: "."))
      for file in described { #expect((file[3] ?? []).allSatisfy { names.contains(text($0)) }) }
    }
    try client.socket.send(client.data(stream, [], isEnd: true))
    #expect(try client.answer(stream).status == 0)
  }

  @Test func whatReflectionDoesNotKnow() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let stream = try client.open(reflection("v1"), asking(3, "rpc.proto"), isEnd: false)
    #expect(try fields(client.messages(stream, 1)[0])[4]?.count == 1)
    let missing: [[UInt8]] = [
      asking(3, "nope.proto"), asking(4, "nope"), asking(4, ""), [5 << 3 | 2, 0], asking(6, "etcdserverpb.KV"),
    ]
    for (i, request) in missing.enumerated() {
      try client.message(stream, asking(1, "host") + request)
      let answer = try fields(client.messages(stream, i + 2)[i + 1])
      #expect(answer[7] != nil && text(answer[1]?.first) == "host", "\(request)")
    }
    for name in ["etcdserverpb.Compare.CompareResult", "etcdserverpb.Compare.EQUAL", "mvccpb.KeyValue.lease"] {
      #expect(try fields(client.messages(try client.open(reflection("v1"), asking(4, name)), 1)[0])[4] != nil)
    }
    #expect(try fields(client.call(reflection("v1"), asking(6, "mvccpb.KeyValue")).messages[0])[5] != nil)
    #expect(try client.call(reflection("v1"), []).status == 3)
    #expect(try client.call(reflection("v1"), [26, 9]).status == 3)
  }

  /// A client that asks and takes nothing: what waits for it is bounded, and it gets all of it in the end.
  @Test(arguments: kinds) func answersThatNobodyTakesAreBounded(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let client = try GRPCSocket(server, window: 0)
    let question = grpcMessage(asking(3, "rpc.proto"))
    let id = try client.open(reflection("v1"), asking(3, "rpc.proto"), isEnd: false)
    let size = try GRPCSocket(server).call(reflection("v1"), asking(3, "rpc.proto")).data.count
    let count = (8 << 20) / size
    let before = server.metrics.reduce(0) { $0 + $1.messageBytesSent }
    try client.socket.send(client.data(id, (0..<count).flatMap { _ in question }, isEnd: true))
    // Answered behind all of that, on a connection of its own reactor's: it has been looked at.
    try client.send(HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: 0, count: 8)))
    while client.pongs == 0, try client.step() != nil {}
    let held = Int(server.metrics.reduce(0) { $0 + $1.messageBytesSent } - before)
    #expect(held > HTTP2Limits().heldBytes / 2 && held < HTTP2Limits().heldBytes + 2 * size, "\(held)")
    try client.open(window: 1 << 30, id)
    let answer = try client.answer(id)
    #expect(answer.status == 0 && answer.data.count == (count + 1) * size)
  }

  // MARK: - Limits

  @Test func messagesAreAsLargeAsTheFlagSays() throws {
    var limits = HTTP2Limits()
    limits.messageBytes = 1_000
    let server = try RunningServer(.auto, http2: limits)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let large = try client.call(GRPCPath.put, [UInt8](repeating: 1, count: 1_001))
    #expect(large.status == 8 && large.text == "grpc: received message larger than max (1001 vs. 1000)")
    #expect(try client.call(GRPCPath.put, putBody("k", [UInt8](repeating: 1, count: 900))).status == 0)
  }

  /// The server pings who is quiet, and lets go of who does not answer; who answers stays.
  @Test(arguments: kinds) func quietClientsArePinged(_ kind: ReactorKind) throws {
    var limits = HTTP2Limits()
    limits.keepAlive_ms = 100
    // Long enough for a client that the machine lets wait.
    limits.keepAliveAnswer_ms = 3_000
    let server = try RunningServer(kind, http2: limits)
    defer { server.stop() }
    let silent = try GRPCSocket(server)
    #expect(try silent.call(GRPCPath.put, putBody("k", [1])).status == 0)
    var pings = 0
    while let frame = try silent.step() { if frame.kind == HTTP2Frame.Kind.ping { pings += 1 } }
    #expect(pings == 1)
    let honest = try GRPCSocket(server)
    #expect(try honest.call(GRPCPath.range, rangeBody("k")).status == 0)
    for _ in 0..<3 {
      let frame = try #require(try honest.step())
      #expect(frame.kind == HTTP2Frame.Kind.ping && frame.flags == 0)
      try honest.send(HTTP2Frame(kind: HTTP2Frame.Kind.ping, flags: 1, payload: frame.payload))
    }
    #expect(try honest.call(GRPCPath.range, rangeBody("k")).status == 0)
  }

  @Test func pingsAsOftenAsTheFlagAllows() throws {
    var limits = HTTP2Limits()
    limits.pingInterval_ms = 0
    limits.streams = 3
    let server = try RunningServer(.auto, http2: limits)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    #expect(try client.call(GRPCPath.range, rangeBody("k")).status == 0)
    // With a stream open any number of pings is fine; without, they have no reason.
    let watch = try client.open(Self.watchHealth, [])
    _ = try client.messages(watch, 1)
    let ping = HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: 0, count: 8))
    for _ in 0..<20 { try client.send(ping) }
    while client.pongs < 20, try client.step() != nil {}
    #expect(client.pongs == 20 && client.goAway == nil)
    try client.send(HTTP2Frame(kind: HTTP2Frame.Kind.reset, stream: watch, payload: bigEndian(8)))
    for _ in 0..<20 { try? client.send(ping) }
    try client.drain()
    #expect(client.goAway?.text == "too_many_pings")
    // Streams beyond the limit that the client was told.
    let greedy = try GRPCSocket(server)
    #expect(try greedy.call(GRPCPath.range, rangeBody("k")).status == 0)
    for _ in 0..<4 { try greedy.open(GRPCPath.put, nil, isEnd: false) }
    try greedy.drain()
    #expect(greedy.goAway?.code == 1)
  }

  /// etcd's counters of bytes are of gRPC's messages: what other faces send and receive is not among them.
  @Test func bytesOfMessagesAreCounted() throws {
    let server = try RunningServer(.auto, reactors: 1)
    defer { server.stop() }
    func counted() -> [UInt64] { [server.metrics[0].messageBytesReceived, server.metrics[0].messageBytesSent] }
    let native = try PlainSocket(server.port)
    try native.send(preface + frame(.put, putBody("native", [UInt8](repeating: 1, count: 5_000)), stream: 1))
    _ = try native.frame()
    _ = try native.frame()
    let put = putBody("k", [UInt8](repeating: 1, count: 1_000))
    #expect(counted() == [0, 0])
    let client = try GRPCSocket(server)
    var expected = [0, 0]
    for (path, body) in [(GRPCPath.put, put), (GRPCPath.range, rangeBody("k")), (GRPCPath.rangeStream, rangeBody("k"))]
    {
      let answer = try client.call(path, body)
      expected[0] += body.count
      expected[1] += answer.messages.reduce(0) { $0 + $1.count }
    }
    // Counted at the end of the batch that the answer left with: one more turn, and it is.
    _ = try client.call(GRPCPath.range, [0x0a, 0x7f])
    #expect(counted() == [UInt64(expected[0] + 2), UInt64(expected[1])])
  }
}
