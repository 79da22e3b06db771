// Streams of the native face, byte by byte: how they open, end and fail, and what a client that does not read costs.
import Foundation
import Glibc
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

@Suite struct StreamTests {
  private static let answer = FrameFlags.answer
  private static let last = FrameFlags.answer | FrameFlags.endOfStream

  private func connect(_ server: RunningServer) throws -> PlainSocket {
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    #expect(try socket.frame().header.rawMethod == NeedletailRPC.Method.hello.rawValue)
    return socket
  }

  private func create(_ key: String, end: String = "", start: Int64 = 0) -> Bytes {
    SeenWatch(key: Bytes(key.utf8), end: Bytes(end.utf8), start: start).request
  }

  private func open(_ body: Bytes, _ stream: UInt32) -> Bytes { frame(6, body, stream: stream) }

  private func response(_ body: Bytes) throws -> WatchResponse { try body.withUnsafeBytes { try WatchResponse($0) } }

  private func put(_ socket: PlainSocket, _ key: String, _ value: Bytes, stream: UInt32) throws {
    try socket.send(frame(2, putBody(key, value), stream: stream, flags: FrameFlags.endOfStream))
  }

  @Test(arguments: [ReactorKind.epoll, .ioUring])
  func aWatchOpensGoesOnAndEnds(kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    let socket = try connect(server)
    try socket.send(open(create("k"), 9))
    var (header, body) = try socket.frame()
    #expect(header.rawMethod == 6 && header.stream == 9 && header.flags == Self.answer && header.status == 0)
    #expect(try response(body).created && response(body).watchID == 0)
    // A second watch on the same stream, and a put on the same connection: its answer and the events come as they come.
    try socket.send(open(create("", end: "\0"), 9))
    #expect(try response(socket.frame().body).watchID == 1)
    try put(socket, "k", [1], stream: 10)
    var seen: Set<Int64> = []
    for _ in 0..<3 {
      (header, body) = try socket.frame()
      if header.stream == 10 { continue }
      let events = try response(body)
      #expect(events.events.map(\.kv.value) == [[1]] && events.header.revision == 2 && header.flags == Self.answer)
      seen.insert(events.watchID)
    }
    #expect(seen == [0, 1])
    try socket.send(frame(6, [], stream: 9, flags: FrameFlags.endOfStream))
    (header, body) = try socket.frame()
    #expect(header.stream == 9 && header.flags == Self.last && header.status == 0 && body.isEmpty)
    #expect(try eventually { server.node.watch.figures.watchers.load(ordering: .relaxed) == 0 })
    // The number may be used again.
    try socket.send(open(create("k", start: 1), 9))
    #expect(try response(socket.frame().body).created)
    #expect(try response(socket.frame().body).events.count == 1)
    server.stop()
  }

