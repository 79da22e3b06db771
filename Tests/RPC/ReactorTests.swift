import Foundation
import Glibc
import Testing

@testable import NeedletailRPC

/// Both transports go through the same tests.
@Suite(.serialized)
struct ReactorTests {
  static let kinds: [ReactorKind] = [.epoll, .ioUring]

  @Test("A pipeline of requests is answered in order, whatever its cuts", arguments: kinds)
  func everyByteBoundary(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let stream = request("E", "first") + request("E", "") + request("E", "the third one is longer") + request("E", "4")
    let expected = stream
    for cut in 0...stream.count {
      let socket = try TestSocket(server)
      try socket.send(Array(stream[..<cut]))
      if cut > 0 && cut < stream.count { usleep(500) }
      try socket.send(Array(stream[cut...]))
      #expect(try socket.receive(exactly: expected.count) == expected, "cut at \(cut)")
    }
    // One byte at a time.
    let socket = try TestSocket(server)
    for byte in stream { try socket.send([byte]) }
    #expect(try socket.receive(exactly: expected.count) == expected)
  }

  @Test("A request of a megabyte arrives whole", arguments: kinds)
  func largeRequest(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let socket = try TestSocket(server)
    let payload = (0..<(1 << 20) - 1).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) }
    let message = request("E", payload)
    let sender = Thread { try? socket.send(message + message) }
    sender.start()
    #expect(try socket.frame() == [UInt8(ascii: "E")] + payload)
    #expect(try socket.frame() == [UInt8(ascii: "E")] + payload)
  }

  @Test("A malformed request gets its error text, then the end, even with unread bytes behind it", arguments: kinds)
  func malformed(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let socket = try TestSocket(server)
    let garbage = [UInt8](repeating: 0xff, count: 300_000)
    try socket.send(request("E", "ok") + garbage)
    let answer = try socket.receiveToEnd()
    #expect(answer == request("E", "ok") + Array("bad frame".utf8))
  }

  @Test("A peer that ends its stream after its requests gets all answers", arguments: kinds)
  func halfClosed(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let socket = try TestSocket(server)
    try socket.send(request("E", "now") + request("D", "later"))
    socket.finishSending()
    #expect(try socket.receiveToEnd() == request("E", "now") + request("D", "later"))
    #expect(eventually { server.connections() == 0 })
  }

  @Test("A stream that ends within a request is told so", arguments: kinds)
  func truncated(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let socket = try TestSocket(server)
    try socket.send(request("E", "whole") + Array(request("E", "cut off").dropLast()))
    socket.finishSending()
    #expect(try socket.receiveToEnd() == request("E", "whole") + Array("abandoned: truncated".utf8))
  }

  @Test("Answers from another thread come in the order they were posted", arguments: kinds)
  func deferredOrder(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    let socket = try TestSocket(server)
    var expected: [UInt8] = []
    for i in 0..<2_000 { expected += request("D", "\(i)") }
    try socket.send(expected)
    #expect(try socket.receive(exactly: expected.count) == expected)
  }

  @Test("An answer for a connection that has gone is dropped", arguments: kinds)
  func orphans(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    defer { server.stop() }
    server.log.workers.suspend()
    var socket: TestSocket? = try TestSocket(server)
    try socket?.send(request("D", "for nobody"))
    #expect(eventually { server.counter(.receivedBytes) > 0 })
    // A reset, not an orderly end: the connection goes although it waits for an answer.
    var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
    setsockopt(socket!.descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    socket = nil
    #expect(eventually { server.connections() == 0 })
    let next = try TestSocket(server)
    server.log.workers.resume()
    #expect(eventually { server.log.orphans.load(ordering: .relaxed) == 1 })
    try next.send(request("E", "mine"))
    #expect(try next.frame() == Array("Emine".utf8))
  }

  @Test("A reader that does not read is not read from: memory stays bounded and nothing is lost", arguments: kinds)
  func slowReader(_ kind: ReactorKind) throws {
    var limits = ReactorLimits()
    limits.outputBacklog = 256 << 10
    let server = try EchoServer(kind, limits: limits)
    defer { server.stop() }
    let socket = try TestSocket(server)
    let size: UInt32 = 64 << 10
    let count = 2_000
    let sender = Thread {
      for _ in 0..<count { try? socket.send(bigRequest(size)) }
    }
    sender.start()
    #expect(eventually { server.counter(.pauses) > 0 })
    usleep(100_000)
    for _ in 0..<count { #expect(try socket.frame().count == Int(size) + 1) }
    #expect(server.log.maxBacklog.load(ordering: .relaxed) <= limits.outputBacklog + Int(size) + 5)
    #expect(server.counter(.pauses) > 1)
  }

  @Test("Many connections over two reactors, each with its own pipeline", arguments: kinds)
  func manyConnections(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind, reactors: 2)
    defer { server.stop() }
    let sockets = try (0..<500).map { _ in try TestSocket(server) }
    for round in 0..<3 {
      for (i, socket) in sockets.enumerated() { try socket.send(request("E", "\(round) \(i)") + request("D", "\(i)")) }
      for (i, socket) in sockets.enumerated() {
        var answers = [try socket.frame(), try socket.frame()]
        answers.sort { $0[0] > $1[0] }
        #expect(answers == [Array("E\(round) \(i)".utf8), Array("D\(i)".utf8)])
      }
    }
    // Both reactors accept, and each looks at the loads before it counts its own: near even, not exactly.
    // The sockets must still be there: an optimised build closes them after their last use.
    let loads = withExtendedLifetime(sockets) { [server.group.connections(0), server.group.connections(1)] }
    #expect(loads.reduce(0, +) == 500 && abs(loads[0] - loads[1]) <= 50, "\(loads)")
  }

  @Test("Over the connection limit a client is told so", arguments: kinds)
  func connectionLimit(_ kind: ReactorKind) throws {
    var limits = ReactorLimits()
    limits.connections = 4
    let server = try EchoServer(kind, limits: limits)
    defer { server.stop() }
    let served = try (0..<4).map { _ in try TestSocket(server) }
    for socket in served {
      try socket.send(request("E", "x"))
      _ = try socket.frame()
    }
    let refused = try TestSocket(server)
    try refused.send(request("E", "x"))
    #expect(try refused.receiveToEnd() == Array("too many connections".utf8))
    for socket in served {
      try socket.send(request("E", "y"))
      #expect(try socket.frame() == Array("Ey".utf8))
    }
    #expect(eventually { server.log.notices.contains(.connectionLimit(4)) })
  }

  @Test("A connection that never says anything, or stops within a request, is given up", arguments: kinds)
  func deadlines(_ kind: ReactorKind) throws {
    var limits = ReactorLimits()
    limits.greeting_ms = 200
    limits.stall_ms = 300
    let server = try EchoServer(kind, limits: limits)
    defer { server.stop() }
    let silent = try TestSocket(server)
    let stuck = try TestSocket(server)
    try stuck.send(request("E", "hello") + [9])
    let idle = try TestSocket(server)
    try idle.send(request("E", "idle"))
    #expect(try silent.receiveToEnd() == Array("abandoned: greetingTimeout".utf8))
    #expect(try stuck.receiveToEnd() == request("E", "hello") + Array("abandoned: stalled".utf8))
    // Idle between requests is no offence.
    usleep(800_000)
    try idle.send(request("E", "again"))
    #expect(try idle.receive(exactly: 18) == request("E", "idle") + request("E", "again").prefix(9))
  }

  @Test("A peer that takes no answers is given up at last", arguments: kinds)
  func stalledReader(_ kind: ReactorKind) throws {
    var limits = ReactorLimits()
    limits.stall_ms = 300
    limits.linger_ms = 200
    let server = try EchoServer(kind, limits: limits)
    defer { server.stop() }
    let socket = try TestSocket(server)
    for _ in 0..<40 { try socket.send(bigRequest(1 << 20)) }
    #expect(eventually { server.counter(.abandoned) == 1 && server.connections() == 0 })
  }

  @Test("A stop answers what was taken, closes the rest and returns", arguments: kinds)
  func gracefulStop(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    let idle = try TestSocket(server)
    try idle.send(request("E", "x"))
    _ = try idle.frame()
    let waiting = try TestSocket(server)
    server.log.workers.suspend()
    try waiting.send(request("D", "in flight"))
    #expect(eventually { server.counter(.receivedBytes) >= UInt64(6 + 14) })
    let answering = Thread {
      usleep(300_000)
      server.log.workers.resume()
    }
    answering.start()
    let answer = Mutex2<[UInt8]>([])
    let reader = DispatchGroup()
    DispatchQueue.global().async(group: reader) { answer.value = (try? waiting.receiveToEnd()) ?? [] }
    let took = server.stop(within_ms: 5_000)
    reader.wait()
    #expect(answer.value == request("D", "in flight"))
    #expect(took > 0.2 && took < 1, "\(took) s")
    #expect(try idle.receiveToEnd() == [])
    #expect(throws: ReactorError.self) { try TestSocket(port: server.port) }
  }

  @Test("What can't be finished in the stop's time is cut off", arguments: kinds)
  func boundedStop(_ kind: ReactorKind) throws {
    let server = try EchoServer(kind)
    let socket = try TestSocket(server)
    try socket.send(request("H", "never answered"))
    #expect(eventually { server.counter(.receivedBytes) > 0 })
    let took = server.stop(within_ms: 300)
    #expect(took > 0.25 && took < 2)
    #expect(server.log.notices.contains(.cutOff(1)))
    #expect(try socket.receiveToEnd() == [])
  }

  @Test("Unix sockets work alike, and a stale socket file is replaced", arguments: kinds)
  func unixSocket(_ kind: ReactorKind) throws {
    let path = "/tmp/needletail-reactor-\(getpid()).sock"
    for _ in 0..<2 {
      let stale = try ListenAddress.unix(path: path).listen()
      close(stale[0])
      let server = try EchoServer(kind, address: .unix(path: path))
      let socket = try TestSocket(server)
      try socket.send(request("E", "unix") + request("D", "too"))
      #expect(try socket.receive(exactly: 17) == request("E", "unix") + request("D", "too"))
      #expect(throws: ReactorError.self) { try ListenAddress.unix(path: path).listen() }
      server.stop()
    }
    #expect(access(path, F_OK) != 0)
  }
}

/// A box that two threads use one after the other.
final class Mutex2<T>: @unchecked Sendable {
  private let lock = NSLock()
  private var stored: T
  init(_ value: T) { stored = value }
  var value: T {
    get { lock.withLock { stored } }
    set { lock.withLock { stored = newValue } }
  }
}
