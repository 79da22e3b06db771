// Backups beside a writer, what comes back from them, and disks that fail.

import Foundation
import NeedletailBackend
import Synchronization
import Testing

@testable import NeedletailSnapshot

struct BackupTests {
  @Test(arguments: seeds(4)) func restores(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    var random = SeededGenerator(seed: seed)
    let database = try openDatabase(directory.file("db"), pageSize: 4096)
    try fill(database, &random, entries: 1000, largest: 1_900_000)
    let expected = try database.contents()
    try database.backup(to: directory.file("snapshot"))
    database.close()
    for pageSize in [nil, 512, 65536] {
      let path = directory.file("restored\(pageSize ?? 0)")
      try Database.restore(directory.file("snapshot"), to: path, pageSize: pageSize)
      let restored = try openDatabase(path)
      #expect(restored.pageSize == pageSize ?? 4096)
      #expect(try restored.contents() == expected, "seed \(seed)")
      #expect(try restored.check().problems == [])
      try restored.put("later", [1], [2])
      try restored.checkpoint()
      restored.close()
    }
    #expect(directory.names == ["db", "restored0", "restored512", "restored65536", "snapshot"])
  }

  /// A writer goes on; each backup is one state that the writer published, whole.
  @Test(arguments: seeds(2)) func besideAWriter(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    let isOver = Atomic<Bool>(false)
    /// A digest of each published state, by its number in word 0: the writer models what it writes.
    let states = Mutex<[UInt64: Int]>([:])
    let thread = Thread {
      var random = SeededGenerator(seed: seed)
      var model: [[UInt8]: [UInt8]] = [:]
      var number: UInt64 = 0
      while !isOver.load(ordering: .relaxed) {
        number += 1
        try? database.write { batch in
          let tree = try batch.openTree("t")
          for _ in 0..<50 {
            let key = Array("key\(random.below(3000))".utf8)
            if random.below(4) == 0 {
              _ = try key.withUnsafeBytes { try batch.delete(tree, $0) }
              model[key] = nil
            } else {
              let value = [UInt8](repeating: UInt8(random.below(256)), count: random.below(900))
              try key.withUnsafeBytes { key in try value.withUnsafeBytes { try batch.put(tree, key, $0) } }
              model[key] = value
            }
          }
          batch.setWord(0, number)
          states.withLock { $0[number] = model.hashValue }
        }
        if number % 20 == 0 { try? database.checkpoint() }
      }
    }
    thread.start()
    defer { isOver.store(true, ordering: .relaxed) }
    var seen: Set<UInt64> = []
    for round in 0..<15 {
      usleep(20_000)
      let path = directory.file("snapshot\(round)")
      try database.backup(to: path)
      let reader = try SnapshotReader(path)
      var found: [[UInt8]: [UInt8]] = [:]
      while try reader.next({ (_, key, value) throws(SnapshotError) in found[[UInt8](key)] = [UInt8](value) }) {}
      let number = reader.header.words[0]
      #expect(states.withLock { $0[number] } == (number == 0 ? nil : found.hashValue), "seed \(seed) state \(number)")
      seen.insert(number)
    }
    #expect(seen.count > 5)
    isOver.store(true, ordering: .relaxed)
    while !thread.isFinished { usleep(1000) }
    #expect(database.statistics.readers == 0)
    database.close()
  }

  /// A fault at every call: a typed error, and under the final name the old file or nothing, never half a new one.
  @Test(arguments: ["ENOSPC", "EIO", "short", "crash"]) func everyCallFails(fault: String) throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    var random = SeededGenerator(seed: 5)
    try fill(database, &random, entries: 1000, largest: 500_000)
    let path = directory.file("snapshot")
    for isReplacing in [false, true] {
      var at = 0
      while true {
        if isReplacing { try write([1, 2, 3], path) } else { unlink(path) }
        let faults = Faults(at: at, fault)
        let error = failure { () throws(SnapshotError) in
          _ = try SnapshotStream(database).save(to: path, calls: faults.calls)
        }
        guard faults.hasFailed else {
          #expect(error == nil)
          break
        }
        // A short write is no failure: the rest follows.
        #expect((error == nil) == (fault == "short"))
        switch error {
        case nil, .noSpace, .io: break
        default: Issue.record("\(fault) at call \(at): \(String(describing: error))")
        }
        if FileManager.default.fileExists(atPath: path) {
          let bytes = try read(path)
          if !(isReplacing && bytes == [1, 2, 3]) { try SnapshotReader(path).verify() }
        } else {
          #expect(!isReplacing, "\(fault) at call \(at) lost the old file")
        }
        if fault != "crash" { #expect(!directory.names.contains("snapshot.part"), "\(fault) at call \(at)") }
        at += 1
      }
      #expect(at >= (fault == "short" ? 3 : 6))
    }
  }