  @Test func aMalformedMessageEndsItsStreamAlone() throws {
    let server = try RunningServer(.auto)
    let socket = try connect(server)
    try socket.send(open(create("k"), 1) + open(create("k"), 2))
    for _ in 0..<2 { #expect(try response(socket.frame().body).created) }
    // What follows the broken message on its stream is thrown away, up to its end.
    try socket.send(open([0x0a, 0x7f], 1) + open(create("k"), 1) + open(create("k"), 1))
    let (header, body) = try socket.frame()
    #expect(header.stream == 1 && header.flags == Self.last && header.status == StatusCode.invalidArgument.rawValue)
    #expect(String(decoding: body, as: UTF8.self).contains("malformed WatchRequest"))
    try put(socket, "k", [1], stream: 3)
    var streams: [UInt32] = []
    for _ in 0..<2 { streams.append(try socket.frame().header.stream) }
    #expect(Set(streams) == [2, 3])
    try socket.send(frame(6, [], stream: 1, flags: FrameFlags.endOfStream) + open(create("k"), 1))
    let again = try socket.frame()
    #expect(again.header.stream == 1 && again.header.status == 0)
    #expect(try response(again.body).created)
    // A frame of another method does not belong there.
    try socket.send(frame(10, [8, 1], stream: 2))
    #expect(try socket.frame().header.status == StatusCode.invalidArgument.rawValue)
    server.stop()
  }

  @Test func oneStreamManyPings() throws {
    let server = try RunningServer(.auto)
    let socket = try connect(server)
    let grants: [Int64] = [11, 12]
    for id in grants {
      try socket.send(frame(8, LeaseRequestView.grant(id: id, ttl: 100).encoded(), stream: UInt32(id)))
      #expect(try socket.frame().header.status == 0)
    }
    var pings: Bytes = []
    let ids = (0..<300).map { [Int64(11), 12, 13][$0 % 3] }
    for id in ids { pings += frame(10, LeaseRequestView(id).encoded(), stream: 5) }
    // The last frame carries a ping, too.
    pings += frame(10, LeaseRequestView(12).encoded(), stream: 5, flags: FrameFlags.endOfStream)
    try socket.send(pings)
    for id in ids + [12] {
      let (header, body) = try socket.frame()
      let pong = try body.withUnsafeBytes { try LeaseResponse($0) }
      #expect(header.stream == 5 && header.flags == Self.answer && pong.id == id && pong.ttl == (id == 13 ? 0 : 100))
    }
    let end = try socket.frame()
    #expect(end.header.flags == Self.last && end.body.isEmpty && end.header.stream == 5)
    // As a call of its own it is one frame and one answer.
    try socket.send(frame(10, LeaseRequestView(11).encoded(), stream: 6, flags: FrameFlags.endOfStream))
    #expect(try socket.frame().header.flags == Self.last)
    server.stop()
  }

  /// A client that reads nothing is sent its budget and no more; its neighbours and the writers notice nothing; when it
  /// reads, everything is there, once.
  @Test(arguments: [ReactorKind.epoll, .ioUring])
  func aClientThatDoesNotReadWaitsAlone(kind: ReactorKind) throws {
    let server = try RunningServer(kind) { options in
      options.watch.streamBytes = 256 << 10
      options.watch.responseBytes = 64 << 10
      options.watch.ringBytes = 1 << 20
    }
    let (slow, quick, writer) = (try connect(server), try connect(server), try connect(server))
    try slow.send(open(create("", end: "\0"), 1))
    try quick.send(open(create("", end: "\0"), 1))
    let (slowWatch, quickWatch) = (SeenWatch(key: [0], end: [0]), SeenWatch(key: [0], end: [0]))
    slowWatch.created(try response(slow.frame().body))
    quickWatch.created(try response(quick.frame().body))
    // Far more than what sockets and budget hold.
    let value = Bytes(repeating: 3, count: 20_000)
    let count = 1500
    for i in 0..<count {
      try put(writer, "key\(i % 7)", value, stream: UInt32(i + 1))
      #expect(try writer.frame().header.status == 0)
      while quickWatch.events.count < i { quickWatch.take(try response(quick.frame().body)) }
    }
    let figures = server.node.watch.figures
    #expect(figures.pausedStreams.load(ordering: .relaxed) == 1 && figures.slowWatchers.load(ordering: .relaxed) == 1)
    let sent = server.group.counters(0).read(.sentBytes) + server.group.counters(1).read(.sentBytes)
    #expect(sent < UInt64(count * value.count + 12 << 20), "the slow client was sent too much")
    while slowWatch.events.count < count { slowWatch.take(try response(slow.frame().body)) }
    while quickWatch.events.count < count { quickWatch.take(try response(quick.frame().body)) }
    #expect(slowWatch.wrong == nil && quickWatch.wrong == nil)
    #expect(slowWatch.events.map(\.kv.modRevision) == (2...Int64(count + 1)).map { $0 })
    #expect(slowWatch.events == quickWatch.events)
    #expect(try eventually { figures.slowWatchers.load(ordering: .relaxed) == 0 })
    #expect(figures.pausedStreams.load(ordering: .relaxed) == 0)
    server.stop()
  }

  private func eventually(_ condition: () throws -> Bool) throws -> Bool {
    for _ in 0..<2_000 {
      if try condition() { return true }
      usleep(5_000)
    }
    return false
  }
}
