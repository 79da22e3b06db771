// Memory refused to requests and answers: the call that wanted it fails with a typed error, or its connection ends where
// nothing can be said any more; the server and everybody else go on.
import Foundation
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.serialized) struct RefusalTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]
  private static let refusal = StatusError.outOfMemory

  private func refusing(beyond limit: Int, _ body: () throws -> Void) rethrows {
    OutBuffer.refusedBeyond.store(limit, ordering: .relaxed)
    defer { OutBuffer.refusedBeyond.store(.max, ordering: .relaxed) }
    try body()
  }

  private func all(_ method: (UnsafeRawBufferPointer) -> [UInt8]) -> [UInt8] { Array("b".utf8).withUnsafeBytes(method) }

  private func rangeAll() -> [UInt8] {
    let end = Array("c".utf8)
    return end.withUnsafeBytes { end in
      all { key in
        var request = RangeRequestView()
        request.key = key
        request.rangeEnd = end
        return request.encoded()
      }
    }
  }

  private func deleteAll() -> [UInt8] {
    let end = Array("c".utf8)
    return end.withUnsafeBytes { end in
      all { key in
        var request = DeleteRangeRequestView()
        request.key = key
        request.rangeEnd = end
        request.prevKV = true
        return request.encoded()
      }
    }
  }

  /// 3 MB of pairs and a small one.
  private func fill(_ server: RunningServer) throws {
    let client = try GRPCSocket(server)
    for i in 0..<30 {
      let put = putBody("b\(100 + i)", [UInt8](repeating: UInt8(i), count: 100_000))
      #expect(try client.call(GRPCPath.put, put).status == 0)
    }
    #expect(try client.call(GRPCPath.put, putBody("a", [1])).status == 0)
  }

  /// The next answer's frame on the stream; nil at the connection's end, even in the middle of a frame.
  private func frame(_ socket: PlainSocket) -> (header: FrameHeader, body: [UInt8])? { try? socket.frame() }

  @Test(arguments: kinds) func answersOfTheNativeFace(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    try fill(server)
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = frame(socket)
    try refusing(beyond: 1 << 20) {
      // Before it and behind it in one batch.
      try socket.send(
        NativeCalls.range("a", 1) + NativeCalls.call(.range, rangeAll(), 2)
          + NativeCalls.range("a", 3))
      let answers = try (0..<3).map { _ in try socket.frame() }
      #expect(answers.map(\.header.status) == [0, Self.refusal.code.rawValue, 0])
      #expect(answers.map(\.header.stream) == [1, 2, 3] && answers[0].body == answers[2].body)
      #expect(String(decoding: answers[1].body, as: UTF8.self) == Self.refusal.message)
      // It has happened, and its answer is too large.
      try socket.send(NativeCalls.call(.deleteRange, deleteAll(), 4))
      let late = try socket.frame()
      #expect(late.header.status == Self.refusal.code.rawValue && late.header.stream == 4)
    }
    try socket.send(NativeCalls.call(.range, rangeAll(), 5))
    #expect(try socket.frame().header.status == 0)
  }

  @Test(arguments: kinds) func answersOfGRPC(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    try fill(server)
    // With windows that take all of it, and with hardly any.
    for window in [UInt32(8 << 20), 1] {
      let client = try GRPCSocket(server, window: window)
      #expect(try client.call(GRPCPath.put, []).status == 3)
      try refusing(beyond: 1 << 20) {
        let refused = try client.call(GRPCPath.range, rangeAll())
        #expect(refused.status == 8 && refused.text == Self.refusal.message && refused.messages.isEmpty)
        if window > 1 { #expect(try client.call(GRPCPath.range, rangeBody("a")).messages.count == 1) }
      }
      let id = try client.open(GRPCPath.range, rangeAll())
      if window == 1 { try client.open(window: 8 << 20, id) }
      #expect(try client.answer(id).messages.first?.count ?? 0 > 3_000_000)
    }
    let client = try GRPCSocket(server)
    try refusing(beyond: 1 << 20) {
      let late = try client.call("/etcdserverpb.KV/DeleteRange", deleteAll())
      #expect(late.status == 8 && late.text == Self.refusal.message)
    }
    #expect(try client.call(GRPCPath.range, rangeBody("a")).status == 0)
  }

  @Test(arguments: kinds) func answersInPieces(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind) { $0.inlineAnswerLimit = 1 << 20 }
    defer { server.stop() }
    try fill(server)
    let client = try GRPCSocket(server, window: 1)
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = frame(socket)
    try refusing(beyond: 128 << 10) {
      // Messages of their own: an error is an answer. Within one message only its stream can end.
      #expect(try client.call(GRPCPath.rangeStream, rangeAll()).status == 8)
      #expect(try client.answer(client.open(GRPCPath.range, rangeAll())).resetCode == 2)
      try socket.send(NativeCalls.call(.rangeStream, rangeAll(), 1))
      #expect(try socket.frame().header.status == Self.refusal.code.rawValue)
      // The frame's head is out: all that is left is to end the connection within it.
      try socket.send(NativeCalls.call(.range, rangeAll(), 2))
      let rest = try socket.receiveToEnd()
      #expect(rest.count < 3_000_000)
    }
    #expect(server.hasReaders(0))
    #expect(try GRPCSocket(server, window: 8 << 20).call(GRPCPath.range, rangeAll()).messages.count == 1)
  }

  @Test(arguments: kinds) func requests(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    try fill(server)
    let put = putBody("large", [UInt8](repeating: 3, count: 500_000))
    try refusing(beyond: 64 << 10) {
      let client = try GRPCSocket(server)
      #expect(try client.call(GRPCPath.put, put).status == 8)
      #expect(try client.call(GRPCPath.range, rangeBody("a")).status == 0)
      // What is not whole can't be gone on with.
      let socket = try PlainSocket(server.port)
      try socket.send(preface)
      _ = frame(socket)
      try? socket.send(NativeCalls.call(.put, put, 1))
      #expect(frame(socket) == nil)
      let text = #"{"key":"Yg==","range_end":"Yw=="}"#
      let range = try ask(server, "kv/range", text)
      #expect(range.contains("429 Too Many Requests") && range.contains(Self.refusal.message))
      #expect(try ask(server, "kv/range", #"{"key":"YQ=="}"#).contains("200 OK"))
    }
    let read = try GRPCSocket(server).call(GRPCPath.range, rangeBody("large"))
    #expect(read.status == 0 && read.messages[0].count < 100)
    #expect(try GRPCSocket(server).call(GRPCPath.put, put).status == 0)
  }

  private func ask(_ server: RunningServer, _ path: String, _ body: String) throws -> String {
    let socket = try PlainSocket(server.port)
    try socket.send(
      "POST /v3/\(path) HTTP/1.1\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
    return try socket.text()
  }

  /// A watcher whose events found no memory is not left with a gap: it hears that it is over, or its connection ends.
  @Test(arguments: kinds) func watchesEndWithoutAGap(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let create = SeenWatch(key: Bytes("w".utf8), end: Bytes(), start: 0).request
    let client = try GRPCSocket(server)
    let id = try client.open(GRPCPath.watch, create, isEnd: false)
    _ = try client.messages(id, 1)
    let socket = try PlainSocket(server.port)
    try socket.send(preface + NativeCalls.call(.watch, create, 1))
    _ = frame(socket)
    _ = frame(socket)
    try refusing(beyond: 128 << 10) {
      let value = [UInt8](repeating: 1, count: 100_000)
      let body = putBody("w", value)
      let stored = try GRPCSocket(server).call(GRPCPath.put, body)
      #expect(stored.status == 0)
      #expect(try client.messages(id, 2).count == 2)
      #expect(frame(socket)?.body.count ?? 0 > value.count)
    }
    let large = putBody("w", [UInt8](repeating: 1, count: 600_000))
    let writer = try GRPCSocket(server)
    let stream = try writer.open(GRPCPath.put, nil, isEnd: false)
    // The request is there, but for its last byte, when memory ends.
    let message = grpcMessage(large)
    try writer.socket.send(writer.data(stream, Array(message.dropLast()), isEnd: false))
    try writer.send(HTTP2Frame(kind: HTTP2Frame.Kind.ping, payload: [UInt8](repeating: 0, count: 8)))
    while writer.pongs == 0, try writer.step() != nil {}
    try refusing(beyond: 128 << 10) {
      try writer.socket.send(writer.data(stream, Array(message.suffix(1)), isEnd: true))
      #expect(try writer.answer(stream).status == 0)
      #expect(try client.answer(id).status == 8)
      #expect(frame(socket) == nil)
    }
    #expect(try GRPCSocket(server).call(GRPCPath.range, rangeBody("w")).status == 0)
  }
}

/// Frames of the native protocol, by a name that no helper of this file hides.
private enum NativeCalls {
  static func call(_ method: NeedletailRPC.Method, _ body: [UInt8], _ stream: UInt32) -> [UInt8] {
    // The only frame of a stream's client is not its last.
    frame(method.rawValue, body, stream: stream)
  }

  static func range(_ key: String, _ stream: UInt32) -> [UInt8] { call(.range, rangeBody(key), stream) }
}
