// How full pages are: what the size of a file follows from.

import Testing

@testable import NeedletailBackend

struct FillTests {
  private static func fill(_ database: Database) throws -> (leaves: Double, report: CheckReport) {
    let report = try database.check()
    #expect(report.isClean, "\(report.problems)")
    let tree = report.trees[0]
    let bytes = (tree.leafPages + tree.branchPages) * UInt64(database.geometry.pageSize)
    return (Double(tree.usedBytes) / Double(bytes), report)
  }

  private static func open(_ directory: TemporaryDirectory, pageSize: Int = 4096) throws -> Database {
    var options = DatabaseOptions()
    options.pageSize = pageSize
    options.reservation = 4 << 30
    return try Database.open(directory.file("db"), options)
  }

  private static func key(_ i: Int) -> [UInt8] { Array("/registry/pods/".utf8) + Array(String(1_000_000 + i).utf8) }

  /// Leaves that split in the middle alone would be 69 % full.
  @Test(arguments: [40, 256]) func randomInsertionsFillLeaves(valueLength: Int) throws {
    let directory = try TemporaryDirectory()
    let database = try Self.open(directory)
    defer { database.close() }
    let tree = try database.write { try $0.openTree("t") }
    var random = SeededGenerator(seed: 3)
    let ids = (0..<60_000).shuffled(using: &random)
    for start in stride(from: 0, to: ids.count, by: 500) {
      try database.write { batch in
        for i in ids[start..<start + 500] {
          try batch.put(tree, Self.key(i), [UInt8](repeating: UInt8(i & 255), count: valueLength))
        }
      }
    }
    let (fill, _) = try Self.fill(database)
    #expect(fill > 0.76, "\(fill)")
    #expect(Double(database.statistics.fileBytes) < 1.1 * Double(database.statistics.liveBytes) + Double(8 << 20))
  }

  // MARK: Sorted input

  @Test(arguments: [512, 4096]) func appendingFillsPages(pageSize: Int) throws {
    let directory = try TemporaryDirectory()
    let database = try Self.open(directory, pageSize: pageSize)
    defer { database.close() }
    let tree = try database.write { try $0.openTree("t") }
    let other = try database.write { try $0.openTree("other") }
    var next = 0
    for round in 0..<40 {
      try database.write { batch in
        for _ in 0..<1 + round * 40 {
          try batch.append(tree, Self.key(next), [UInt8](repeating: UInt8(next & 255), count: 20))
          // Edits elsewhere come between.
          if next % 97 == 0 { try batch.put(other, Self.key(next), [1]) }
          if next % 97 == 50, next > 97 { #expect(try batch.delete(other, Self.key(next - 50))) }
          if next % 501 == 500 { try batch.put(tree, Self.key(next - 400), [UInt8](repeating: 7, count: 20)) }
          next += 1
        }
      }
    }
    let (fill, report) = try Self.fill(database)
    #expect(report.trees[0].entries == UInt64(next))
    #expect(fill > (pageSize == 512 ? 0.85 : 0.96), "\(fill)")
    try database.withSnapshot { view in
      for i in 0..<next {
        let value = try view.tree(tree).value(Self.key(i))
        #expect(value != nil)
      }
    }
  }

  @Test func unsortedInputIsRefused() throws {
    let directory = try TemporaryDirectory()
    let database = try Self.open(directory, pageSize: 512)
    defer { database.close() }
    let tree = try database.write { try $0.openTree("t") }
    try database.write { batch in
      func refuses(_ key: [UInt8]) throws {
        #expect(throws: DatabaseError.unsorted) { try batch.append(tree, key, [1]) }
      }
      try batch.append(tree, Self.key(10), [1])
      try refuses(Self.key(10))
      try refuses(Self.key(9))
      for i in 11..<400 {
        try batch.append(tree, Self.key(i), [UInt8](repeating: 1, count: i % 50))
        try refuses(Self.key(i))
        try refuses(Self.key(i - 1))
        if i % 3 == 0 { try refuses([0]) }
      }
      // What the tree's last entry is may change.
      #expect(try batch.delete(tree, Self.key(399)))
      try batch.append(tree, Self.key(399), [2])
      #expect(try batch.deleteRange(tree, from: Self.key(50), to: nil) == 350)
      try refuses(Self.key(49))
      try batch.append(tree, Self.key(50), [3])
      // Keys that differ late, keys outside the tree's prefix, large values.
      try batch.append(tree, Self.key(50) + [0], [4])
      try batch.append(tree, [200], [UInt8](repeating: 9, count: 3000))
      try refuses([200])
      try batch.append(tree, [200, 0], [])
    }
    let (_, report) = try Self.fill(database)
    #expect(report.trees[0].entries == 44)
  }

  // MARK: Churn

  /// Overwriting at random for long, with a checkpoint before a quarter of the leaves is replaced and no long reader: the file
  /// stays within 1.5 times what lives in it. (What the last checkpoint holds cannot be used again before the next.)
  /// NEEDLETAIL_OPS sets the number of overwrites.
  @Test func churnStaysSmall() throws {
    let directory = try TemporaryDirectory()
    let database = try Self.open(directory)
    defer { database.close() }
    let tree = try database.write { try $0.openTree("t") }
    var random = SeededGenerator(seed: 9)
    let count = 120_000
    for start in stride(from: 0, to: count, by: 1000) {
      try database.write { batch in
        for i in start..<start + 1000 { try batch.put(tree, Self.key(i), [UInt8](repeating: 0, count: 256)) }
      }
    }
    try database.checkpoint()
    let operations = setting("NEEDLETAIL_OPS") ?? 60_000
    for done in stride(from: 0, to: operations, by: 500) {
      try database.write { batch in
        for _ in 0..<500 {
          // Lengths change too: leaves split and merge.
          let value = [UInt8](repeating: UInt8(truncatingIfNeeded: done), count: 192 + random.below(128))
          try batch.put(tree, Self.key(random.below(count)), value)
        }
      }
      if done % 2000 == 0 { try database.checkpoint() }
      if done % 20_000 == 0 {
        let figures = database.statistics
        #expect(Double(figures.fileBytes) < 1.5 * Double(figures.liveBytes), "after \(done): \(figures)")
      }
    }
    let (fill, _) = try Self.fill(database)
    #expect(fill > 0.6, "\(fill)")
  }
}
