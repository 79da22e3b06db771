// The async client: calls from many tasks, cancellation, the end.

import FakeServer
import NeedletailClient
import Testing

@Suite struct ClientTests {
  @Test func shortForms() async throws {
    let server = try FakeServer()
    defer { server.stop() }
    let client = try Client(endpoints: [server.endpoint])
    let revision = try await client.put("greeting", "hello")
    #expect(revision == 2)
    #expect(try await client.get("greeting")?.value == Array("hello".utf8))
    #expect(try await client.get("other") == nil)
    #expect(try await client.delete("greeting"))
    #expect(try await client.delete("greeting") == false)
    #expect(try await client.status().version == "0.1.0")
    await #expect(throws: ClientError.unreachable("there is no endpoint number 1")) {
      try await client.status(endpoint: 1)
    }
  }

  @Test func manyTasks() async throws {
    let servers = try (0..<2).map { _ in try FakeServer() }
    defer { for server in servers { server.stop() } }
    let client = try Client(endpoints: servers.map(\.endpoint))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for at in 0..<500 { group.addTask { try await client.put("key\(at)", "value") } }
      try await group.waitForAll()
    }
    #expect(servers.reduce(0) { $0 + $1.contents.count } == 500)
  }

  @Test func cancellation() async throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { _ in .ignore }
    let client = try Client(endpoints: [server.endpoint], timeout: .seconds(60))
    let task = Task { () -> ClientError? in
      await failure { () async throws(ClientError) in _ = try await client.get("a") }
    }
    while server.received.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
    task.cancel()
    #expect(await task.value == .cancelled)
    // Cancelled before it began.
    let second = Task { () -> ClientError? in
      while !Task.isCancelled { await Task.yield() }
      return await failure { () async throws(ClientError) in _ = try await client.get("a") }
    }
    second.cancel()
    #expect(await second.value == .cancelled)
  }

  @Test func closing() async throws {
    let server = try FakeServer()
    defer { server.stop() }
    server.onRequest { _ in .ignore }
    let client = try Client(endpoints: [server.endpoint], timeout: .seconds(60))
    let task = Task { () -> ClientError? in
      await failure { () async throws(ClientError) in _ = try await client.get("a") }
    }
    while server.received.isEmpty { try await Task.sleep(for: .milliseconds(1)) }
    client.close()
    #expect(await task.value == .closed)
    await #expect(throws: ClientError.closed) { try await client.get("a") }
  }

  @Test func noEndpoints() {
    #expect(throws: ClientError.unreachable("no endpoints are given")) { try Client(endpoints: []) }
  }
}

/// The error that `body` throws.
private func failure(_ body: () async throws(ClientError) -> Void) async -> ClientError? {
  do {
    try await body()
    return nil
  } catch { return error }
}
