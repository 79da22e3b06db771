// The client's watches, locks, elections and transactions against a server of this process.
import Foundation
import NeedletailClient
import NeedletailRPC
import NeedletailServer
import Testing

@Suite(.timeLimit(.minutes(1))) struct ClientWatchTests {
  private func bytes(_ text: String) -> Bytes { Bytes(text.utf8) }

  private func client(_ server: RunningServer) throws -> Client {
    try Client(endpoints: [try Endpoint("127.0.0.1:\(server.port)")])
  }

  private func events(_ watch: WatchResponses, _ count: Int) async throws -> [WatchEvent] {
    var events: [WatchEvent] = []
    for try await response in watch {
      events += response.events
      if events.count >= count { break }
    }
    return events
  }

  @Test func eventsComeInOrder() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    for i in 2...5 { try await client.put("k", "\(i)") }
    var request = WatchRequest(.key(bytes("k")))
    request.startRevision = 3
    request.prevKV = true
    let seen = try await events(client.watch(request), 3)
    #expect(seen.map(\.kv.modRevision) == [3, 4, 5] && seen[0].prevKV?.value == bytes("2"))
    // Leaving the loop has cancelled the watch, and the stream went with the last one.
    let figures = server.node.watch.figures
    for _ in 0..<1000 where figures.streams.load(ordering: .relaxed) > 0 { usleep(2_000) }
    #expect(figures.watchers.load(ordering: .relaxed) == 0 && figures.streams.load(ordering: .relaxed) == 0)
    client.close()
    server.stop()
  }

  @Test func endsHaveTheirReasons() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    for i in 2...9 { try await client.put("k", "\(i)") }
    try await client.compact(5)
    var request = WatchRequest(.key(bytes("k")))
    request.startRevision = 3
    await #expect(throws: ClientError.compacted(5)) { _ = try await events(client.watch(request), 1) }
    await #expect(throws: ClientError.server(StatusError(.cancelled, "mvcc: watcher range is empty"))) {
      _ = try await events(client.watch(WatchRequest(.range(bytes("b"), end: bytes("a")))), 1)
    }
    client.close()
    await #expect(throws: ClientError.closed) { _ = try await events(client.watch(request), 1) }
    server.stop()
  }

  /// Whoever does not read is not sent everything: the watch stops at about a mebibyte, and later goes on without gap.
  @Test func aReaderWhoWaitsCostsLittle() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    let watch = client.watch(WatchRequest(.prefix(bytes("k"))))
    // The other one reads along, over the same connection.
    let along = Task { [self] in try await events(client.watch(WatchRequest(.prefix(bytes("k")))), 600) }
    let figures = server.node.watch.figures
    for _ in 0..<1000 where figures.watchers.load(ordering: .relaxed) < 2 { usleep(2_000) }
    let value = Bytes(repeating: 7, count: 50_000)
    let count = 600
    for i in 0..<count { _ = try await client.put(PutRequest(key: bytes("k\(i % 9)"), value: value)) }
    #expect(try await along.value.count == count)
    for _ in 0..<1000 where figures.watchers.load(ordering: .relaxed) > 0 { usleep(2_000) }
    #expect(figures.watchers.load(ordering: .relaxed) == 0, "the one that is not read still runs")
    let seen = try await events(watch, count)
    #expect(seen.map(\.kv.modRevision) == (2...Int64(count + 1)).map { $0 })
    // One that waited until its history was gone is told so.
    let late = client.watch(WatchRequest(.prefix(bytes("k"))))
    for _ in 0..<1000 where figures.watchers.load(ordering: .relaxed) < 1 { usleep(2_000) }
    for i in 0..<count { _ = try await client.put(PutRequest(key: bytes("k\(i % 9)"), value: value)) }
    for _ in 0..<1000 where figures.watchers.load(ordering: .relaxed) > 0 { usleep(2_000) }
    try await client.compact(Int64(2 * count + 1))
    await #expect(throws: ClientError.compacted(Int64(2 * count + 1))) { _ = try await events(late, count) }
    client.close()
    server.stop()
  }

  /// A range in pieces, read slowly, over a connection that is lost in between: every pair once, all of one revision.
  @Test func aLargeRangeIsReadInPieces() async throws {
    let directory = try TemporaryDirectory()
    var server = try RunningServer(.auto, directory: directory.path)
    let port = server.port
    let client = try Client(endpoints: [try Endpoint("127.0.0.1:\(port)")], dialTimeout: .seconds(10))
    let value = Bytes(repeating: 5, count: 20_000)
    let count = 1_000
    for i in 0..<count { _ = try await client.put(PutRequest(key: bytes("k\(1_000 + i)"), value: value)) }
    for (order, limit) in [(SortOrder.none, 0), (.descend, 0), (.none, 777)] {
      var request = RangeRequest(.prefix(bytes("k")))
      request.sortOrder = order
      request.limit = Int64(limit)
      var keys: [Bytes] = []
      var pieces = 0
      for try await pairs in client.rangeStream(request) {
        pieces += 1
        keys += pairs.map(\.key)
        #expect(pairs.allSatisfy { $0.value == value })
        guard pieces == 3 else { continue }
        // Not of this revision.
        try await client.put("k0", "later")
        try await client.delete("k1")
        server.stop()
        server = try RunningServer(.auto, directory: directory.path, port: port)
      }
      try await client.delete("k0")
      let all = (0..<count).map { bytes("k\(1_000 + $0)") }
      let wanted = order == .descend ? Array(all.reversed()) : limit > 0 ? Array(all[..<limit]) : all
      #expect(keys.filter { $0 != bytes("k0") } == wanted && pieces > 10)
    }
    // Whoever leaves early leaves nothing behind.
    for try await _ in client.rangeStream(RangeRequest(.all)) { break }
    #expect(server.hasReaders(0))
    var sorted = RangeRequest(.all)
    sorted.sortTarget = .mod
    await #expect(throws: ClientError.server(.invalidSortOption)) {
      for try await _ in client.rangeStream(sorted) {}
    }
    client.close()
    server.stop()
  }

  @Test func progressIsToldToEveryWatch() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    let watches = ["a", "b"].map { client.watch(WatchRequest(.key(bytes($0)))) }
    try await client.put("c", "1")
    let told = try await withThrowingTaskGroup(of: Int64.self) { group in
      for watch in watches {
        group.addTask {
          for try await response in watch {
            if response.created { client.requestWatchProgress() }
            if response.isProgress, response.header.revision >= 2 { return response.header.revision }
          }
          return 0
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(told == [2, 2])
    client.close()
    server.stop()
  }

  /// The server goes away and comes back, while others write; the watch goes on where it was.
  @Test func aWatchOutlivesItsServer() async throws {
    let directory = try TemporaryDirectory()
    var server = try RunningServer(.auto, directory: directory.path)
    let port = server.port
    let client = try Client(endpoints: [try Endpoint("127.0.0.1:\(port)")])
    let rounds = 4
    let perRound = 300
    let watch = client.watch(WatchRequest(.prefix(bytes("k"))))
    let seen = Task { try await events(watch, rounds * perRound) }
    // The first must not be missed because the watch was not there yet.
    for _ in 0..<1000 where server.node.watch.figures.watchers.load(ordering: .relaxed) == 0 { usleep(2_000) }
    for round in 0..<rounds {
      for i in 0..<perRound { try await client.put("k\(i % 10)", "\(round * perRound + i)") }
      guard round < rounds - 1 else { break }
      server.stop()
      server = try RunningServer(.auto, directory: directory.path, port: port)
    }
    let values = try await seen.value.map { String(decoding: $0.kv.value, as: UTF8.self) }
    #expect(values == (0..<rounds * perRound).map { "\($0)" })
    client.close()
    server.stop()
  }

  @Test func locksExclude() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<6 {
        group.addTask {
          let session = try await Session(client, ttl: 30)
          for _ in 0..<5 {
            let lock = try await Lock.acquire("counter", session)
            // Without the lock, many would read the same.
            let value = try await client.get("n").flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0
            try await client.put("n", "\(value + 1)")
            try await lock.release()
          }
          try await session.close()
        }
      }
      try await group.waitForAll()
    }
    #expect(try await client.get("n")?.value == bytes("30"))
    #expect(try await client.listLeases().ids.isEmpty)
    client.close()
    server.stop()
  }

  /// Whoever waits for a lock that is never released gets it when the holder's lease ends; one that is cancelled leaves.
  @Test func aLockEndsWithItsSession() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    let holder = try await Session(client, ttl: 30)
    _ = try await Lock.acquire("l", holder)
    let waiter = try await Session(client, ttl: 30)
    let quitter = Task {
      let session = try await Session(client, ttl: 30)
      _ = try await Lock.acquire("l", session)
    }
    let waiting = Task { try await Lock.acquire("l", waiter) }
    for _ in 0..<1000 {
      if try await client.range(RangeRequest(.prefix(bytes("l/")))).count == 3 { break }
      usleep(2_000)
    }
    quitter.cancel()
    await #expect(throws: ClientError.cancelled) { try await quitter.value }
    #expect(try await client.range(RangeRequest(.prefix(bytes("l/")))).count == 2)
    try await holder.close()
    let lock = try await waiting.value
    #expect(try await client.range(RangeRequest(.prefix(bytes("l/")))).kvs.map(\.key) == [lock.key])
    client.close()
    server.stop()
  }

  @Test func electionsHaveOneLeader() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    let first = try await Session(client, ttl: 30)
    let second = try await Session(client, ttl: 30)
    let leader = try await Election.campaign("e", value: bytes("one"), first)
    let next = Task { try await Election.campaign("e", value: bytes("two"), second) }
    var heard: [String] = []
    for try await answer in Election.observe("e", client) {
      heard.append(String(decoding: answer.kvs[0].value, as: UTF8.self))
      if heard == ["one"] { try await leader.proclaim(bytes("still one")) }
      if heard.count == 2 {
        while try await client.range(RangeRequest(.prefix(bytes("e/")))).count < 2 { usleep(2_000) }
        try await leader.resign()
      }
      if heard.count == 3 { break }
    }
    #expect(heard == ["one", "still one", "two"])
    #expect(try await Election.leader("e", client).kvs.first?.key == next.value.key)
    await #expect(throws: ClientError.server(StatusError(.failedPrecondition, "election: not leader"))) {
      try await leader.proclaim(bytes("three"))
    }
    client.close()
    server.stop()
  }

  /// Money moves between accounts by many at once, and none is made or lost.
  @Test func transactionsAreSerializable() async throws {
    let server = try RunningServer(.auto)
    let client = try client(server)
    for i in 0..<4 { try await client.put("account\(i)", "100") }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for task in 0..<6 {
        group.addTask {
          for i in 0..<10 {
            let (from, to) = ("account\((task + i) % 4)", "account\((task * 3 + i * 2 + 1) % 4)")
            try await client.transaction { txn in
              let a = Int(String(decoding: try await txn.get(Bytes(from.utf8)) ?? [], as: UTF8.self)) ?? 0
              txn.put(Bytes(from.utf8), Bytes("\(a - 7)".utf8))
              let b = Int(String(decoding: try await txn.get(Bytes(to.utf8)) ?? [], as: UTF8.self)) ?? 0
              txn.put(Bytes(to.utf8), Bytes("\(b + 7)".utf8))
            }
          }
        }
      }
      try await group.waitForAll()
    }
    let sum = try await client.range(RangeRequest(.prefix(bytes("account")))).kvs.reduce(0) {
      $0 + (Int(String(decoding: $1.value, as: UTF8.self)) ?? 0)
    }
    #expect(sum == 400)
    try await client.transaction { $0.delete(Array("account0".utf8)) }
    #expect(try await client.get("account0") == nil)
    client.close()
    server.stop()
  }
}
