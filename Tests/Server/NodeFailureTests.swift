// Directories that can't be used, logs that don't fit their tree, disks that fill up or fail.
import Foundation
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import NeedletailWAL
import Testing

@Suite struct NodeFailureTests {
  private func expectStartError(_ path: String, line: Int = #line, _ matches: (ServerError) -> Bool) {
    do {
      let running = try RunningNode(path)
      running.node.stop()
      Issue.record("line \(line): it started")
    } catch let error as ServerError {
      #expect(matches(error), "line \(line): \(error)")
    } catch {
      Issue.record("line \(line): \(error)")
    }
  }

  private func filled(_ path: String, _ count: Int = 100) throws {
    let running = try RunningNode(path)
    for i in 0..<count { _ = try running.put(Bytes("k\(i)".utf8), Bytes(repeating: 1, count: 200)) }
    running.node.stop()
  }

  @Test func aSecondNodeIsRefused() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    expectStartError(directory.path) { $0 == .directoryInUse(path: directory.path) }
    _ = try running.put([1], [1])
    running.node.stop()
    try RunningNode(directory.path).node.stop()
  }

  @Test func directoriesThatCannotBeMadeAreRefused() throws {
    let directory = try TemporaryDirectory()
    let file = directory.path + "/file"
    try Data([1]).write(to: URL(fileURLWithPath: file))
    expectStartError(file) { if case .system(_, file, ENOTDIR) = $0 { true } else { false } }
    expectStartError(file + "/below") { if case .system(_, _, ENOTDIR) = $0 { true } else { false } }
    expectStartError(directory.path + "/a/b") { if case .system(_, _, ENOENT) = $0 { true } else { false } }
  }

  @Test func damagedIdentitiesAreRefused() throws {
    let directory = try TemporaryDirectory()
    try filled(directory.path)
    let file = directory.path + "/member/identity"
    let good = try Data(contentsOf: URL(fileURLWithPath: file))
    func write(_ data: Data) throws { try data.write(to: URL(fileURLWithPath: file)) }
    for i in good.indices {
      var bad = good
      bad[i] ^= 4
      try write(bad)
      expectStartError(directory.path) { if case .badIdentity(file, _) = $0 { true } else { false } }
    }
    try write(good.prefix(20))
    expectStartError(directory.path) { if case .badIdentity = $0 { true } else { false } }
    try FileManager.default.removeItem(atPath: file)
    expectStartError(directory.path) { if case .badIdentity = $0 { true } else { false } }
    // Another member's identity: neither the tree nor the log is its own.
    let other = try TemporaryDirectory()
    try filled(other.path, 1)
    try FileManager.default.copyItem(atPath: other.path + "/member/identity", toPath: file)
    expectStartError(directory.path) { if case .store(.corrupt) = $0 { true } else { false } }
    try write(good)
    try RunningNode(directory.path).node.stop()
  }

  @Test func logsThatDoNotContinueTheTreeAreRefused() throws {
    let directory = try TemporaryDirectory()
    let empty = directory.path + "/empty"
    try filled(empty, 0)
    let full = directory.path + "/full"
    try FileManager.default.copyItem(atPath: empty, toPath: full)
    try filled(full, 100)
    let wal = "/member/wal"
    // The log is gone, the tree is not.
    let lost = directory.path + "/lost"
    try FileManager.default.copyItem(atPath: full, toPath: lost)
    try FileManager.default.removeItem(atPath: lost + wal)
    expectStartError(lost) { if case .logGap(100, _) = $0 { true } else { false } }
    // The log of an earlier day: it ends before the tree.
    let old = directory.path + "/old"
    try FileManager.default.copyItem(atPath: full, toPath: old)
    try FileManager.default.removeItem(atPath: old + wal)
    try FileManager.default.copyItem(atPath: empty + wal, toPath: old + wal)
    expectStartError(old) { if case .logGap(100, _) = $0 { true } else { false } }
    // The tree of an earlier day with a log that was recycled since.
    let running = try RunningNode(full) {
      $0.log.segmentSize = 64 << 10
      $0.log.groupSize = 16 << 10
      $0.checkpoint.bytes = 100_000
    }
    for i in 0..<400 { _ = try running.put(Bytes("k\(i)".utf8), Bytes(repeating: 1, count: 2000)) }
    running.node.stop()
    let gap = directory.path + "/gap"
    try FileManager.default.copyItem(atPath: empty, toPath: gap)
    try FileManager.default.removeItem(atPath: gap + wal)
    try FileManager.default.copyItem(atPath: full + wal, toPath: gap + wal)
    expectStartError(gap) { if case .logGap(0, _) = $0 { true } else { false } }
  }

  @Test func entriesOfAnotherVersionAreRefused() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    _ = try running.put([1], [1])
    running.node.stop()
    let identity = running.node.store.identity
    var options = RunningNode.options(directory.path).log
    options.storeID = StoreID(high: identity.clusterID, low: identity.memberID)
    let log = try WAL.open(directory: directory.path + "/member/wal", options: options) { _ in }
    for bad in [Bytes([9, 1, 0]), [1, 99, 0], [1], [1, 1, 0xff]] {
      _ = try bad.withUnsafeBytes { bytes throws(WALError) in
        try log.append(index: log.last.index + 1, term: 1, payload: bytes)
      }
    }
    log.close()
    expectStartError(directory.path) { if case .store(.corrupt) = $0 { true } else { false } }
  }

  /// The log cannot get another segment: writes are refused with etcd's error, reads go on, and when there is room again
  /// everything that was taken turns out to be there.
  @Test func aFullDiskRefusesWritesUntilThereIsRoom() throws {
    let directory = try TemporaryDirectory()
    let disk = FaultSwitch()
    let adjust: (inout NodeOptions) -> Void = { options in
      options.log.segmentSize = 64 << 10
      options.log.groupSize = 16 << 10
      options.log.spareSegments = 0
      options.log.background = false
      options.singleNode.fullRetry_ms = 20
      let log = options.log
      let path = directory.path + "/member/wal"
      options.makeLogDevice = { () throws(WALError) in
        FaultyDevice(try FileLogDevice(directory: path, options: log), disk)
      }
    }
    let running = try RunningNode(directory.path, adjust)
    for i in 0..<5 { _ = try running.put(Bytes("before-\(i)".utf8), [1]) }
    disk.set(.full)
    var taken: [Bytes] = []
    var unknown: [Bytes] = []
    var refused = 0
    for i in 0..<200 where refused < 5 {
      let key = Bytes("during-\(i)".utf8)
      do {
        let address = try running.propose(put: key, Bytes(repeating: 2, count: 3000))
        let answer = try #require(running.sink.wait(for: address))
        switch answer.status {
        case 0: taken.append(key)
        case StatusError.noSpace.code.rawValue:
          #expect(answer.text == StatusError.noSpace.message)
          refused += 1
        default:
          #expect(answer.text == StatusError.timedOut.message)
          unknown.append(key)
        }
      } catch let error as StatusError {
        #expect(error == .noSpace)
        refused += 1
      }
    }
    #expect(refused == 5 && !taken.isEmpty)
    #expect(try running.everything().count >= 5 + taken.count)
    disk.set(.working)
    var isBack = false
    for _ in 0..<200 where !isBack {
      usleep(20_000)
      isBack = (try? running.put(Bytes("after".utf8), [3])) != nil
    }
    #expect(isBack)
    let all = try running.everything()
    for key in taken + unknown { #expect(all[key] != nil) }
    #expect(all.count == 5 + taken.count + unknown.count + 1)
    running.node.stop()
    #expect(running.failures.all.isEmpty && running.sink.duplicateCount == 0)
    let again = try RunningNode(directory.path)
    #expect(try again.everything() == all)
    again.node.stop()
  }

  @Test func aFailingDiskStopsTheNodeOnce() throws {
    let directory = try TemporaryDirectory()
    let disk = FaultSwitch()
    let running = try RunningNode(directory.path) { options in
      let log = options.log
      let path = directory.path + "/member/wal"
      options.makeLogDevice = { () throws(WALError) in
        FaultyDevice(try FileLogDevice(directory: path, options: log), disk)
      }
    }
    for i in 0..<20 { _ = try running.put([UInt8(i)], [1]) }
    disk.set(.broken)
    let address = try running.propose(put: [100], [1])
    let reasons = running.failures.wait()
    #expect(reasons.count == 1 && reasons[0].contains("write-ahead log"), "\(reasons)")
    #expect(running.sink.wait(for: address, seconds: 0.2)?.status != 0, "acknowledged without being durable")
    do {
      _ = try running.propose(put: [101], [1])
      Issue.record("taken after the failure")
    } catch let error as StatusError { #expect(error == .stopped) }
    // Reads of what was published go on.
    #expect(try running.everything().count == 20)
    running.node.stop()
    #expect(running.failures.all.count == 1)
    let again = try RunningNode(directory.path)
    #expect(try again.everything().count >= 20)
    again.node.stop()
  }

  /// The tree cannot grow: what is committed waits and is neither skipped nor refused, new proposals are refused, reads
  /// go on; with room again, everything taken is applied and answered, in order.
  @Test func aFullTreeMakesApplyingWait() throws {
    let directory = try TemporaryDirectory()
    let disk = FaultSwitch()
    let running = try RunningNode(directory.path) { options in
      options.log.segmentSize = 16 << 20
      options.checkpoint.interval_ms = 3_600_000
      options.makePageStore = { () throws(DatabaseError) in try MemoryPageStore(disk) }
    }
    _ = try running.put(Bytes("first".utf8), [1])
    disk.set(.full)
    var open: [ReplyAddress] = []
    var refused = 0
    for i in 0..<400 where refused == 0 {
      do {
        open.append(try running.propose(put: Bytes("k\(i)".utf8), Bytes(repeating: 2, count: 60_000)))
        // One at a time, until the file is full.
        if running.sink.wait(for: open[open.count - 1], seconds: 0.5) == nil {
          let isStalled = running.node.status.isApplyStalled.load(ordering: .relaxed)
          #expect(isStalled)
        }
      } catch let error as StatusError {
        #expect(error == .noSpace)
        refused += 1
      }
    }
    #expect(refused == 1 && open.count > 1)
    let stalled = try #require(open.last)
    #expect(running.sink.wait(for: stalled, seconds: 0.3) == nil)
    #expect(try running.range(Bytes("first".utf8)).kvs.count == 1)
    let committed = running.node.status.committed.load(ordering: .relaxed)
    #expect(committed == UInt64(1 + open.count))
    disk.set(.working)
    for address in open { #expect(running.sink.wait(for: address)?.status == 0) }
    let isStillStalled = running.node.status.isApplyStalled.load(ordering: .relaxed)
    #expect(!isStillStalled)
    _ = try running.put(Bytes("last".utf8), [3])
    #expect(try running.everything().count == open.count + 2)
    running.node.stop()
    #expect(running.failures.all.isEmpty && running.sink.duplicateCount == 0)
  }
}
