// The low-level connection: batches, odd orders, full sockets, broken peers.

import FakeServer
import NeedletailClient
import NeedletailRPC
import Testing

/// A put request whose bytes live as long as `body` runs.
private func submitPut(_ connection: ClientConnection, _ key: String, _ value: [UInt8]) -> UInt32 {
  let body = PutRequest(key: [UInt8](key.utf8), value: value).encoded()
  return body.withUnsafeBytes { connection.submit(.put, encoded: $0) }
}

private var soon: Instant { Instant.now + .seconds(20) }

@Suite struct ConnectionTests {
  @Test func manyRequestsAtOnce() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    var streams: Set<UInt32> = []
    for at in 0..<2_000 { streams.insert(submitPut(connection, "key\(at)", [1])) }
    #expect(streams.count == 2_000 && connection.inFlight == 2_000)
    try connection.flush(deadline: soon)
    #expect(connection.sentBytes == connection.submittedBytes)
    while !streams.isEmpty {
      let answer = try connection.receive(deadline: soon)
      #expect(answer.code == .ok && answer.isEndOfStream)
      #expect(streams.remove(answer.stream) != nil)
    }
    #expect(connection.inFlight == 0)
    #expect(server.contents.count == 2_000)
    #expect(connection.hello?.version == 1)
  }

  @Test func answersInOddOrder() throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { _ in .reverse(count: 100) }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    let streams = (0..<100).map { submitPut(connection, "key\($0)", []) }
    // `receive` sends what is submitted by itself.
    let answered = try (0..<100).map { _ in try connection.receive(deadline: soon).stream }
    #expect(answered == streams.reversed())
  }

  /// Both sides send more than the sockets hold before either reads: `flush` must take answers in meanwhile.
  @Test func fullSocketsOnBothSides() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    let big = [UInt8](repeating: 7, count: 1 << 20)
    _ = submitPut(connection, "big", big)
    _ = try connection.receive(deadline: soon)
    let get = RangeRequest(.key(Array("big".utf8))).encoded()
    for _ in 0..<24 {
      _ = submitPut(connection, "other", big)
      _ = get.withUnsafeBytes { connection.submit(.range, encoded: $0) }
    }
    try connection.flush(deadline: soon)
    var bytes = 0
    for _ in 0..<48 {
      let answer = try connection.receive(deadline: soon)
      if answer.rawMethod == Method.range.rawValue {
        bytes += try RangeResponse(answer.body).kvs.reduce(0) { $0 + $1.value.count }
      }
    }
    #expect(bytes == 24 << 20)
  }

  @Test func overAUnixSocket() throws {
    let server = try FakeServer(unixPath: "/tmp/needletail-client-test-\(UInt32.random(in: 0 ... .max)).sock")
    defer { server.stop() }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    _ = submitPut(connection, "a", [1])
    #expect(try connection.receive(deadline: soon).code == .ok)
  }

  @Test func unknownMethodLeavesTheConnectionAlive() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let stream = connection.submit(.txn, encoded: nothing)
    let answer = try connection.receive(deadline: soon)
    #expect(answer.stream == stream && answer.code == .unimplemented)
    _ = submitPut(connection, "a", [1])
    #expect(try connection.receive(deadline: soon).code == .ok)
  }

  @Test func nobodyListens() throws {
    let server = try FakeServer()
    server.stop()
    do {
      _ = try ClientConnection.connect(to: server.endpoint, deadline: soon)
      Issue.record("connected to a closed port")
    } catch {
      #expect(error == .unreachable("\(server.endpoint): connection refused"))
    }
  }

  @Test func silentServer() throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { _ in .ignore }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    _ = submitPut(connection, "a", [1])
    do {
      _ = try connection.receive(deadline: Instant.now + .milliseconds(50))
      Issue.record("an answer came from nowhere")
    } catch {
      #expect(error == .deadlineExceeded("waiting for \(server.endpoint)"))
    }
  }

  /// The server's last words before it closes reach the caller.
  @Test func errorOnStreamZero() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
    let tooBig = [UInt8](repeating: 0, count: FrameLimits.requestBodyBytes)
    _ = submitPut(connection, "a", tooBig)
    do {
      while true { _ = try connection.receive(deadline: soon) }
    } catch {
      // The words were sent before any reset: whatever call notices the end first, they are read before it is told.
      #expect(error.description.contains("over the limit"), "\(error)")
    }
  }

  @Test func garbageInsteadOfAnswers() throws {
    let seed = UInt64.random(in: .min ... .max)
    print("garbageInsteadOfAnswers: seed \(seed)")
    var state = seed
    for _ in 0..<60 {
      let bytes = (0..<Int(state % 97)).map { _ -> UInt8 in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 56)
      }
      state = state &* 6_364_136_223_846_793_005 &+ 1
      let server = try FakeServer()
      defer { server.stop() }
      // Garbage first; the request after it ends the connection.
      server.onRequest { $0.key == Array("a".utf8) ? .raw(bytes) : .hangUp }
      let connection = try ClientConnection.connect(to: server.endpoint, deadline: soon)
      _ = submitPut(connection, "a", [1])
      _ = submitPut(connection, "b", [1])
      do {
        while true { _ = try connection.receive(deadline: soon) }
      } catch {
        switch error {
        case .protocolViolation, .disconnected: break
        default: Issue.record("\(error) for \(bytes)")
        }
      }
    }
  }
}
