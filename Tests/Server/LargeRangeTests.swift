// Ranges whose answers are made in pieces: byte for byte what they would be at once, in bounded memory, beside anything
// else that happens to their connection.
import Foundation
import NeedletailBackend
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.serialized) struct LargeRangeTests {
  private static let count = 3_000

  private func fill(_ server: RunningServer) throws -> BlockingClient {
    let client = BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(30))
    for first in stride(from: 0, to: LargeRangeTests.count, by: 100) {
      let puts = (first..<(first + 100)).map { i in
        TxnOperation.put(
          PutRequest(key: Array("key\(i)".utf8), value: [UInt8](repeating: UInt8(i % 251), count: i % 700)))
      }
      _ = try client.txn(TxnRequest(then: puts))
    }
    _ = try client.deleteRange(DeleteRangeRequest(.prefix(Array("key7".utf8))))
    _ = try client.put(PutRequest(key: Array("key1".utf8), value: [UInt8](repeating: 1, count: 300_000)))
    return client
  }

  private func requests(_ revision: Int64) -> [RangeRequest] {
    func request(_ keys: KeyRange, _ adjust: (inout RangeRequest) -> Void = { _ in }) -> RangeRequest {
      var request = RangeRequest(keys)
      adjust(&request)
      return request
    }
    return [
      request(.all), request(.prefix(Array("key1".utf8))), request(.from(Array("key5".utf8))),
      request(.all) { $0.limit = 1_500 }, request(.all) { $0.limit = 100_000 },
      request(.all) { $0.sortOrder = .descend },
      request(.all) {
        $0.sortOrder = .descend
        $0.limit = 1_000
      },
      request(.all) { $0.revision = revision - 12 },
      request(.all) {
        $0.revision = revision - 2
        $0.sortOrder = .descend
        $0.limit = 2_000
      },
      request(.all) { $0.keysOnly = true },
      request(.all) { $0.minModRevision = revision - 20 },
      request(.all) {
        $0.maxModRevision = revision - 20
        $0.limit = 700
      },
      request(.all) { $0.sortTarget = .mod }, request(.all) { $0.countOnly = true },
      request(.all) {
        $0.sortTarget = .value
        $0.sortOrder = .descend
      },
      request(.all) {
        $0.sortTarget = .mod
        $0.sortOrder = .descend
        $0.limit = 900
      },
      request(.prefix(Array("key1".utf8))) {
        $0.sortTarget = .create
        $0.sortOrder = .ascend
        $0.limit = 10
        $0.keysOnly = true
      },
      request(.all) {
        $0.sortTarget = .version
        $0.revision = revision - 12
        $0.maxModRevision = revision - 20
        $0.sortOrder = .descend
      },
      // The limit cuts first: the order is none.
      request(.all) {
        $0.sortTarget = .value
        $0.limit = 1_000
      },
    ]
  }

  private func body(_ socket: PlainSocket, _ request: RangeRequest) throws -> [UInt8] {
    try socket.send(frame(.range, request.encoded(), stream: 5))
    let (header, body) = try socket.frame()
    #expect(header.status == 0 && header.stream == 5 && header.isEndOfStream)
    return body
  }

  private func greeted(_ server: RunningServer) throws -> PlainSocket {
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
    return socket
  }

  @Test(arguments: NativeFaceTests.kinds) func theSameBytesAsAtOnce(_ kind: ReactorKind) throws {
    let temporary = try TemporaryDirectory()
    var answers: [[[UInt8]]] = []
    for limit in [Int.max, 1, 60_000] {
      let server = try RunningServer(kind, directory: temporary.path) { $0.inlineAnswerLimit = limit }
      defer { server.stop() }
      if answers.isEmpty { _ = try fill(server) }
      let socket = try greeted(server)
      let revision = try body(socket, RangeRequest(.key([1]))).withUnsafeBytes { try RangeResponse($0) }.header.revision
      #expect(revision == Int64(LargeRangeTests.count / 100 + 3))
      answers.append(try requests(revision).map { try body(socket, $0) })
      #expect(server.hasReaders(0), "all readers are given back")
    }
    #expect(answers[0].count == 19 && answers[0][0].count > 1_200_000)
    for (at, answer) in answers[0].enumerated() {
      #expect(answers[1][at] == answer && answers[2][at] == answer, "request \(at)")
    }
  }

  /// The pieces merged are the answer of a Range; each frame is a message of its own, and only the last has the end's flag.
  @Test(arguments: NativeFaceTests.kinds) func streamsGiveTheSameInMessages(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind)
    defer { server.stop() }
    _ = try fill(server)
    let socket = try greeted(server)
    let revision = try body(socket, RangeRequest(.key([1]))).withUnsafeBytes { try RangeResponse($0) }.header.revision
    for request in try requests(revision) + [RangeRequest(.range([9], end: [3])), RangeRequest(.key([1]))] {
      try socket.send(frame(.rangeStream, request.encoded(), stream: 9))
      var merged = RangeResponse()
      var (frames, isOver) = (0, false)
      while !isOver {
        let (header, body) = try socket.frame()
        #expect(header.stream == 9 && header.isAnswer)
        isOver = header.isEndOfStream
        frames += 1
        guard header.status == 0 else {
          #expect(request.sortTarget != .key && header.status == 3 && isOver)
          continue
        }
        #expect(body.first == 0x0a && body.count > 5)
        let piece = try body.withUnsafeBytes { try RangeResponse(UnsafeRawBufferPointer(rebasing: $0[5...])) }
        merged.kvs += piece.kvs
        if isOver {
          #expect(piece.kvs.isEmpty)
          (merged.header, merged.more, merged.count) = (piece.header, piece.more, piece.count)
        }
      }
      guard request.sortTarget == .key else { continue }
      let whole = try self.body(socket, request).withUnsafeBytes { try RangeResponse($0) }
      #expect(merged == whole)
      if whole.kvs.count > 2_500, !request.keysOnly { #expect(frames > 4) }
    }
    #expect(server.hasReaders(0))
    for (bad, code) in [([UInt8](), StatusCode.invalidArgument), ([0x0a, 1, 7, 0x20, 0xe8, 7], .outOfRange)] {
      try socket.send(frame(.rangeStream, bad, stream: 9))
      #expect(try socket.frame().header.status == code.rawValue)
    }
  }

  /// Requests pipelined behind a large range, deferred ones before it, and half a stream closed.
  @Test(arguments: NativeFaceTests.kinds) func othersOnTheConnectionWaitTheirTurn(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind) { $0.inlineAnswerLimit = 10_000 }
    defer { server.stop() }
    let client = try fill(server)
    // Larger than what sockets hold: the puts' answers come while it is being sent.
    for i in 0..<24 {
      _ = try client.put(PutRequest(key: Array("large\(i)".utf8), value: [UInt8](repeating: 2, count: 1_000_000)))
    }
    let socket = try greeted(server)
    var bytes: [UInt8] = []
    for i in 0..<40 { bytes += frame(.put, putBody("other\(i)", [1]), stream: UInt32(100 + i)) }
    bytes += frame(.range, RangeRequest(.all).encoded(), stream: 1)
    for i in 0..<40 { bytes += frame(.put, putBody("more\(i)", [1]), stream: UInt32(200 + i)) }
    bytes += frame(.range, RangeRequest(.all).encoded(), stream: 2) + frame(.range, rangeBody("key2"), stream: 3)
    try socket.send(bytes)
    socket.finishSending()
    // Nothing is taken for a while, so that all waits.
    usleep(200_000)
    var streams: Set<UInt32> = []
    for _ in 0..<83 {
      let (header, body) = try socket.frame()
      #expect(header.status == 0 && streams.insert(header.stream).inserted)
      guard header.stream <= 2 else { continue }
      let answer = try body.withUnsafeBytes { try RangeResponse($0) }
      #expect(answer.count == Int64(answer.kvs.count) && answer.count > 2_000 && !answer.more)
    }
    #expect(try socket.isAtEnd())
  }

  /// Events come while the answer is being sent: they stand behind it, none within, and streams go on afterwards.
  @Test(arguments: NativeFaceTests.kinds) func eventsWaitBehindTheAnswer(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind) { $0.inlineAnswerLimit = 10_000 }
    defer { server.stop() }
    let client = try fill(server)
    for i in 0..<24 {
      _ = try client.put(PutRequest(key: Array("large\(i)".utf8), value: [UInt8](repeating: 2, count: 1_000_000)))
    }
    let socket = try greeted(server)
    let create = SeenWatch(key: Array("watched".utf8), end: [], start: 0).request
    try socket.send(frame(6, create, stream: 9))
    _ = try socket.frame()
    try socket.send(frame(.range, RangeRequest(.all).encoded(), stream: 1))
    // Nobody takes the answer, which is larger than what sockets hold, while these happen: 3 MB, more than a stream's budget.
    for _ in 0..<30 {
      _ = try client.put(PutRequest(key: Array("watched".utf8), value: [UInt8](repeating: 3, count: 100_000)))
    }
    usleep(200_000)
    let (header, body) = try socket.frame()
    #expect(header.stream == 1 && header.status == 0)
    let answer = try body.withUnsafeBytes { try RangeResponse($0) }
    #expect(answer.count == Int64(answer.kvs.count) && answer.count > 2_000)
    var revisions: [Int64] = []
    while revisions.count < 30 {
      let (header, body) = try socket.frame()
      try #require(header.stream == 9 && header.status == 0)
      revisions += try body.withUnsafeBytes { try WatchResponse($0) }.events.map(\.kv.modRevision)
    }
    #expect(revisions == revisions.sorted() && Set(revisions).count == 30)
  }

  /// A stop lets an answer that is under way be whole; a client that goes leaves no reader behind.
  @Test(arguments: NativeFaceTests.kinds) func stopsAndLostClients(_ kind: ReactorKind) throws {
    let server = try RunningServer(kind) { $0.inlineAnswerLimit = 10_000 }
    defer { server.stop() }
    let client = try fill(server)
    // Larger than what sockets hold.
    for i in 0..<40 {
      _ = try client.put(PutRequest(key: Array("large\(i)".utf8), value: [UInt8](repeating: 2, count: 1_000_000)))
    }
    do {
      let lost = try greeted(server)
      try lost.send(frame(.range, RangeRequest(.all).encoded(), stream: 1))
      _ = try lost.receive(exactly: 100_000)
      #expect(server.hasReaders(1))
    }
    #expect(server.hasReaders(0))

    let socket = try greeted(server)
    try socket.send(frame(.range, RangeRequest(.all).encoded(), stream: 1))
    let start = try socket.receive(exactly: FrameHeader.byteCount)
    let length = Int(start.withUnsafeBytes { FrameHeader(loading: $0.baseAddress!) }.length)
    #expect(length > 40_000_000)
    // However slow the machine: a stop ends with its last connection.
    let stopping = Thread { server.stop(within_ms: 60_000) }
    stopping.start()
    usleep(100_000)
    let body = try socket.receive(exactly: length)
    #expect(try body.withUnsafeBytes { try RangeResponse($0) }.kvs.count > 2_000)
    #expect(try socket.isAtEnd())
  }

  /// A client that takes nothing, beside many that are served: each holds a piece or two.
  @Test func slowReadersCostAPieceEach() throws {
    let server = try RunningServer(.auto, reactors: 1)
    defer { server.stop() }
    let client = try fill(server)
    for i in 0..<60 {
      _ = try client.put(PutRequest(key: Array("large\(i)".utf8), value: [UInt8](repeating: 2, count: 1_000_000)))
    }
    func anonymous() throws -> Int {
      let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("RssAnon") })
      return try #require(line.split(whereSeparator: { $0 == " " || $0 == "\t" }).compactMap { Int($0) }.first) << 10
    }
    let before = try anonymous()
    let slow = try (0..<30).map { _ in
      let socket = try greeted(server)
      try socket.send(frame(.range, RangeRequest(.all).encoded(), stream: 1))
      return socket
    }
    for _ in 0..<20 { _ = try client.range(RangeRequest(.key(Array("key2".utf8)))) }
    usleep(300_000)
    let grown = try anonymous() - before
    // 1.8 GB of answers, of which sockets hold a part and the server two pieces each, a pair of 1 MB in either.
    #expect(grown < 160 << 20, "\(grown >> 20) MiB")
    // One over the limit is refused, and its connection lives.
    let more = try (0..<19).map { _ in
      let socket = try greeted(server)
      try socket.send(frame(.range, RangeRequest(.all).encoded(), stream: 1))
      return socket
    }
    let (header, text) = try #require(more.last).frame()
    #expect(header.status == 8 && String(decoding: text, as: UTF8.self) == StatusError.tooManyLargeRanges.message)
    withExtendedLifetime(slow) {}
  }
}
