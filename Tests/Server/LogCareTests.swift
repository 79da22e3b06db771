// Looking at a stopped server's log, and cutting a corrupt one: what is said to be lost is what is lost, and the server
// starts again.
import Foundation
import NeedletailMVCC
import NeedletailServer
import NeedletailWAL
import Testing

@Suite struct LogCareTests {
  private static let count = 400

  /// A directory as a killed server leaves it: all entries are in the log, and in the tree's file none or all.
  private func build(_ directory: TemporaryDirectory, isCheckpointed: Bool = false) throws -> String {
    let path = directory.path + "/live"
    let running = try RunningNode(path) {
      $0.log.segmentSize = 64 << 10
      $0.log.groupSize = 16 << 10
      $0.checkpoint.interval_ms = 3_600_000
      $0.checkpoint.bytes = 1 << 40
    }
    for i in 0..<LogCareTests.count {
      _ = try running.put(Bytes("k\(i)".utf8), Bytes(repeating: UInt8(i % 251), count: 300))
    }
    let copy = directory.path + "/copy"
    try RunningNode.copyRunning(path, to: copy)
    if isCheckpointed {
      // The log as it was before it could forget anything.
      running.node.askForCheckpoint()
      let index = running.node.status.applied.load(ordering: .relaxed)
      while running.node.status.checkpointed.load(ordering: .relaxed) < index { usleep(1_000) }
      try FileManager.default.removeItem(atPath: copy + "/member/db")
      try FileManager.default.copyItem(atPath: path + "/member/db", toPath: copy + "/member/db")
    }
    running.node.stop()
    return copy
  }

  private func files(_ path: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: path) {
      // Of a folder Foundation gives nothing, and leaks what it tried with.
      guard try !URL(fileURLWithPath: path + "/" + name).resourceValues(forKeys: [.isDirectoryKey]).isDirectory! else {
        continue
      }
      files[name] = FileManager.default.contents(atPath: path + "/" + name)
    }
    return files
  }

  private func segments(_ path: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path + "/member/wal").filter { $0.hasSuffix(".wal") }.sorted()
  }

  /// Breaks a byte in a segment's third block.
  private func damage(_ path: String, _ segment: String) throws {
    let file = path + "/member/wal/" + segment
    var bytes = try #require(FileManager.default.contents(atPath: file))
    bytes[2 * 4096 + 200] ^= 0x10
    try bytes.write(to: URL(fileURLWithPath: file))
  }

  private func keys(_ path: String) throws -> Set<Bytes> {
    let running = try RunningNode(path)
    defer { running.node.stop() }
    _ = try running.put([1], [1])
    return Set(try running.everything().keys.filter { $0 != [1] })
  }

  @Test func aSoundLogIsReadAndLeftAlone() throws {
    let directory = try TemporaryDirectory()
    let path = try build(directory)
    let before = try files(path)
    let care = try LogCare(path)
    let findings = care.look()
    #expect(findings.failure == nil && findings.corruption == nil && findings.lost == nil)
    #expect(findings.entries == UInt64(LogCareTests.count) && findings.first.index == 1)
    #expect(findings.last.index == UInt64(LogCareTests.count) && findings.applied.index == 0)
    #expect(try #require(findings.report).segments == segments(path).count)
    // Nobody else may have the directory meanwhile.
    #expect(throws: ServerError.directoryInUse(path: path)) { _ = try LogCare(path) }
    care.close()
    #expect(try files(path) == before)
    #expect(try keys(path).count == LogCareTests.count)
    // What is no data directory is not made one.
    #expect(throws: ServerError.self) { _ = try LogCare(directory.path + "/nothing") }
    #expect(!FileManager.default.fileExists(atPath: directory.path + "/nothing"))
  }

  /// Damage in the middle: entries behind it are lost, whether the tree's file ends before the damage or behind it.
  @Test(arguments: [false, true])
  func aCutLosesWhatItSays(isCheckpointed: Bool) throws {
    let directory = try TemporaryDirectory()
    let path = try build(directory, isCheckpointed: isCheckpointed)
    let all = try segments(path)
    #expect(all.count >= 3)
    try damage(path, all[1])
    if isCheckpointed {
      // The tree has it all, so a start does not read what is damaged.
      let copy = directory.path + "/copy-to-start"
      try FileManager.default.copyItem(atPath: path, toPath: copy)
      #expect(try keys(copy).count == LogCareTests.count)
    } else {
      #expect(throws: ServerError.self) { _ = try RunningNode(path) }
    }
    let damaged = try files(path)
    var care = try LogCare(path)
    let findings = care.look()
    care.close()
    let corruption = try #require(findings.corruption)
    #expect(corruption.file == all[1] && findings.report == nil)
    #expect(corruption.index == findings.last.index + 1 && corruption.lastIndex >= UInt64(LogCareTests.count) - 100)
    #expect(findings.applied.index == (isCheckpointed ? UInt64(LogCareTests.count) : 0))
    let kept = isCheckpointed ? LogCareTests.count : Int(findings.last.index)
    #expect(findings.lost == (isCheckpointed ? nil : UInt64(kept + 1)...corruption.lastIndex))
    #expect(try files(path) == damaged, "looking changed something")

    care = try LogCare(path)
    let report = try care.cut()
    care.close()
    #expect(report.lost.count == all.count - 2 && report.torn != nil)
    care = try LogCare(path)
    #expect(care.look().failure == nil)
    care.close()
    #expect(try keys(path) == Set((0..<kept).map { Bytes("k\($0)".utf8) }))
    // And once more, after it has gone on.
    #expect(try keys(path).count == kept)
  }
}
