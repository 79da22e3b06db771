// Endpoints as people write them, and the small arithmetic of time and ranges.

import Testing

@testable import NeedletailClient

@Suite struct EndpointTests {
  @Test func spellings() throws {
    #expect(try Endpoint("127.0.0.1:2379").address == .network(host: "127.0.0.1", port: 2379))
    #expect(try Endpoint("http://db.example:80/").address == .network(host: "db.example", port: 80))
    #expect(try Endpoint("localhost").address == .network(host: "localhost", port: 2379))
    #expect(try Endpoint("[::1]:2380").address == .network(host: "::1", port: 2380))
    #expect(try Endpoint("[::1]").address == .network(host: "::1", port: 2379))
    #expect(try Endpoint("unix:/run/n.sock").address == .unix(path: "/run/n.sock"))
    #expect(try Endpoint("unix:///run/n.sock").address == .unix(path: "/run/n.sock"))
    #expect(try Endpoint("http://127.0.0.1:1").text == "http://127.0.0.1:1")
    #expect(try Endpoint.list("a:1,b:2").map(\.text) == ["a:1", "b:2"])
  }

  @Test(arguments: [
    "", ":1", "a:", "a:0", "a:65536", "a:x", "a:+1", "a:-1", "https://a:1", "ftp://a", "::1", "[::1", "[::1]x", "a/b",
    "http://", "unix:", "unix:" + String(repeating: "x", count: 108), "a\0b:1", "a:１",
  ])
  func refused(_ text: String) {
    do {
      _ = try Endpoint(text)
      Issue.record("\(text) was taken")
    } catch {
      guard case .invalidEndpoint = error else {
        Issue.record("\(error)")
        return
      }
    }
  }

  @Test func listsRefuseEmptyParts() {
    #expect(throws: ClientError.self) { try Endpoint.list("a:1,,b:2") }
    #expect(throws: ClientError.self) { try Endpoint.list("") }
  }

  @Test func prefixEnds() {
    #expect(KeyRange.prefix([1, 2]).bounds == ([1, 2], [1, 3]))
    #expect(KeyRange.prefix([1, 0xFF]).bounds == ([1, 0xFF], [2]))
    #expect(KeyRange.prefix([0xFF, 0xFF]).bounds == ([0xFF, 0xFF], [0]))
    #expect(KeyRange.prefix([]).bounds == ([0], [0]))
    #expect(KeyRange.from([]).bounds == ([0], [0]))
    #expect(KeyRange.from([5]).bounds == ([5], [0]))
    #expect(KeyRange.key([5]).bounds == ([5], []))
  }

  @Test func instants() {
    let start = Instant(nanoseconds: 1_000)
    #expect(start + .seconds(1) == Instant(nanoseconds: 1_000_001_000))
    #expect(start + .seconds(Int64.max) == .never)
    #expect(Instant.never.pollTimeout(from: start) == -1)
    #expect(start.pollTimeout(from: start) == 0)
    #expect(Instant(nanoseconds: 1_001).pollTimeout(from: start) == 1)
    #expect((start + .milliseconds(2)).pollTimeout(from: start) == 2)
    #expect((start + .seconds(86_400 * 365)).pollTimeout(from: start) == .max)
    #expect(Duration.seconds(5).frameDeadline == 5_000)
    #expect(Duration.zero.frameDeadline == 1)
    #expect(Duration.seconds(Int64.max).frameDeadline == .max)
  }
}
