// The gRPC face over real sockets: calls, their errors, streams, and answers larger than windows.
import Foundation
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import NeedletailSnapshot
import Testing

@Suite(.serialized) struct GRPCFaceTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]

  private func range(_ body: [UInt8]) throws -> RangeResponse { try body.withUnsafeBytes { try RangeResponse($0) } }
  private func watched(_ body: [UInt8]) throws -> WatchResponse { try body.withUnsafeBytes { try WatchResponse($0) } }

  private func rangesBody(_ key: String, end: String, limit: Int64 = 0) -> [UInt8] {
    Array(key.utf8).withUnsafeBytes { key in
      Array(end.utf8).withUnsafeBytes { end in
        var request = RangeRequestView()
        request.key = key
        request.rangeEnd = end
        request.limit = limit
        return request.encoded()
      }
    }
  }

  @Test(arguments: kinds) func aWriteIsReadBackWhicheverWayItIsCut(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let probe = try GRPCSocket(server)
    let put = probe.request(1, GRPCPath.put, putBody("key", [1, 2, 3]))
    let settings = HTTP2Frame(kind: HTTP2Frame.Kind.settings).bytes
    for cut in stride(from: 1, to: GRPCSocket.preface.count + settings.count + put.count, by: 7) {
      let client = try GRPCSocket(server)
      let bytes = client.request(1, GRPCPath.put, putBody("key", [1, 2, UInt8(truncatingIfNeeded: cut)]))
      let at = min(cut, bytes.count)
      try client.socket.send(Array(bytes[..<at]))
      if cut % 3 == 0 { usleep(300) }
      try client.socket.send(Array(bytes[at...]))
      let answer = try client.answer(1)
      #expect(answer.status == 0 && answer.messages.count == 1 && answer.fields[":status"] == "200")
      #expect(answer.fields["content-type"] == "application/grpc")
      try client.socket.send(client.request(3, GRPCPath.range, rangeBody("key")))
      let read = try client.answer(3)
      #expect(read.status == 0)
      #expect(try range(read.messages[0]).kvs.first?.value == [1, 2, UInt8(truncatingIfNeeded: cut)])
    }
  }

  @Test(arguments: kinds) func manyStreamsAtATime(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    for i in 0..<200 { try client.open(GRPCPath.put, putBody("k\(i)", [UInt8(i)])) }
    for i in 0..<200 { #expect(try client.answer(UInt32(2 * i + 1)).status == 0) }
    let ids = try (0..<200).map { try client.open(GRPCPath.range, rangeBody("k\($0)")) }
    for (i, id) in ids.enumerated() {
      #expect(try range(try client.answer(id).messages[0]).kvs.first?.value == [UInt8(i)])
    }
  }

  @Test func errorsHaveGRPCsCodesAndEtcdsTexts() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let large = [UInt8](repeating: 7, count: 1_700_000)
    let cases: [(String, [UInt8], Int, String)] = [
      (GRPCPath.range, [], 3, "etcdserver: key is not provided"),
      (GRPCPath.put, putBody("", [1]), 3, "etcdserver: key is not provided"),
      (GRPCPath.put, putBody("k", large), 3, "etcdserver: request is too large"),
      (GRPCPath.put, putBody("", large), 3, "etcdserver: key is not provided"),
      (
        GRPCPath.put, [UInt8](repeating: 1, count: 3 << 20), 8,
        "grpc: received message larger than max (3145728 vs. 2097152)"
      ),
      (GRPCPath.range, [0x0a, 0x7f], 3, "needletail: malformed RangeRequest: message ends inside a field"),
      ("/etcdserverpb.KV/Nope", [], 12, "unknown method Nope for service etcdserverpb.KV"),
      ("/nope.Nope/Nope", [], 12, "unknown service nope.Nope"),
      ("/nope", [], 12, "malformed method name: \"/nope\""),
    ]
    for (path, body, code, text) in cases {
      let answer = try client.call(path, body)
      #expect(answer.status == code && answer.text == text && answer.messages.isEmpty, "\(path)")
    }
    // Told apart: nothing, a part of a message, one that is packed though nobody said so.
    let empty = try client.answer(client.open(GRPCPath.range))
    #expect(empty.status == 2 && empty.text == "EOF")
    let id = try client.open(GRPCPath.range, nil, isEnd: false)
    try client.socket.send(client.data(id, [0, 0, 0, 0, 9, 1], isEnd: true))
    #expect(try client.answer(id).text == "unexpected EOF")
    #expect(try client.answer(client.open(GRPCPath.range, [1], packed: true)).status == 13)
    #expect(try client.answer(client.open(GRPCPath.range, [1], [("grpc-encoding", "br")], packed: true)).status == 12)
    #expect(try client.answer(client.open(GRPCPath.range, [1], [("grpc-timeout", "5x")])).status == 13)
    // Not gRPC.
    let plain = HTTP2Frame(
      kind: HTTP2Frame.Kind.headers, flags: 5, stream: 101, payload: grpcHead(GRPCPath.range, type: "text/plain"))
    try client.send(plain)
    #expect(try client.answer(101).fields[":status"] == "415")
    try client.socket.send(client.request(103, GRPCPath.range, rangeBody("k")))
    #expect(try client.answer(103).status == 0)
  }

  @Test func healthIsAnswered() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let answer = try client.call("/grpc.health.v1.Health/Check", [])
    #expect(answer.status == 0 && answer.messages == [[8, 1]])
    let other = try client.call("/grpc.health.v1.Health/Check", [10, 1, 120])
    #expect(other.status == 5 && other.text == "unknown service")
  }

  @Test func packedRequestsAreUnpackedAndBombsAreNot() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let packed = try gzip(putBody("packed", [UInt8](repeating: 5, count: 100_000)))
    #expect(packed.count < 1_000)
    let stored = try client.answer(client.open(GRPCPath.put, packed, [("grpc-encoding", "gzip")], packed: true))
    #expect(stored.status == 0)
    let read = try client.call(GRPCPath.range, rangeBody("packed"))
    #expect(try range(read.messages[0]).kvs.first?.value.count == 100_000)
    let bomb = try gzip([UInt8](repeating: 0, count: 64 << 20))
    let refused = try client.answer(client.open(GRPCPath.put, bomb, [("grpc-encoding", "gzip")], packed: true))
    #expect(refused.status == 8)
    let cut = try client.answer(
      client.open(GRPCPath.put, Array(packed.dropLast(9)), [("grpc-encoding", "gzip")], packed: true))
    #expect(cut.status == 13)
  }

  private func gzip(_ bytes: [UInt8]) throws -> [UInt8] {
    let folder = try TemporaryDirectory()
    let path = folder.path + "/bytes"
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/gzip")
    process.arguments = ["-9", path]
    try process.run()
    process.waitUntilExit()
    return Array(try Data(contentsOf: URL(fileURLWithPath: path + ".gz")))
  }

  /// From one frame, through windows that shut in the middle, to what is made in pieces.
  @Test(arguments: kinds) func answersOfAllSizesComeWhole(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind) { $0.inlineAnswerLimit = 1 << 20 }
    defer { server.stop() }
    let writer = try GRPCSocket(server)
    for i in 0..<40 {
      let put = try writer.call(GRPCPath.put, putBody("big\(100 + i)", [UInt8](repeating: UInt8(i), count: 100_000)))
      #expect(put.status == 0)
    }
    for window in [UInt32(65_535), 1_000, 4 << 20] {
      let client = try GRPCSocket(server, window: window)
      for limit in [Int64(1), 3, 9, 12, 40] {
        let answer = try client.call(GRPCPath.range, rangesBody("big", end: "bih", limit: limit))
        let response = try range(answer.messages[0])
        #expect(answer.status == 0 && response.kvs.count == Int(limit) && response.count == 40)
        #expect(response.kvs.enumerated().allSatisfy { $1.value == [UInt8](repeating: UInt8($0), count: 100_000) })
      }
      let stream = try client.call(GRPCPath.rangeStream, rangesBody("big", end: "bih"))
      #expect(stream.status == 0 && stream.messages.count > 5)
      let parts = try stream.messages.map { body in
        try body.withUnsafeBytes { bytes in
          var reader = ProtoReader(bytes)
          let tag = try #require(try reader.nextTag())
          return try RangeResponse(try reader.bytes(tag))
        }
      }
      #expect(parts.flatMap(\.kvs).map(\.value.first) == (0..<40).map { UInt8($0) } && parts.last?.count == 40)
    }
    #expect(server.hasReaders(0))
  }

  /// A client that takes nothing: others are served, its memory is bounded, and it gets everything when it reads.
  @Test(arguments: kinds) func aClientThatOpensNoWindowsWaitsAlone(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let slow = try GRPCSocket(server, window: 0)
    let quick = try GRPCSocket(server)
    #expect(try quick.call(GRPCPath.put, putBody("k", [UInt8](repeating: 9, count: 100_000))).status == 0)
    let ids = try (0..<100).map { _ in try slow.open(GRPCPath.range, rangeBody("k")) }
    for _ in 0..<50 { #expect(try quick.call(GRPCPath.range, rangeBody("k")).status == 0) }
    slow.opensWindows = false
    for id in ids { try slow.open(window: 200_000, id) }
    for id in ids { #expect(try slow.answer(id).data.count > 100_000) }
    // A call that a stalled stream stands before goes through all the same.
    #expect(try quick.call(GRPCPath.range, rangeBody("k")).status == 0)
  }

  @Test(arguments: kinds) func aWatchSeesEventsAndEnds(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let create = SeenWatch(key: Bytes("w".utf8), end: Bytes(), start: 0).request
    let id = try client.open(GRPCPath.watch, create, isEnd: false)
    #expect(try watched(client.messages(id, 1)[0]).created)
    for i in 0..<20 { #expect(try client.call(GRPCPath.put, putBody("w", [UInt8(i)])).status == 0) }
    var events: [[UInt8]] = []
    var seen = 1
    while events.count < 20 {
      let messages = try client.messages(id, seen + 1)
      for message in messages[seen...] { events += try watched(message).events.map(\.kv.value) }
      seen = messages.count
    }
    #expect(events == (0..<20).map { [UInt8($0)] })
    try client.socket.send(client.data(id, [], isEnd: true))
    #expect(try client.answer(id).status == 0)
    // A reset ends another one, and nothing is left of it.
    let gone = try client.open(GRPCPath.watch, create, isEnd: false)
    _ = try client.messages(gone, 1)
    try client.send(HTTP2Frame(kind: HTTP2Frame.Kind.reset, stream: gone, payload: bigEndian(8)))
    let deadline = Date() + 20
    while server.node.watch.figures.watchers.load(ordering: .relaxed) != 0, Date() < deadline { usleep(1_000) }
    #expect(server.node.watch.figures.watchers.load(ordering: .relaxed) == 0)
  }

  @Test func keepAlivesAreAnsweredInOrder() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    #expect(try client.call(GRPCPath.grant, LeaseRequestView.grant(id: 7, ttl: 100).encoded()).status == 0)
    let id = try client.open(GRPCPath.keepAlive, LeaseRequestView(7).encoded(), isEnd: false)
    for i in 0..<50 { try client.message(id, LeaseRequestView(i % 2 == 0 ? 8 : 7).encoded(), isEnd: i == 49) }
    let answer = try client.answer(id)
    let times = try answer.messages.map { try $0.withUnsafeBytes { try LeaseResponse($0).ttl } }
    #expect(answer.status == 0 && times == [100] + (0..<50).map { $0 % 2 == 0 ? 0 : 100 })
  }

  @Test func deadlinesEndCallsAndStreams() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    let create = SeenWatch(key: Bytes("w".utf8), end: Bytes(), start: 0).request
    let watch = try client.open(GRPCPath.watch, create, [("grpc-timeout", "300m")], isEnd: false)
    let answer = try client.answer(watch)
    #expect(answer.status == 4 && answer.text == "context deadline exceeded" && answer.messages.count == 1)
    #expect(try client.call(GRPCPath.range, rangeBody("k"), [("grpc-timeout", "1n")]).status == 4)
    #expect(try client.call(GRPCPath.range, rangeBody("k"), [("grpc-timeout", "9S")]).status == 0)
  }

  /// The file, and what etcd's clients look for behind it.
  @Test func aSnapshotIsSealed() throws {
    let server = try RunningServer(.auto)
    defer { server.stop() }
    let client = try GRPCSocket(server)
    for i in 0..<50 {
      _ = try client.call(GRPCPath.put, putBody("k\(i)", (0..<20_000).map { _ in UInt8.random(in: 0...255) }))
    }
    let answer = try client.call(GRPCPath.snapshot, [])
    var file: [UInt8] = []
    for message in answer.messages {
      try message.withUnsafeBytes { bytes in
        var reader = ProtoReader(bytes)
        while let tag = try reader.nextTag() {
          guard tag.field == 3 else {
            try reader.skip(tag)
            continue
          }
          let blob = try reader.bytes(tag)
          #expect(blob.count <= 32 << 10)
          file += blob
        }
      }
    }
    #expect(answer.status == 0 && file.count > 900_000 && file.count % 512 == 32)
    let folder = try TemporaryDirectory()
    let path = folder.path + "/snapshot"
    try Data(file).write(to: URL(fileURLWithPath: path))
    try SnapshotReader(path).verify()
    // A seal that is not the file's is found.
    file[file.count - 1] ^= 1
    try Data(file).write(to: URL(fileURLWithPath: path))
    #expect(throws: (any Error).self) { try SnapshotReader(path).verify() }
  }

  /// A stop: GOAWAY, calls are finished, streams told to go elsewhere.
  @Test(arguments: kinds) func aStopSaysGoodbye(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let client = try GRPCSocket(server)
    let create = SeenWatch(key: Bytes("w".utf8), end: Bytes(), start: 0).request
    let watch = try client.open(GRPCPath.watch, create, isEnd: false)
    _ = try client.messages(watch, 1)
    let idle = try GRPCSocket(server)
    #expect(try idle.call(GRPCPath.put, putBody("k", [1])).status == 0)
    let puts = try (0..<50).map { _ in try client.open(GRPCPath.put, putBody("k", [1])) }
    #expect(try client.answer(puts[0]).status == 0)
    let stopping = Thread { server.stop() }
    stopping.start()
    #expect(try client.answer(watch).status == 14 && client.answers[watch]?.text == "etcdserver: server stopped")
    try client.drain()
    try idle.drain()
    #expect(client.goAway?.code == 0 && idle.goAway?.code == 0)
    #expect(puts.allSatisfy { [0, 14, nil].contains(client.answers[$0]?.status) })
    server.stop()
  }
}
