// Failover and retry, by the rules: reads go again, writes only when they were surely not executed.

import FakeServer
import NeedletailClient
import NeedletailRPC
import Testing

private func makeClient(_ servers: [FakeServer], timeout: Duration = .seconds(20)) -> BlockingClient {
  var options = DispatcherOptions()
  options.dialTimeout = .milliseconds(300)
  options.patience = .milliseconds(50)
  options.startIndex = 0
  return BlockingClient(servers.map(\.endpoint), timeout: timeout, options: options)
}

private func bytes(_ text: String) -> [UInt8] { [UInt8](text.utf8) }
private func get(_ key: String) -> RangeRequest { RangeRequest(.key(bytes(key))) }
private func put(_ key: String, _ value: String) -> PutRequest { PutRequest(key: bytes(key), value: bytes(value)) }

@Suite struct DispatcherTests {
  @Test func callsAndTheirAnswers() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let client = makeClient([server])
    for key in ["a", "ab", "b"] { _ = try client.put(put(key, "v" + key)) }
    #expect(try client.range(get("ab")).kvs.map(\.value) == [bytes("vab")])
    #expect(try client.range(RangeRequest(.prefix(bytes("a")))).kvs.map(\.key) == [bytes("a"), bytes("ab")])
    #expect(try client.range(RangeRequest(.all)).count == 3)
    #expect(try client.range(RangeRequest(.from(bytes("ab")))).count == 2)
    #expect(try client.range(RangeRequest(.range(bytes("a"), end: bytes("b")))).count == 2)
    var again = put("a", "new")
    again.prevKV = true
    #expect(try client.put(again).prevKV?.value == bytes("va"))
    #expect(try client.deleteRange(DeleteRangeRequest(.prefix(bytes("a")))).deleted == 2)
    #expect(server.received.allSatisfy { $0.deadlineMS > 0 && $0.deadlineMS <= 20_000 })
  }

  @Test func serversErrorsComeThrough() throws {
    let server = try FakeServer()
    defer { server.stop() }
    let client = makeClient([server])
    #expect(throws: ClientError.server(.emptyKey)) { try client.put(put("", "x")) }
    var request = get("a")
    request.revision = 99
    #expect(throws: ClientError.server(.futureRevision)) { try client.range(request) }
    // Refused is refused: neither was sent twice.
    #expect(server.received.count == 2)
  }

  @Test func deadServerIsPassedOver() throws {
    let (dead, alive) = (try FakeServer(), try FakeServer())
    defer { alive.stop() }
    dead.stop()
    let client = makeClient([dead, alive])
    for at in 0..<10 { _ = try client.put(put("k\(at)", "v")) }
    #expect(alive.contents.count == 10)
  }

  @Test func requestsGoRound() throws {
    let servers = try (0..<3).map { _ in try FakeServer() }
    defer { for server in servers { server.stop() } }
    let client = makeClient(servers)
    for _ in 0..<90 { _ = try client.range(get("a")) }
    for server in servers { #expect(server.received.count > 20) }
  }

  @Test func readGoesAgainWhenTheConnectionBreaks() throws {
    let (breaking, alive) = (try FakeServer(), try FakeServer())
    defer {
      breaking.stop()
      alive.stop()
    }
    breaking.onRequest { _ in .hangUp }
    let client = makeClient([breaking, alive])
    for _ in 0..<5 { #expect(try client.range(get("a")).count == 0) }
    #expect(!breaking.received.isEmpty)
  }

  @Test func writeThatWasSentIsNotSentAgain() throws {
    let (breaking, alive) = (try FakeServer(), try FakeServer())
    defer {
      breaking.stop()
      alive.stop()
    }
    breaking.onRequest { _ in .hangUp }
    let client = makeClient([breaking, alive])
    do {
      _ = try client.put(put("a", "v"))
      Issue.record("the write was sent to another server")
    } catch {
      guard case .outcomeUnknown = error else {
        Issue.record("\(error)")
        return
      }
    }
    #expect(breaking.received.count == 1 && alive.contents.isEmpty)
    let delete = DeleteRangeRequest(.all)
    var outcomes = 0
    for _ in 0..<4 { do { _ = try client.deleteRange(delete) } catch { outcomes += 1 } }
    #expect(outcomes <= 3)
  }

  /// The first server accepts, but never reads: the request is larger than the sockets hold, so that its end has not
  /// left when the connection goes. It can't have been executed, and goes to the other server.
  @Test func writeThatWasNotSentGoesAgain() throws {
    let (deaf, alive) = (try FakeServer(reads: false), try FakeServer())
    defer { alive.stop() }
    let value = [UInt8](repeating: 1, count: 3 << 19)
    let requests = (0..<8).map { PutRequest(key: bytes("k\($0)"), value: value) }
    // Frames beyond what the sockets hold; all in one batch on the first connection.
    var results: [Result<[UInt8], ClientError>] = []
    var options = DispatcherOptions()
    options.startIndex = 0
    options.dialTimeout = .milliseconds(300)
    let dispatcher = Dispatcher([deaf.endpoint, alive.endpoint], options)
    let deadline = Instant.now + .seconds(20)
    // Connect to the deaf one first, so that all go there.
    while deaf.connectionCount == 0 {
      if dispatcher.pendingCount == 0 {
        dispatcher.submit(
          Operation(.put, body: requests[0].encoded(), kind: .write, endpoint: 0, deadline: deadline) {
            results.append($0)
          })
      }
      dispatcher.step(until: Instant.now + .milliseconds(5))
    }
    for request in requests.dropFirst() {
      dispatcher.submit(
        Operation(.put, body: request.encoded(), kind: .write, deadline: deadline) { results.append($0) })
    }
    for _ in 0..<20 { dispatcher.step(until: Instant.now + .milliseconds(5)) }
    deaf.stop()
    while dispatcher.pendingCount > 0, Instant.now < deadline { dispatcher.step(until: deadline) }
    var unknown = 0
    var done = 0
    for result in results {
      switch result {
      case .success: done += 1
      case .failure(.outcomeUnknown), .failure(.unreachable): unknown += 1
      case .failure(let error): Issue.record("\(error)")
      }
    }
    #expect(done + unknown == 8)
    // The socket buffers of one connection hold far less than 12 MiB: most were not sent whole.
    #expect(done >= 3)
    #expect(alive.contents.count == done)
  }

  @Test func unavailableServer() throws {
    let (busy, alive) = (try FakeServer(), try FakeServer())
    defer {
      busy.stop()
      alive.stop()
    }
    busy.onRequest { _ in .fail(.unavailable, "etcdserver: no leader") }
    let client = makeClient([busy, alive])
    for _ in 0..<4 { #expect(try client.range(get("a")).count == 0) }
    #expect(!busy.received.isEmpty)
    let alone = makeClient([busy])
    #expect(throws: ClientError.server(.noLeader)) { try alone.put(put("a", "v")) }
    alone.timeout = .milliseconds(200)
    #expect(throws: ClientError.deadlineExceeded("etcdserver: no leader")) { try alone.range(get("a")) }
  }

  @Test func timeRunsOut() throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { _ in .ignore }
    let client = makeClient([server], timeout: .milliseconds(100))
    let start = Instant.now
    #expect(throws: ClientError.deadlineExceeded("")) { try client.range(get("a")) }
    #expect(throws: ClientError.deadlineExceeded("")) { try client.put(put("a", "v")) }
    #expect(Instant.now - start < .seconds(10))
    // A late answer to a call that is over disturbs no other.
    server.onRequest { _ in .serve }
    client.timeout = .seconds(20)
    #expect(try client.range(get("a")).count == 0)
  }

  @Test func nobodyCanBeReached() throws {
    let servers = try (0..<2).map { _ in try FakeServer() }
    for server in servers { server.stop() }
    let client = makeClient(servers)
    do {
      _ = try client.range(get("a"))
      Issue.record("an answer came from nowhere")
    } catch {
      guard case .unreachable(let why) = error else {
        Issue.record("\(error)")
        return
      }
      for server in servers { #expect(why.contains("\(server.endpoint): connection refused")) }
    }
  }

  /// A server that starts late is found.
  @Test func serverComesBack() throws {
    let first = try FakeServer()
    let port = try #require(UInt16(first.endpoint.text.split(separator: ":").last ?? ""))
    let client = makeClient([first])
    _ = try client.range(get("a"))
    first.stop()
    let second = try FakeServer(port: port)
    defer { second.stop() }
    #expect(try client.range(get("a")).count == 0)
    #expect(second.received.count == 1)
  }

  /// What speaks another protocol has executed nothing: a write goes on to the next.
  @Test func strangersArePassedOver() throws {
    let (stranger, alive) = (try FakeServer(greeting: bytes("HTTP/1.1 400 Bad Request\r\n\r\n")), try FakeServer())
    defer {
      stranger.stop()
      alive.stop()
    }
    let client = makeClient([stranger, alive])
    for at in 0..<4 { _ = try client.put(put("k\(at)", "v")) }
    #expect(alive.contents.count == 4)
    do {
      _ = try makeClient([stranger]).put(put("a", "v"))
      Issue.record("an answer came from nowhere")
    } catch {
      guard case .unreachable(let why) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(why.contains("does not speak Needletail's protocol"))
    }
  }

  @Test func askAllEndpoints() throws {
    let (alive, dead) = (try FakeServer(), try FakeServer())
    defer { alive.stop() }
    dead.stop()
    let answers = makeClient([alive, dead]).askAll(.status)
    #expect(try StatusResponse(answers[0].result.get()).raftIndex == 23)
    guard case .failure(.unreachable) = answers[1].result else {
      Issue.record("\(answers[1].result)")
      return
    }
  }
}

extension StatusResponse {
  fileprivate init(_ bytes: [UInt8]) throws {
    self = try decode(bytes) { bytes throws(ProtoError) in try StatusResponse(bytes) }
  }
}
