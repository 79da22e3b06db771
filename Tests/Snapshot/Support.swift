// What the snapshot tests share.

import Foundation
import NeedletailBackend
import Testing

@testable import NeedletailSnapshot

struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
  mutating func below(_ n: Int) -> Int { Int(next(upperBound: UInt64(n))) }
}

/// NEEDLETAIL_SEED alone, or `count` (NEEDLETAIL_SEEDS) from 1.
func seeds(_ count: Int) -> [UInt64] {
  let environment = ProcessInfo.processInfo.environment
  if let seed = environment["NEEDLETAIL_SEED"].flatMap({ UInt64($0) }) { return [seed] }
  return (1...UInt64(environment["NEEDLETAIL_SEEDS"].flatMap { Int($0) } ?? count)).map { $0 }
}

final class TemporaryDirectory {
  let path: String
  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("needletail-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
  func file(_ name: String) -> String { path + "/" + name }
  var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }
}

/// A whole database in memory: words, and the trees' names and sorted pairs.
struct Contents: Equatable {
  struct Pair: Equatable {
    var key: [UInt8]
    var value: [UInt8]
  }
  var words = [UInt64](repeating: 0, count: 8)
  var names: [String] = []
  var trees: [[Pair]] = []
}

extension Database {
  /// Reads everything through `view`.
  func contents(_ view: SnapshotView) throws -> Contents {
    var contents = Contents()
    contents.words = view.words
    contents.names = Array(treeNames.prefix(view.treeCount))
    for i in contents.names.indices {
      var pairs: [Contents.Pair] = []
      var cursor = view.tree(TreeID(UInt8(i))).cursor()
      var found = try cursor.first()
      while found {
        let value = [UInt8](try cursor.value)
        pairs.append(.init(key: [UInt8](try cursor.key), value: value))
        found = try cursor.next()
      }
      contents.trees.append(pairs)
    }
    return contents
  }

  func contents() throws -> Contents {
    let reader = try makeReader()
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return try contents(view)
  }

  func put(_ tree: String, _ key: [UInt8], _ value: [UInt8]) throws {
    try write { batch in
      let tree = try batch.openTree(tree)
      try key.withUnsafeBytes { key in try value.withUnsafeBytes { try batch.put(tree, key, $0) } }
    }
  }
}

func openDatabase(_ path: String, pageSize: Int = 4096) throws -> Database {
  var options = DatabaseOptions()
  options.pageSize = pageSize
  return try Database.open(path, options)
}

/// Trees with keys and values of all sizes, an empty one and one with values over several frames among them.
func fill(_ database: Database, _ random: inout SeededGenerator, entries: Int, largest: Int) throws {
  try database.write { batch in
    for word in 0..<8 { batch.setWord(word, random.next()) }
    let trees = try ["some", "empty", "large", "more"].map { try batch.openTree($0) }
    for i in 0..<entries {
      let key = (0..<(1 + random.below(40))).map { _ in UInt8(random.below(256)) }
      let length = i % 50 == 0 ? random.below(largest + 1) : random.below(300)
      let value = [UInt8](repeating: UInt8(random.below(256)), count: length)
      let tree = i % 50 == 0 ? trees[2] : trees[i % 3 == 0 ? 0 : 3]
      try key.withUnsafeBytes { key in try value.withUnsafeBytes { try batch.put(tree, key, $0) } }
    }
  }
}

func read(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }
func write(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

/// The typed error that `body` throws; nil when it throws none.
func failure(_ body: () throws(SnapshotError) -> Void) -> SnapshotError? {
  do throws(SnapshotError) { try body() } catch { return error }
  return nil
}
