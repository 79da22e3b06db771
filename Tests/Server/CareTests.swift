// The scrub as the server runs it, and the watch for readers that stay behind.
import Foundation
import Glibc
import Logging
import NeedletailBackend
import NeedletailClient
import NeedletailRPC
import Testing

@testable import NeedletailServer

@Suite(.serialized) struct CareTests {
  @Test func damageMakesTheServerUnhealthy() throws {
    let server = try RunningServer(.auto) {
      $0.scrub.delay_ms = 0
      $0.scrub.interval_ms = 50
      $0.scrub.rate_mib = 1000
    }
    defer { server.stop() }
    let client = BlockingClient([try Endpoint("127.0.0.1:\(server.port)")], timeout: .seconds(20))
    for i in 0..<400 {
      _ = try client.put(PutRequest(key: Array("key\(i)".utf8), value: [UInt8](repeating: 7, count: 500)))
    }
    let scrub = server.node.status.scrub
    func passes(_ count: UInt64) {
      let target = scrub.passes.load(ordering: .relaxed) + count
      let deadline = Date().addingTimeInterval(20)
      while scrub.passes.load(ordering: .relaxed) < target, Date() < deadline { usleep(10_000) }
    }
    passes(2)
    #expect(scrub.damagedPages.load(ordering: .relaxed) == 0 && scrub.illness == nil)
    #expect(scrub.pages.load(ordering: .relaxed) > 50 && scrub.bytes.load(ordering: .relaxed) > 200_000)
    #expect(throws: Never.self) { try client.askAll(.health)[0].result.get() }

    // Some page of the file that holds the keys.
    let path = server.path + "/member/db"
    let file = open(path, O_RDWR)
    defer { close(file) }
    var page = [UInt8](repeating: 0, count: 4096)
    var damaged: [Int] = []
    let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int ?? 0
    for number in 4..<size / 4096 {
      pread(file, &page, 4096, off_t(number * 4096))
      if page[16] == 1 {
        var byte = page[3000] ^ 1
        pwrite(file, &byte, 1, off_t(number * 4096 + 3000))
        damaged.append(number)
      }
    }
    passes(2)
    #expect(scrub.damagedPages.load(ordering: .relaxed) > 0)
    #expect(scrub.damagedPages.load(ordering: .relaxed) <= UInt64(damaged.count))
    let illness = scrub.illness ?? ""
    #expect(illness.hasPrefix("CORRUPT: "))
    #expect(damaged.contains { illness.contains("page \($0) of tree") }, "\(illness)")
    client.timeout = .milliseconds(300)
    guard case .failure(let error) = client.askAll(.health)[0].result else {
      Issue.record("a damaged server calls itself healthy")
      return
    }
    #expect(error.description.contains("CORRUPT: "))
    let socket = try PlainSocket(server.port)
    try socket.send("GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
    let metrics = try socket.text()
    #expect(metrics.contains("\nneedletail_scrub_damaged_pages \(scrub.damagedPages.load(ordering: .relaxed))\n"))
  }

  @Test func oldReaders() throws {
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.path + "/db")
    defer { database.close() }
    let lines = LogLines()
    let watch = ReaderWatch(logger: Logger(label: "test") { _ in lines }, warningAge_ms: 5_000)
    func put() throws { try database.write { $0.setWord(0, $0.word(0) + 1) } }
    try put()
    let reader = try database.makeReader()
    let transaction = reader.pin().transaction
    watch.sample(database, now_ns: 1_000_000_000)
    #expect(watch.holdingBack.load(ordering: .relaxed) == 0)
    try put()
    for second in 2...20 { watch.sample(database, now_ns: UInt64(second) * 1_000_000_000) }
    #expect(watch.holdingBack.load(ordering: .relaxed) == 1)
    #expect(watch.oldestTransaction.load(ordering: .relaxed) == transaction)
    #expect(watch.oldestAge_ms.load(ordering: .relaxed) == 18_000)
    // At 5, 10 and 15 s.
    #expect(lines.count == 3)
    // A new pin is a new reader.
    reader.unpin()
    _ = reader.pin()
    try put()
    watch.sample(database, now_ns: 21_000_000_000)
    #expect(watch.oldestAge_ms.load(ordering: .relaxed) == 0)
    reader.unpin()
    watch.sample(database, now_ns: 22_000_000_000)
    #expect(watch.holdingBack.load(ordering: .relaxed) == 0)
    #expect(lines.count == 3)
    reader.free()
  }
}

/// Counts what is logged. Sendable: used by one thread.
private final class LogLines: LogHandler, @unchecked Sendable {
  var count = 0
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.info

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { count += 1 }
}
