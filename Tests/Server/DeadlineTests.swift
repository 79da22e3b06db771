// The deadline in a request's header: who waits longer is told so, and what becomes of the request is another matter.
import Foundation
import Glibc
import NeedletailClient
import NeedletailRPC
import NeedletailServer
import NeedletailWAL
import Testing

@Suite struct DeadlineTests {
  private let late = "context deadline exceeded"

  private func request(_ method: NeedletailRPC.Method, _ body: Bytes, stream: UInt32, deadline_ms: UInt32) -> Bytes {
    var head = Bytes(repeating: 0, count: FrameHeader.byteCount)
    head.withUnsafeMutableBytes { memory in
      FrameHeader(
        length: UInt32(body.count), rawMethod: method.rawValue, flags: FrameFlags.endOfStream, stream: stream,
        status: deadline_ms
      ).store(to: memory.baseAddress!)
    }
    return head + body
  }

  private func connect(_ server: RunningServer) throws -> PlainSocket {
    let socket = try PlainSocket(server.port)
    try socket.send(preface)
    _ = try socket.frame()
    return socket
  }

  @Test(arguments: [ReactorKind.epoll, .ioUring])
  func aStuckLogIsNotWaitedFor(kind: ReactorKind) throws {
    let fault = FaultSwitch()
    let server = try RunningServer(kind) { options in
      let (path, log) = (options.dataDirectory + "/member/wal", options.log)
      options.makeLogDevice = { () throws(WALError) in
        FaultyDevice(try FileLogDevice(directory: path, options: log), fault)
      }
    }
    let socket = try connect(server)
    try socket.send(request(.put, putBody("a", [1]), stream: 1, deadline_ms: 5_000))
    #expect(try socket.frame().header.status == 0)
    fault.set(.stuck)
    let begun = Date()
    try socket.send(
      request(.put, putBody("b", [1]), stream: 2, deadline_ms: 300)
        + request(.put, putBody("c", [1]), stream: 3, deadline_ms: 100)
        + request(.put, putBody("d", [1]), stream: 4, deadline_ms: 0)
        + request(.put, putBody("e", [1]), stream: 5, deadline_ms: 60_000))
    for (stream, least) in [(UInt32(3), 0.1), (2, 0.3)] {
      let (header, body) = try socket.frame()
      let took = Date().timeIntervalSince(begun)
      #expect(header.stream == stream && header.status == StatusCode.deadlineExceeded.rawValue)
      #expect(String(decoding: body, as: UTF8.self) == late && took >= least && took < least + 5)
    }
    // Reads go on, and a number may be used again at once.
    try socket.send(request(.range, rangeBody("a"), stream: 2, deadline_ms: 100))
    #expect(try socket.frame().header.status == 0)
    fault.set(.working)
    // Those that waited are answered, once; the others' answers are dropped, their writes are not.
    var streams: Set<UInt32> = []
    for _ in 0..<2 {
      let (header, _) = try socket.frame()
      #expect(header.status == 0)
      streams.insert(header.stream)
    }
    #expect(streams == [4, 5])
    for key in ["b", "c", "d", "e"] {
      try socket.send(request(.range, rangeBody(key), stream: 9, deadline_ms: 0))
      let (header, body) = try socket.frame()
      #expect(header.stream == 9)
      #expect(try body.withUnsafeBytes { try RangeResponse($0) }.kvs.count == 1)
    }
    server.stop()
  }

  /// A lock that is not to be had in time: the caller is told, and leaves the queue.
  @Test func whoWaitsForALockLeavesInTime() throws {
    let server = try RunningServer(.auto)
    let socket = try connect(server)
    func grant(_ id: Int64) throws {
      try socket.send(
        request(.leaseGrant, LeaseRequestView.grant(id: id, ttl: 600).encoded(), stream: 1, deadline_ms: 0))
      #expect(try socket.frame().header.status == 0)
    }
    func lock(_ id: Int64) -> Bytes {
      Bytes("n".utf8).withUnsafeBytes { name in
        var request = LockRequestView()
        request.name = name
        request.lease = id
        return request.encoded()
      }
    }
    try grant(1)
    try grant(2)
    try socket.send(request(.lock, lock(1), stream: 2, deadline_ms: 1_000))
    #expect(try socket.frame().header.status == 0)
    try socket.send(request(.lock, lock(2), stream: 3, deadline_ms: 200))
    let (header, body) = try socket.frame()
    #expect(header.stream == 3 && header.status == StatusCode.deadlineExceeded.rawValue)
    #expect(String(decoding: body, as: UTF8.self) == late)
    var count: Int64 = 2
    for _ in 0..<2_000 where count != 1 {
      try socket.send(request(.range, RangeRequest(.prefix(Bytes("n/".utf8))).encoded(), stream: 4, deadline_ms: 0))
      count = try socket.frame().body.withUnsafeBytes { try RangeResponse($0) }.count
      usleep(2_000)
    }
    #expect(count == 1)
    server.stop()
  }

  @Test func ticketsAreGivenBackOnce() {
    var generator = SeededGenerator(SeededGenerator.seed("deadlines"))
    var deadlines = CallDeadlines()
    func address(_ stream: UInt32) -> ReplyAddress {
      ReplyAddress(reactor: 0, method: 2, slot: 0, generation: 0, stream: stream, startedAt_ns: 0)
    }
    /// By ticket: the stream and the deadline, 0 = told.
    var out: [UInt32: (stream: UInt32, at: UInt64)] = [:]
    var now: UInt64 = 1
    for stream in 1...UInt32(20_000) {
      if Int.random(in: 0..<3, using: &generator) > 0 {
        let at = now + UInt64.random(in: 1...500, using: &generator)
        let ticket = deadlines.begin(address(stream), at_ns: at)
        #expect(ticket != 0 && out[ticket] == nil)
        out[ticket] = (stream, at)
      }
      for (ticket, call) in out where Int.random(in: 0..<100, using: &generator) == 0 {
        #expect(deadlines.end(ticket) == (call.at != 0))
        out[ticket] = nil
      }
      now += UInt64.random(in: 0...4, using: &generator)
      let expired = Set(deadlines.takeExpired(now_ns: now).map(\.stream))
      #expect(expired == Set(out.values.filter { $0.at != 0 && $0.at <= now }.map(\.stream)))
      for (ticket, call) in out where expired.contains(call.stream) { out[ticket] = (call.stream, 0) }
      if let earliest = out.values.map(\.at).filter({ $0 != 0 }).min() { #expect(deadlines.next_ns <= earliest) }
      #expect(deadlines.count == out.count)
    }
  }
}