  /// Fails one call, counting all that can; after a crash nothing is done any more.
  private final class Faults {
    private(set) var hasFailed = false
    private var count = 0
    private let at: Int
    private let fault: String

    init(at: Int, _ fault: String) {
      self.at = at
      self.fault = fault
    }

    private func fails() -> Bool {
      if hasFailed, fault == "crash" { return true }
      count += 1
      guard count - 1 == at else { return false }
      hasFailed = true
      return true
    }

    private func error() -> Int32 {
      errno = fault == "ENOSPC" ? ENOSPC : EIO
      return -1
    }

    var calls: FileCalls {
      var calls = FileCalls()
      if fault != "short" {
        calls.open = { [self] in fails() ? error() : Glibc.open($0, $1, 0o600) }
        calls.sync = { [self] in fails() ? error() : fsync($0) }
        calls.rename = { [self] in fails() ? error() : Glibc.rename($0, $1) }
      }
      if fault == "crash" { calls.unlink = { [self] in hasFailed ? error() : Glibc.unlink($0) } }
      calls.write = { [self] descriptor, bytes in
        guard fails() else { return Glibc.write(descriptor, bytes.baseAddress, bytes.count) }
        if fault == "short" { return Glibc.write(descriptor, bytes.baseAddress, max(1, bytes.count / 2)) }
        if fault == "crash" { _ = Glibc.write(descriptor, bytes.baseAddress, bytes.count / 2) }
        return Int(error())
      }
      return calls
    }
  }

  @Test func restoreReplacesNothing() throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    try database.put("t", [1], [2])
    try database.backup(to: directory.file("snapshot"))
    database.close()
    let path = directory.file("db")
    let before = try read(path)
    #expect(
      failure { () throws(SnapshotError) in try Database.restore(directory.file("snapshot"), to: path) }
        == .exists(path: path))
    #expect(try read(path) == before)
    #expect(directory.names == ["db", "snapshot"])
  }

  /// A damaged snapshot makes no database, however late the damage is found.
  @Test func damagedSnapshotMakesNothing() throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    var random = SeededGenerator(seed: 6)
    try fill(database, &random, entries: 1000, largest: 1_900_000)
    try database.backup(to: directory.file("snapshot"))
    database.close()
    var bytes = try read(directory.file("snapshot"))
    bytes[bytes.count - 1] ^= 1
    try write(bytes, directory.file("damaged"))
    let error = failure { () throws(SnapshotError) in
      try Database.restore(directory.file("damaged"), to: directory.file("new"))
    }
    guard case .damaged(.digest, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(directory.names == ["damaged", "db", "snapshot"])
  }

  @Test func cancelling() throws {
    let directory = try TemporaryDirectory()
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    try database.put("t", [1], [2])
    #expect(
      failure { () throws(SnapshotError) in try database.backup(to: directory.file("snapshot")) { _ in false } }
        == .cancelled)
    #expect(directory.names == ["db"])
    #expect(database.statistics.readers == 0)
  }

  /// Full pages, nothing free, another page size; keys that don't fit it are an error that leaves nothing.
  @Test(arguments: seeds(2)) func compacts(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    var random = SeededGenerator(seed: seed)
    let database = try openDatabase(directory.file("db"))
    defer { database.close() }
    for _ in 0..<6 {
      try fill(database, &random, entries: 4000, largest: 100_000)
      try database.checkpoint()
    }
    let expected = try database.contents()
    for pageSize in [nil, 1024, 16384] {
      let path = directory.file("compacted\(pageSize ?? 0)")
      try database.compact(to: path, pageSize: pageSize)
      let copy = try openDatabase(path)
      #expect(try copy.contents() == expected)
      let report = try copy.check()
      #expect(report.problems == [])
      let pages = report.trees.reduce(0) { $0 + $1.leafPages + $1.branchPages }
      let used = report.trees.reduce(0) { $0 + $1.usedBytes }
      #expect(used * 100 / (pages * UInt64(copy.pageSize)) > 80)
      copy.close()
    }
    try database.put("some", [UInt8](repeating: 1, count: 900), [1])
    let error = failure { () throws(SnapshotError) in try database.compact(to: directory.file("no"), pageSize: 512) }
    guard case .database(.keyLength) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(!directory.names.contains { $0.hasPrefix("no") })
  }
}
