// A node over real files: what is acknowledged is there after a stop and after a crash.
import Foundation
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import NeedletailWAL
import Testing

@Suite struct NodeTests {
  @Test func putsGetsAndDeletesGoThroughTheLog() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    #expect(try running.range([97]).header.revision == 1)
    let first = try running.put([97], [1, 2, 3])
    #expect(first.header.revision == 2 && first.prevKV == nil)
    #expect(first.header.memberID == running.node.store.identity.memberID)
    #expect(first.header.clusterID == running.node.store.identity.clusterID && first.header.raftTerm == 1)
    let second = try running.put([97], [4], prevKV: true)
    #expect(second.header.revision == 3 && second.prevKV?.value == [1, 2, 3] && second.prevKV?.modRevision == 2)
    let kv = try #require(try running.range([97]).kvs.first)
    #expect(kv.value == [4] && kv.createRevision == 2 && kv.modRevision == 3 && kv.version == 2)
    #expect(try running.range([97]) { $0.revision = 2 }.kvs.first?.value == [1, 2, 3])
    #expect(try running.delete([98]).deleted == 0)
    let deleted = try running.delete([97], prevKV: true)
    #expect(deleted.deleted == 1 && deleted.header.revision == 4 && deleted.prevKVs.first?.value == [4])
    #expect(try running.range([97]).kvs.isEmpty)
    #expect(running.node.status.applied.load(ordering: .relaxed) == 4)
    running.node.stop()
    #expect(running.sink.duplicateCount == 0 && running.failures.all.isEmpty)
  }

  @Test func stoppingAndStartingKeepsEverything() throws {
    let directory = try TemporaryDirectory()
    var identity: StoreIdentity?
    for round in 0..<4 {
      let running = try RunningNode(directory.path)
      // A graceful stop leaves nothing to replay.
      #expect(running.node.replayedEntries == 0)
      if let identity { #expect(running.node.store.identity == identity) }
      identity = running.node.store.identity
      #expect(try running.everything().count == round * 50)
      for i in 0..<50 { _ = try running.put(Bytes("\(round)-\(i)".utf8), Bytes(repeating: 7, count: i * 100)) }
      #expect(try running.range([0], [0]).header.revision == Int64(1 + (round + 1) * 50))
      running.node.stop()
    }
  }

  /// Four threads propose without waiting; answers carry one revision each, all of them.
  @Test func concurrentProposalsAreAnsweredOnce() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    nonisolated(unsafe) let shared = running
    let each = 1000
    let revisions = ResultBox()
    let threads = try (0..<4).map { thread in
      try NeedletailServer.Thread("proposer") {
        var open: [ReplyAddress] = []
        for i in 0..<each {
          do { open.append(try shared.propose(put: Bytes("t\(thread)-\(i)".utf8), [UInt8(thread)])) } catch {
            Issue.record("\(error)")
          }
          if open.count >= 200 || i == each - 1 {
            for address in open {
              guard let answer = shared.sink.wait(for: address), answer.status == 0,
                let response = try? answer.body.withUnsafeBytes({ try PutResponse($0) })
              else {
                Issue.record("no answer")
                continue
              }
              revisions.add(response.header.revision)
            }
            open = []
          }
        }
      }
    }
    for thread in threads { thread.join() }
    #expect(revisions.sorted() == (2...Int64(4 * each + 1)).map { $0 })
    #expect(try running.range([0], [0]) { $0.countOnly = true }.count == Int64(4 * each))
    running.node.stop()
    #expect(running.sink.duplicateCount == 0)
    #expect(running.node.status.proposalsPending.load(ordering: .relaxed) == 0)
    #expect(running.node.status.proposalBytesPending.load(ordering: .relaxed) == 0)
    let again = try RunningNode(directory.path)
    #expect(try again.range([0], [0]) { $0.countOnly = true }.count == Int64(4 * each))
    again.node.stop()
  }

  /// The files as they lie at a random moment of a busy run are what a killed process leaves. Everything acknowledged
  /// by then must be there, and nothing but a prefix of what was proposed.
  @Test func crashesAtRandomMomentsLoseNothingAcknowledged() throws {
    var generator = SeededGenerator(SeededGenerator.seed("crashes"))
    let directory = try TemporaryDirectory()
    var path = directory.path + "/0"
    var next = 0
    for round in 1...12 {
      // No checkpoint while the files are copied: it would change them under the copy, as no crash does.
      let running = try RunningNode(path) {
        $0.checkpoint.interval_ms = 3_600_000
        $0.checkpoint.bytes = 1 << 40
        $0.checkpoint.afterReplay = false
      }
      let before = try running.everything()
      #expect(before.count == next, "round \(round)")
      var open: [(Int, ReplyAddress)] = []
      var acknowledged = next
      let moment = Int.random(in: 1...300, using: &generator)
      let copy = directory.path + "/\(round)"
      for i in 0..<300 {
        let length = Int.random(in: 0...9000, using: &generator)
        let value = Bytes(repeating: UInt8(truncatingIfNeeded: next), count: length)
        open.append((next, try running.propose(put: Bytes("key-\(next)".utf8), value)))
        next += 1
        if i == moment - 1 {
          // What has been answered at this moment must survive.
          for (number, address) in open where running.sink.wait(for: address, seconds: 0)?.status == 0 {
            acknowledged = max(acknowledged, number + 1)
          }
          try copyRunning(path, to: copy)
        }
        if Int.random(in: 0..<40, using: &generator) == 0 { _ = running.sink.wait(for: open[open.count - 1].1) }
      }
      running.node.stop()
      let untouched = directory.path + "/\(round)-untouched"
      try FileManager.default.copyItem(atPath: copy, toPath: untouched)
      let recovered = try RunningNode(copy)
      let found = try recovered.everything()
      #expect(found.count >= acknowledged, "round \(round): \(acknowledged) acknowledged, \(found.count) found")
      for i in 0..<found.count { #expect(found[Bytes("key-\(i)".utf8)] != nil, "a hole at \(i)") }
      for (key, value) in before { #expect(found[key] == value) }
      #expect(try recovered.range([0], [0]).header.revision == Int64(found.count + 1))
      recovered.node.stop()
      next = found.count
      // Every third round goes on from the checkpointed store, the others replay once more, on top of the same tree.
      path = round % 3 == 0 ? copy : untouched
    }
  }

  /// Copies tree, then log: whatever is acknowledged before is in the copy. Segments are renamed meanwhile, so the log is
  /// listed again until nothing moved under the copy.
  private func copyRunning(_ path: String, to copy: String) throws {
    let files = FileManager.default
    try files.createDirectory(atPath: copy + "/member", withIntermediateDirectories: true)
    for name in ["identity", "db"] {
      try files.copyItem(atPath: path + "/member/" + name, toPath: copy + "/member/" + name)
    }
    let (from, to) = (path + "/member/wal", copy + "/member/wal")
    var isStable = false
    while !isStable {
      try? files.removeItem(atPath: to)
      try files.createDirectory(atPath: to, withIntermediateDirectories: true)
      let names = try files.contentsOfDirectory(atPath: from).sorted()
      do {
        for name in names { try files.copyItem(atPath: from + "/" + name, toPath: to + "/" + name) }
        isStable = try files.contentsOfDirectory(atPath: from).sorted() == names
      } catch let error as CocoaError where error.code == .fileNoSuchFile || error.code == .fileReadNoSuchFile {
        isStable = false
      }
    }
  }

  @Test func checkpointsLetTheLogForget() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) {
      $0.log.segmentSize = 256 << 10
      $0.log.groupSize = 64 << 10
      $0.checkpoint.bytes = 300_000
    }
    for i in 0..<1500 { _ = try running.put(Bytes("k\(i % 10)".utf8), Bytes(repeating: UInt8(i % 251), count: 4000)) }
    // 6 MB went through a log of 256 KiB segments.
    let files = try FileManager.default.contentsOfDirectory(atPath: directory.path + "/member/wal")
    #expect(files.count < 14, "\(files)")
    #expect(running.node.status.checkpoints.load(ordering: .relaxed) > 3)
    let all = try running.everything()
    running.node.stop()
    let again = try RunningNode(directory.path)
    #expect(try again.everything() == all)
    again.node.stop()
  }

  @Test func requestsAreJudgedBeforeTheyAreProposed() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path) {
      $0.requestLimit = 10_000
      $0.log.segmentSize = 4 << 20
    }
    func expectRefusal(_ error: StatusError, _ body: () throws -> Void, line: Int = #line) {
      do {
        try body()
        Issue.record("line \(line): not refused")
      } catch let found as StatusError {
        #expect(found == error, "line \(line)")
      } catch {
        Issue.record("line \(line): \(error)")
      }
    }
    expectRefusal(.emptyKey) { _ = try running.propose(put: [], [1]) }
    expectRefusal(.requestTooLarge) { _ = try running.propose(put: [1], Bytes(repeating: 0, count: 10_000)) }
    expectRefusal(.emptyKey) { _ = try running.delete([]) }
    expectRefusal(.emptyKey) { _ = try running.range([]) }
    expectRefusal(.futureRevision) { _ = try running.range([1]) { $0.revision = 99 } }
    expectRefusal(.invalidSortOption) { _ = try running.range([1]) { $0.rawSortOrder = 3 } }
    expectRefusal(.invalidSortOption) { _ = try running.range([1]) { $0.rawSortTarget = -1 } }
    expectRefusal(.valueProvided) {
      var request = PutRequestView()
      request.ignoreValue = true
      let key: Bytes = [1]
      let body = key.withUnsafeBytes { key in
        request.key = key
        request.value = key
        return request.encoded()
      }
      try RunningNode.call(body) { (body) throws(StatusError) in
        try running.node.server.put(body, reply: running.sink.address())
      }
    }
    for garbage in [Bytes([0xff]), [10, 200], [8, 1, 255, 255]] {
      do {
        try RunningNode.call(garbage) { (body) throws(StatusError) in
          try running.node.server.put(body, reply: running.sink.address())
        }
        Issue.record("\(garbage) was taken")
      } catch let error as StatusError {
        #expect(error.code == .invalidArgument)
      }
    }
    #expect(running.node.status.committed.load(ordering: .relaxed) == 0 && running.sink.count == 0)
    running.node.stop()
    expectRefusal(.stopped) { _ = try running.propose(put: [1], [1]) }
  }
}

/// Sendable: guarded by its monitor.
final class ResultBox: @unchecked Sendable {
  private let monitor = Monitor()
  private var values: [Int64] = []

  func add(_ value: Int64) { monitor.locked { values.append(value) } }

  func sorted() -> [Int64] { monitor.locked { values.sorted() } }
}
