// Compaction over a node: removal in the background, waiting for it, over restarts, and by itself.
import Foundation
import NeedletailBackend
import NeedletailBytes
import NeedletailClient
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

extension RunningNode {
  func compact(_ revision: Int64, physical: Bool = false) throws -> NodeAnswer {
    let address = sink.address()
    let body = CompactionRequestView(revision, physical).encoded()
    try RunningNode.call(body) { (body) throws(StatusError) in try node.server.compact(body, reply: address) }
    return try #require(sink.wait(for: address))
  }

  func entries(_ tree: TreeID) throws -> UInt64 { try word { $0.tree(tree).count } }

  func word<T>(_ read: (SnapshotView) throws -> T) throws -> T {
    let reader = try node.server.makeReader()
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return try read(view)
  }

  /// Whether the background has caught up within the time.
  func waitForRemoval(seconds: Double = 20) throws -> Bool {
    let deadline = Date().addingTimeInterval(seconds)
    while try word({ $0.word(StoreWord.removedRevision) != $0.word(StoreWord.compactedRevision) }) {
      guard Date() < deadline else { return false }
      usleep(2_000)
    }
    return true
  }
}

@Suite struct CompactionTests {
  @Test func compactionAnswersAndRemovesInTheBackground() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    for i in 0..<3000 { _ = try running.propose(put: [UInt8(i % 7)], [UInt8(truncatingIfNeeded: i)]) }
    _ = try running.put([200], [1])
    #expect(try running.compact(5000).text == "etcdserver: mvcc: required revision is a future revision")
    let answer = try running.compact(3000)
    let header = try answer.body.withUnsafeBytes { try CompactionResponse($0) }.header
    #expect(answer.status == 0 && header.revision == 3002 && header.raftTerm == 1)
    #expect(
      try running.compact(3000)
        == NodeAnswer(
          status: 11, body: Bytes("etcdserver: mvcc: required revision has been compacted".utf8)))
    #expect(try running.waitForRemoval())
    #expect(try running.entries(running.node.store.log) == 3)
    // Physical: answered when a durable checkpoint has it.
    let physical = try running.compact(3002, physical: true)
    #expect(physical.status == 0)
    #expect(running.node.database.durableWords[StoreWord.removedRevision] == 3002)
    #expect(try running.entries(running.node.store.log) == 1)
    #expect(try running.compact(3002, physical: true).status == 11)
    running.node.stop()
    #expect(running.sink.duplicateCount == 0)
  }

  @Test func removalGoesOnAfterARestart() throws {
    let directory = try TemporaryDirectory()
    var running = try RunningNode(directory.path)
    for i in 0..<20_000 {
      let address = try running.propose(put: Bytes("\(i % 50)".utf8), Bytes("\(i)".utf8))
      if i % 1000 == 0 { _ = running.sink.wait(for: address) }
    }
    _ = try running.put([1], [1])
    _ = try running.compact(20_002)
    // Stopped with most of it still there.
    running.node.stop()
    running = try RunningNode(directory.path)
    #expect(try running.word { $0.word(StoreWord.compactedRevision) } == 20_002)
    #expect(try running.waitForRemoval())
    #expect(try running.entries(running.node.store.log) == 1)
    #expect(try running.everything().count == 51)
    running.node.stop()
  }

  @Test func revisionModeCompactsByItself() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) {
      $0.autoCompaction.mode = .revision(10)
      $0.autoCompaction.revisionInterval_ms = 20
    }
    for i in 0..<100 { _ = try running.put([1], [UInt8(i)]) }
    let deadline = Date().addingTimeInterval(20)
    while try running.word({ $0.word(StoreWord.compactedRevision) }) != 91, Date() < deadline { usleep(5_000) }
    #expect(try running.word { $0.word(StoreWord.compactedRevision) } == 91)
    running.node.stop()
  }

  /// etcd's periods: a compaction an hour at most apart, to what was current a period before.
  @Test func periodicSchedule() {
    var options = AutoCompactionOptions()
    options.mode = .periodic(600_000)
    var schedule = CompactionSchedule(options, now_ms: 0)
    #expect(schedule.interval_ms == 60_000)
    var compactions: [(minute: UInt64, revision: Int64)] = []
    for minute in UInt64(1)...40 {
      if let revision = schedule.next(now_ms: minute * 60_000, revision: Int64(minute) * 100) {
        compactions.append((minute, revision))
        schedule.proposed(revision)
      }
    }
    #expect(compactions.map(\.minute) == [10, 20, 30, 40])
    #expect(compactions.map(\.revision) == [100, 1100, 2100, 3100])

    options.mode = .periodic(3 * 3_600_000)
    schedule = CompactionSchedule(options, now_ms: 0)
    #expect(schedule.interval_ms == 360_000)
    var hours: [UInt64] = []
    for step in UInt64(1)...60 {
      if schedule.next(now_ms: step * 360_000, revision: Int64(step)) != nil { hours.append(step / 10) }
    }
    #expect(hours == [3, 4, 5, 6])
    // Nothing new, nothing to do.
    options.mode = .revision(5)
    schedule = CompactionSchedule(options, now_ms: 0)
    #expect(schedule.next(now_ms: 1, revision: 5) == nil && schedule.next(now_ms: 2, revision: 9) == 4)
    schedule.proposed(4)
    #expect(schedule.next(now_ms: 3, revision: 9) == nil)
  }
}
