// The native face over real sockets, with what a client should and should not send.
import Foundation
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.serialized) struct NativeFaceTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]

  /// Connected, greeted, and past the Hello.
  private func greeted(_ server: RunningServer) throws -> PlainSocket {
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    let (header, body) = try socket.frame()
    #expect(header.method == .hello && header.stream == 0 && header.isAnswer && header.status == 0)
    let hello = try body.withUnsafeBytes { try Hello($0) }
    #expect(hello.version == 1 && hello.maxBodyBytes >= 1_572_864)
    return socket
  }

  private func text(_ body: [UInt8]) -> String { String(decoding: body, as: UTF8.self) }

  @Test(arguments: kinds) func aWriteIsReadBackWhicheverWayItIsCut(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let requests = preface + frame(.put, putBody("key", [1, 2, 3]), stream: 1) + frame(.health, [], stream: 2)
    for cut in 0...requests.count {
      let socket = try PlainSocket(server.port)
      try socket.send(Array(requests[..<cut]))
      if cut % 8 == 3 { usleep(300) }
      try socket.send(Array(requests[cut...]))
      _ = try socket.frame()
      // Streams may be answered in any order: the put waits for the disk.
      let answers = [try socket.frame(), try socket.frame()].sorted { $0.header.stream < $1.header.stream }
      #expect(answers.map(\.header.stream) == [1, 2] && answers.allSatisfy { $0.header.status == 0 }, "cut at \(cut)")
      try socket.send(frame(.range, rangeBody("key"), stream: 3))
      let (header, body) = try socket.frame()
      #expect(header.status == 0 && header.stream == 3)
      let response = try body.withUnsafeBytes { try RangeResponse($0) }
      #expect(response.kvs.map(\.value) == [[1, 2, 3]] && response.kvs.first?.version == Int64(cut) + 1)
    }
  }

  /// The batch's snapshot holds every write whose answer came before the read was sent, on whichever connection.
  @Test(arguments: kinds) func readsSeeAcknowledgedWritesOfOtherConnections(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let writer = try greeted(server)
    let readers = try (0..<4).map { _ in try greeted(server) }
    for round in 1...200 {
      let value = Array("\(round)".utf8)
      try writer.send(frame(.put, putBody("k", value), stream: UInt32(round)))
      #expect(try writer.frame().header.status == 0)
      for reader in readers { try reader.send(frame(.range, rangeBody("k"), stream: UInt32(round))) }
      for reader in readers {
        let (_, body) = try reader.frame()
        let response = try body.withUnsafeBytes { try RangeResponse($0) }
        #expect(response.kvs.first?.value == value)
      }
    }
  }

  @Test(arguments: kinds) func badRequestsAreAnsweredOnTheirStreamAndTheConnectionLives(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let socket = try greeted(server)
    let large = putBody("k", [UInt8](repeating: 7, count: 1_572_864))
    let cases: [([UInt8], StatusCode, String)] = [
      (frame(99, [1, 2, 3], stream: 1), .unimplemented, "unknown method 99"),
      (frame(13, [], stream: 2), .unimplemented, "unknown method 13"),
      (frame(.range, [0xff, 0xff], stream: 3), .invalidArgument, "malformed RangeRequest"),
      (frame(.put, [0x0a, 0x7f], stream: 4), .invalidArgument, "malformed PutRequest"),
      (frame(.range, [], stream: 5), .invalidArgument, "etcdserver: key is not provided"),
      (frame(.put, putBody("", [1]), stream: 6), .invalidArgument, "etcdserver: key is not provided"),
      (frame(.put, large, stream: 7), .invalidArgument, "etcdserver: request is too large"),
      (frame(.watch, [0x0a, 0x7f], stream: 8), .invalidArgument, "malformed WatchRequest"),
      (frame(.watch, large, stream: 9), .invalidArgument, "etcdserver: request is too large"),
    ]
    for (i, (bytes, code, message)) in cases.enumerated() {
      try socket.send(bytes)
      let (header, body) = try socket.frame()
      #expect(header.stream == UInt32(i) + 1 && header.status == code.rawValue && text(body).contains(message))
    }
    try socket.send(frame(.health, [], stream: 100))
    #expect(try socket.frame().header.status == 0)
  }

  @Test(arguments: kinds) func malformedFramesEndTheirConnectionOnly(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    let bystander = try greeted(server)
    let cases: [([UInt8], StatusCode, String)] = [
      (
        frame(1, [], stream: 1, length: 3 << 20) + [UInt8](repeating: 1, count: 5_000), .resourceExhausted,
        "over the limit"
      ),
      (frame(1, [], stream: 1, length: .max), .resourceExhausted, "over the limit"),
      (frame(1, [], stream: 1, flags: 1), .invalidArgument, "answer flag"),
      (frame(1, [], stream: 1, flags: 0x80), .invalidArgument, "unknown flags"),
      (frame(1, [], stream: 0), .invalidArgument, "stream 0"),
      ([UInt8](repeating: 0xee, count: 100_000), .resourceExhausted, "over the limit"),
    ]
    for (bytes, code, message) in cases {
      let socket = try greeted(server)
      try socket.send(frame(.health, [], stream: 9) + bytes)
      #expect(try socket.frame().header.stream == 9)
      let (header, body) = try socket.frame()
      #expect(header.stream == 0 && header.status == code.rawValue && text(body).contains(message))
      #expect(try socket.isAtEnd())
    }
    let truncated = try greeted(server)
    try truncated.send(Array(frame(.health, [1, 2], stream: 1).dropLast()))
    truncated.finishSending()
    #expect(text(try truncated.frame().body).contains("ended within a frame"))
    #expect(try truncated.isAtEnd())
    try bystander.send(frame(.health, [], stream: 1))
    #expect(try bystander.frame().header.status == 0)
  }

  @Test(arguments: kinds) func otherProtocolsAndVersionsAreRefused(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    for (bytes, message) in [
      (Array("NEEDLE\0\u{2}".utf8), "version 2 is not spoken here"), ([0x16, 0x03, 0x01], "neither the native"),
    ] {
      let socket = try PlainSocket(server.port)
      try socket.send(bytes)
      let (header, body) = try socket.frame()
      #expect(header.stream == 0 && header.status != 0 && text(body).contains(message))
      #expect(try socket.isAtEnd())
    }
  }

  /// Random bytes after a valid preface: answered or refused, never a crash, and others are served on.
  @Test(arguments: kinds) func garbageHarmsNobody(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    var random = SystemRandomNumberGenerator()
    for _ in 0..<200 {
      let socket = try PlainSocket(server.port)
      let length = Int.random(in: 1...400, using: &random)
      var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      // Half of them with headers that pass, so that the garbage reaches the decoders.
      if Bool.random(using: &random) {
        let method = [UInt16](arrayLiteral: 1, 2, 3, 16, 17).randomElement(using: &random) ?? 1
        bytes = frame(method, bytes, stream: 1)
      }
      try socket.send((Bool.random(using: &random) ? preface : []) + bytes)
      socket.finishSending()
      _ = try socket.receiveToEnd()
    }
    let socket = try greeted(server)
    try socket.send(frame(.status, [], stream: 1))
    let (header, body) = try socket.frame()
    let status = try body.withUnsafeBytes { try StatusResponse($0) }
    #expect(header.status == 0 && status.version == Version.compatible && status.leader == status.header.memberID)
  }

  /// A stop amid writes: what was answered was answered whole and is there after a restart.
  @Test(arguments: kinds) func aStopAmidWritesLosesNothingAcknowledged(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let socket = try greeted(server)
    var requests: [UInt8] = []
    for i in 1...500 { requests += frame(.put, putBody("key \(i)", [1]), stream: UInt32(i)) }
    try socket.send(requests)
    #expect(try socket.frame().header.status == 0)
    let stopping = Thread { server.stop() }
    stopping.start()
    var rest = try socket.receiveToEnd()[...]
    var answered: UInt64 = 1
    while rest.count >= FrameHeader.byteCount {
      let header = Array(rest.prefix(FrameHeader.byteCount)).withUnsafeBytes { FrameHeader(loading: $0.baseAddress!) }
      rest = rest.dropFirst(FrameHeader.byteCount + Int(header.length))
      if header.status == 0 { answered += 1 }
    }
    #expect(rest.isEmpty)
    server.stop()
    let again = try RunningNode(server.path)
    defer { again.node.stop() }
    let reader = try again.node.server.makeReader()
    defer { reader.free() }
    let revision = reader.pin().word(StoreWord.revision)
    reader.unpin()
    #expect(revision >= Store.firstRevision + answered && revision <= Store.firstRevision + 500)
    #expect(again.node.replayedEntries == 0)
  }
}
