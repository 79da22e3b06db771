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
}
