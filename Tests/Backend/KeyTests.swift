// The key rules, directly: empty values, keys of one byte, keys that agree in their first 8, 16, 64 bytes, keys outside the
// tree's present prefix, the longest keys, on every page size; and all insertion orders of small nasty sets.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct KeyTests {
  private static func text(_ s: String) -> [UInt8] { Array(s.utf8) }

  /// Keys whose tree is easily got wrong, for keys of at most `keyMax` bytes.
  private static func groups(_ keyMax: Int) -> [[[UInt8]]] {
    var groups: [[[UInt8]]] = []
    groups.append((0..<256).map { [UInt8($0)] })
    for shared in [7, 8, 9, 16, 64] {
      let front = [UInt8](repeating: 0x6B, count: shared)
      groups.append((0..<60).map { front + [UInt8($0 * 4)] } + [front] + (0..<40).map { front + [0, UInt8($0)] })
    }
    // Zeros: a head's padding looks like them.
    groups.append(
      (1...min(40, keyMax)).map { [UInt8](repeating: 0, count: $0) } + (0..<30).map { [0, 0, UInt8($0), 0] })
    groups.append((0..<90).map { [UInt8](repeating: 255, count: 1 + $0 % 20) + [UInt8($0)] })
    // The longest, differing in the last byte, in the first, and in the middle.
    let long = [UInt8](repeating: 0x41, count: keyMax)
    groups.append(
      (0..<60).map { i in
        var key = long
        key[[keyMax - 1, 0, keyMax / 2, keyMax - 9, 8][i % 5]] = UInt8(i)
        return key
      })
    // A tree with a long prefix, then keys before, behind and short of it.
    let front = text("/registry/pods/default/")
    groups.append(
      (0..<80).map { front + text("pod-\($0)") } + [text("/"), text("/registry"), text("0"), text("!"), front]
        + (0..<20).map { text("/registry/pods/\($0)") } + [[0], [255]])
    // Every key a prefix of the next.
    groups.append((1...min(keyMax, 100)).map { [UInt8](long[..<$0]) })
    return groups
  }

  @Test(arguments: [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]) func everyRule(pageSize: Int) throws {
    var random = SeededGenerator(seed: UInt64(pageSize))
    let store = SimulatedPageStore(capacity: 32 << 20)
    store.poisonsReleased = true
    let database = try Database(store: store, path: "keys", options: options(pageSize: pageSize))
    let keyMax = database.geometry.keyMax
    for (number, group) in Self.groups(keyMax).enumerated() {
      let tree = try database.write { try $0.openTree("group \(number)") }
      for order in 0..<3 {
        let keys = order == 0 ? group : order == 1 ? group.reversed() : group.shuffled(using: &random)
        var entries: [[UInt8]: [UInt8]] = [:]
        for (i, key) in keys.enumerated() {
          let length = i % 4 == 0 ? 0 : i % 7 == 0 ? database.geometry.entryMax - leafEntryOverhead - key.count : i % 40
          let value = [UInt8](repeating: UInt8(i & 255), count: max(0, length))
          try database.write { try $0.put(tree, key, value) }
          entries[key] = value
          if i % 9 == 0 || i == keys.count - 1 { try verify(database, tree, entries) }
        }
        for (i, key) in keys.shuffled(using: &random).enumerated() {
          let existed = entries.removeValue(forKey: key) != nil
          #expect(try database.write { try $0.delete(tree, key) } == existed)
          if i % 9 == 0 || entries.isEmpty { try verify(database, tree, entries) }
        }
        #expect(database.statistics.liveBytes == 0)
      }
      if number % 3 == 0 { try database.checkpoint() }
    }
    let long = [UInt8](repeating: 1, count: keyMax + 1)
    let tree = try database.write { try $0.openTree("group 0") }
    #expect(throws: DatabaseError.keyLength(keyMax + 1, maximum: keyMax)) {
      try database.write { try $0.put(tree, long, []) }
    }
    #expect(throws: DatabaseError.keyLength(0, maximum: keyMax)) { try database.write { try $0.put(tree, [], [1]) } }
    #expect(try database.withSnapshot { try $0.tree(tree).value(long) } == nil)
    database.close()
    #expect(store.violations.isEmpty)
  }

  private func verify(_ database: Database, _ tree: TreeID, _ entries: [[UInt8]: [UInt8]]) throws {
    try database.expectSound()
    try database.withSnapshot { view in
      let view = view.tree(tree)
      try view.compare(entries)
      let sorted = entries.keys.sorted(by: lexicographic)
      for (rank, key) in sorted.enumerated() {
        guard try view.value(key) == entries[key], try view.rank(key) == UInt64(rank) else {
          throw Difference("get or rank of \(key)")
        }
        // The nearest keys that are not there: one byte longer, one shorter, the last byte changed.
        var near = [key + [0], Array(key.dropLast()), key]
        near[2][key.count - 1] &+= 1
        for probe in near where !probe.isEmpty && entries[probe] == nil {
          let below = sorted.firstIndex { !lexicographic($0, probe) } ?? sorted.count
          guard try view.value(probe) == nil, try view.rank(probe) == UInt64(below) else {
            throw Difference("get or rank of \(probe), which is not there")
          }
          var cursor = view.cursor()
          let found = try probe.withUnsafeBytes { try cursor.seek($0) }
          guard found == (below < sorted.count), try !found || [UInt8](cursor.key) == sorted[below] else {
            throw Difference("seek to \(probe)")
          }
        }
      }
    }
  }

  /// All orders of up to seven keys, two or three to a leaf, the checker after each step; then all gone again.
  @Test(arguments: 0..<6) func allOrders(shape: Int) throws {
    let a = [UInt8](repeating: 0x61, count: 60)
    let shapes: [[[UInt8]]] = [
      [a + [1], a + [2], a + [3], Self.text("aa"), Self.text("b"), [0], a],
      [[1], [1, 0], [1, 0, 0], [0], [0, 0], [2], [1, 1]],
      [
        Self.text("/x/1"), Self.text("/x/2"), Self.text("/x/3"), Self.text("/"), Self.text("/y"), Self.text("/x"),
        [255],
      ],
      [a + a.prefix(40), a + a.prefix(39), a + a.prefix(38) + [0], a + [0], [0x61], [0x62], a + a.prefix(39) + [0x62]],
      [[255], [255, 255], [255, 255, 255], [254], [255, 0], [255, 254, 255], [0]],
      [
        Self.text("abcdefgh"), Self.text("abcdefghi"), Self.text("abcdefg"), Self.text("abcdefgh\0"),
        Self.text("abcdefgi"),
        Self.text("abc"), Self.text("b"),
      ],
    ]
    let count = shape == (setting("NEEDLETAIL_SEEDS") ?? 0) % 6 || setting("NEEDLETAIL_SEEDS") != nil ? 7 : 6
    let keys = Array(shapes[shape].prefix(count))
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "orders", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    var failure: String?
    permute(keys) { order in
      guard failure == nil else { return }
      do {
        for (i, key) in order.enumerated() {
          let value = [UInt8](repeating: UInt8(i), count: 150 - key.count)
          try database.write { try $0.put(tree, key, value) }
          try self.verifyQuickly(database, tree, order[...i].sorted(by: lexicographic))
        }
        for (i, key) in order.reversed().enumerated() {
          guard try database.write({ try $0.delete(tree, key) }) else { throw Difference("\(key) is not there") }
          try self.verifyQuickly(database, tree, order.dropLast(i + 1).sorted(by: lexicographic))
        }
      } catch { failure = "order \(order): \(error)" }
    }
    #expect(failure == nil)
    try database.expectSound()
  }

  /// The tree alone: without the walk over the whole file's free space.
  private func verifyQuickly(_ database: Database, _ tree: TreeID, _ sorted: [[UInt8]]) throws {
    try database.withSnapshot { view in
      var checker = TreeChecker(
        source: view.tree(tree).source, geometry: database.geometry, transaction: view.transaction)
      checker.check(name: "t", tree: tree.raw, root: view.tree(tree).root)
      if let problem = checker.report.problems.first { throw Difference("\(problem)") }
      var cursor = view.tree(tree).cursor()
      var more = try cursor.first()
      for key in sorted {
        guard more, try [UInt8](cursor.key) == key, try view.tree(tree).value(key) != nil else {
          throw Difference("\(key) is lost")
        }
        more = try cursor.next()
      }
      if more { throw Difference("an entry too many") }
    }
  }

  /// Heap's algorithm.
  private func permute(_ keys: [[UInt8]], _ body: ([[UInt8]]) -> Void) {
    var keys = keys
    var counters = [Int](repeating: 0, count: keys.count)
    body(keys)
    var i = 0
    while i < keys.count {
      if counters[i] < i {
        keys.swapAt(i % 2 == 0 ? 0 : counters[i], i)
        body(keys)
        counters[i] += 1
        i = 0
      } else {
        counters[i] = 0
        i += 1
      }
    }
  }
}
