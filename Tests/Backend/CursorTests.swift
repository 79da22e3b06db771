// One cursor, many seeks: near each other, where the leaf it is at tells, and far away.

import Testing

@testable import NeedletailBackend

struct CursorTests {
  /// Keys at and around `key`: itself, just behind it, and before it.
  private static func neighbours(_ key: [UInt8]) -> [[UInt8]] {
    var smaller = key
    if let last = smaller.popLast(), last > 0 { smaller += [last - 1, 255] }
    return [key, key + [0], Array(key.dropLast()), smaller]
  }

  @Test(arguments: KeyShape.allCases, [512, 4096]) func oneCursorManySeeks(shape: KeyShape, pageSize: Int) throws {
    var options = DatabaseOptions()
    options.pageSize = pageSize
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"), options)
    defer { database.close() }
    let all = Set((0..<3000).map { shape.key($0, keyMax: pageSize / 4 - 24) }).sorted(by: lexicographic)
    let present = all.indices.filter { $0 % 4 != 2 }.map { all[$0] }
    let tree = try database.write { batch in
      let tree = try batch.openTree("t")
      for key in present { try batch.put(tree, key, key) }
      return tree
    }
    try database.withSnapshot { snapshot in
      for seed in [1, 2, 3] as [UInt64] { try walk(snapshot.tree(tree).cursor(), all, present, seed) }
    }
  }

  /// Seeks here and there, and steps from where they led: the cursor knows its whole path.
  private func walk(
    _ cursor: consuming Cursor, _ all: [[UInt8]], _ present: [[UInt8]], _ seed: UInt64
  ) throws {
    var generator = SeededGenerator(seed: seed)
    var at = 0
    for _ in 0..<3000 {
      let isFar = generator.below(8) == 0
      at = isFar ? generator.below(all.count) : min(max(at + generator.below(9) - 4, 0), all.count - 1)
      let key = Self.neighbours(all[at])[generator.below(4)]
      var expected = lowerBound(key, present)
      var found = try key.withUnsafeBytes { try cursor.seek($0) }
      for step in 0..<4 {
        guard found == present.indices.contains(expected) else {
          Issue.record("seed \(seed): seek to \(key), step \(step): found \(found), expected entry \(expected)")
          return
        }
        guard found else { break }
        guard try [UInt8](cursor.key) == present[expected], try [UInt8](cursor.value) == present[expected] else {
          Issue.record("seed \(seed): seek to \(key), step \(step): not entry \(expected)")
          return
        }
        let isForward = generator.below(2) == 0
        expected += isForward ? 1 : -1
        found = try isForward ? cursor.next() : cursor.previous()
      }
    }
  }

  /// Index of the first key not smaller than `key`.
  private func lowerBound(_ key: [UInt8], _ keys: [[UInt8]]) -> Int {
    var low = 0
    var high = keys.count
    while low < high {
      let middle = (low + high) / 2
      if lexicographic(keys[middle], key) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
