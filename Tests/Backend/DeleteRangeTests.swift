// Range deletions of every length from trees of several levels: what stays, what is freed, and that it costs pages, not
// entries.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct DeleteRangeTests {
  private static func key(_ i: Int) -> [UInt8] { Array("/registry/".utf8) + Array(String(100_000 + i).utf8) }

  private static func value(_ i: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(i & 255), count: i % 40 == 7 ? 1500 : i % 30)
  }

  /// Each range from each of several places, inside one batch with the tree's other edits and as a batch of its own.
  @Test(arguments: [512, 4096]) func everyLength(pageSize: Int) throws {
    let count = pageSize == 512 ? 900 : 6000
    let lengths = [1, 2, 7, 15, 31, 120, 333, 700, count - 2, count - 1, count]
    for length in lengths {
      for start in [0, 1, 13, 100, 451, count - length] where start >= 0 && start + length <= count {
        let store = SimulatedPageStore()
        store.poisonsReleased = true
        let database = try Database(store: store, path: "range", options: options(pageSize: pageSize))
        let tree = try database.write { batch in
          let tree = try batch.openTree("t")
          for i in 0..<count { try batch.put(tree, Self.key(i), Self.value(i)) }
          return tree
        }
        let removed = try database.write { batch in
          try batch.put(tree, Self.key(start), [1, 2, 3])
          return try batch.deleteRange(tree, from: Self.key(start), to: Self.key(start + length))
        }
        #expect(removed == UInt64(length))
        var entries: [[UInt8]: [UInt8]] = [:]
        for i in 0..<count where i < start || i >= start + length { entries[Self.key(i)] = Self.value(i) }
        try database.withSnapshot { try $0.tree(tree).compare(entries, "\(start) + \(length)") }
        try database.expectSound()
        // Nothing is left of what was cut off but a few empty pages at the edges.
        let report = try database.check()
        if entries.isEmpty { #expect(database.statistics.liveBytes == 0) }
        let needed = Double(report.trees[0].usedBytes) / Double(pageSize)
        #expect(Double(report.trees[0].leafPages + report.trees[0].branchPages) < needed * 1.7 + 12)
        database.close()
      }
    }
  }

  /// As compaction does it: one range after another, each beginning where the last ended. What stays behind of each must
  /// not add up.
  @Test func rangesInARowLeaveNothingBehind() throws {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "range", options: options(pageSize: 512))
    let count = 4000
    let tree = try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<count { try batch.put(tree, Self.key(i), [UInt8](repeating: 1, count: 20)) }
      return tree
    }
    var random = SeededGenerator(seed: 4)
    var start = 0
    while start < count - 100 {
      let end = min(count - 100, start + 1 + random.below(120))
      let kept = start
      try database.write { batch in
        // One entry of each range stays.
        let removed = try batch.deleteRange(tree, from: Self.key(kept + 1), to: Self.key(end))
        #expect(removed == UInt64(max(0, end - kept - 1)))
      }
      start = end
    }
    try database.expectSound()
    let report = try database.check()
    let used = Double(report.trees[0].usedBytes) / 512
    #expect(Double(report.trees[0].leafPages + report.trees[0].branchPages) < used * 3 + 12)
  }

  @Test func emptyAndOpenRanges() throws {
    let database = try Database(store: SimulatedPageStore(), path: "range", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    try database.write { batch in
      #expect(try batch.deleteRange(tree, from: nil, to: nil) == 0)
      for i in 0..<300 { try batch.put(tree, Self.key(i), Self.value(i)) }
      #expect(try batch.deleteRange(tree, from: Self.key(20), to: Self.key(20)) == 0)
      #expect(try batch.deleteRange(tree, from: Self.key(21), to: Self.key(20)) == 0)
      #expect(try batch.deleteRange(tree, from: [0], to: [1]) == 0)
      #expect(try batch.deleteRange(tree, from: [255], to: nil) == 0)
      #expect(try batch.deleteRange(tree, from: [], to: []) == 0)
      #expect(try batch.deleteRange(tree, from: nil, to: Self.key(100)) == 100)
      #expect(try batch.deleteRange(tree, from: Self.key(200), to: nil) == 100)
      #expect(try batch.deleteRange(tree, from: [], to: [255]) == 100)
      #expect(batch.count(tree) == 0)
    }
    try database.expectSound()
    #expect(database.statistics.liveBytes == 0)
  }

  /// A damaged page in the range: a typed error, and nothing is removed.
  @Test func damageRemovesNothing() throws {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "range", options: options(pageSize: 512))
    let tree = try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<600 { try batch.put(tree, Self.key(i), [UInt8](repeating: 1, count: 20)) }
      return tree
    }
    // A leaf in the middle, found by the path to its key.
    let leaf = try database.withSnapshot { view in
      var cursor = view.tree(tree).cursor()
      try Self.key(300).withUnsafeBytes { _ = try cursor.seek($0) }
      return try cursor.value.baseAddress.map { Int(bitPattern: $0) - Int(bitPattern: store.base) } ?? 0
    }
    store.damage([0xFF], at: leaf)
    try database.write { batch in
      do {
        _ = try batch.deleteRange(tree, from: Self.key(100), to: Self.key(500))
        Issue.record("a damaged page went unnoticed")
      } catch let error as DatabaseError {
        guard case .corrupt(_, .checksum) = error else { throw error }
      }
      #expect(batch.count(tree) == 600)
    }
    try database.withSnapshot { view in
      #expect(view.tree(tree).count == 600)
      for i in [0, 100, 200, 400, 499, 599] {
        let value = try view.tree(tree).value(Self.key(i))
        #expect(value != nil)
      }
    }
  }
}
