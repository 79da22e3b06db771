// The file's end goes back to the file system: nothing is lost, readers keep what they pinned, and a crash at any operation
// leaves a whole database.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct ShrinkTests {
  private static func key(_ i: Int) -> [UInt8] { Array("/registry/pods/".utf8) + Array(String(1_000_000 + i).utf8) }

  private func fill(_ database: Database, _ tree: TreeID, _ range: Range<Int>, value: (Int) -> [UInt8]) throws {
    for first in stride(from: range.lowerBound, to: range.upperBound, by: 500) {
      try database.write { batch in
        for i in first..<min(first + 500, range.upperBound) { try batch.put(tree, Self.key(i), value(i)) }
      }
    }
  }

  @Test(arguments: [512, 4096]) func aFileOfManyDeletionsBecomesShort(pageSize: Int) throws {
    let directory = try TemporaryDirectory()
    var settings = options(pageSize: pageSize)
    settings.reservation = 1 << 30
    let database = try Database.open(directory.file("db"), settings)
    let tree = try database.write { try $0.openTree("t") }
    let other = try database.write { try $0.openTree("other") }
    // Values of all kinds, the survivors everywhere.
    let value = { (i: Int) in [UInt8](repeating: UInt8(i & 255), count: i % 49 == 0 ? 20_000 : 150) }
    try fill(database, tree, 0..<40_000, value: value)
    try fill(database, other, 0..<100, value: value)
    try database.checkpoint()
    try database.write { batch in
      for i in 0..<40_000 where i % 25 != 0 { _ = try batch.delete(tree, Self.key(i)) }
    }
    try database.checkpoint()
    let report = try database.shrink()
    #expect(report.outcome == .shrunk)
    #expect(report.after < report.before / 2)
    #expect(report.after == database.statistics.fileBytes)
    #expect(report.after <= database.statistics.liveBytes * 5 / 4 + (4 << 20))
    try database.expectSound()
    let expected = Dictionary(
      uniqueKeysWithValues: (0..<40_000).filter { $0 % 25 == 0 }.map { (Self.key($0), value($0)) })
    try database.withSnapshot { try $0.tree(tree).compare(expected) }
    #expect(try database.shrink().outcome == .compact)
    // It grows again, and opens again.
    try fill(database, tree, 0..<5_000, value: value)
    try database.expectSound()
    try database.checkpoint()
    database.close()
    let again = try Database.open(directory.file("db"), settings)
    try again.expectSound()
    #expect(try again.withSnapshot { try $0.tree(tree).value(Self.key(4_999)) } == value(4_999))
    again.close()
  }

  /// What lives at the end can move, and the reader that pinned it there keeps the end.
  @Test func aReaderHoldsTheEnd() throws {
    let store = SimulatedPageStore(capacity: 64 << 20)
    let database = try Database(store: store, path: "held", options: options(pageSize: 4096))
    let tree = try database.write { try $0.openTree("t") }
    let value = { (i: Int) in [UInt8](repeating: UInt8(i & 255), count: 300) }
    try fill(database, tree, 0..<30_000, value: value)
    try database.checkpoint()
    store.poisonsReleased = true
    #expect(try database.write { try $0.deleteRange(tree, from: nil, to: Self.key(29_000)) } == 29_000)
    try database.checkpoint()
    let reader = try database.makeReader()
    let view = reader.pin()
    let expected = Dictionary(uniqueKeysWithValues: (29_000..<30_000).map { (Self.key($0), value($0)) })
    #expect(try database.shrink().outcome == .held)
    try view.tree(tree).compare(expected)
    try database.expectSound()
    try fill(database, tree, 50..<200, value: value)
    try view.tree(tree).compare(expected)
    reader.unpin()
    reader.free()
    let report = try database.shrink()
    #expect(report.outcome == .shrunk && report.after <= 4 << 20, "\(report)")
    try database.expectSound()
    #expect(store.violations.isEmpty)
    database.close()
  }

  /// Writers that need the space get it, at any moment.
  @Test func writersComeFirst() throws {
    let store = SimulatedPageStore(capacity: 64 << 20)
    let database = try Database(store: store, path: "needed", options: options(pageSize: 4096))
    let tree = try database.write { try $0.openTree("t") }
    try fill(database, tree, 0..<30_000) { _ in [UInt8](repeating: 1, count: 300) }
    try database.checkpoint()
    _ = try database.write { try $0.deleteRange(tree, from: Self.key(100), to: nil) }
    try database.checkpoint()
    var syncs = 0
    var isWriting = false
    store.observer = { operation in
      guard operation == .sync, !isWriting else { return }
      isWriting = true
      defer { isWriting = false }
      syncs += 1
      // Right after the last of the tail moved, and again while the shorter file is being made durable.
      try? fill(database, tree, 1000 * syncs..<1000 * syncs + 9_000) { _ in [UInt8](repeating: 2, count: 900) }
    }
    let report = try database.shrink()
    store.observer = nil
    #expect(report.outcome == .needed)
    #expect(syncs >= 2)
    try database.expectSound()
    #expect(try database.withSnapshot { try $0.tree(tree).value(Self.key(9_500)) }?.count == 900)
    #expect(store.violations.isEmpty)
    database.close()
  }

  /// Whichever meta page a recovery finds, it is content with the shorter file.
  @Test func bothMetaPagesKnowTheShorterFile() throws {
    for slot in [0, 1] {
      let store = SimulatedPageStore(capacity: 64 << 20)
      let database = try Database(store: store, path: "both", options: options(pageSize: 4096))
      let tree = try database.write { try $0.openTree("t") }
      try fill(database, tree, 0..<20_000) { _ in [UInt8](repeating: 1, count: 300) }
      _ = try database.write { try $0.deleteRange(tree, from: Self.key(100), to: nil) }
      #expect(try database.shrink().outcome == .shrunk)
      let image = store.processCrash()
      image.damage([UInt8](repeating: 0xA5, count: 256), at: slot * FreeSpace.metaStride(pageSize: 4096) + 64)
      let again = try Database(store: image, path: "again", options: options(pageSize: 4096))
      try again.expectSound()
      let left = (0..<100).map { (Self.key($0), [UInt8](repeating: 1, count: 300)) }
      try again.withSnapshot { try $0.tree(tree).compare(Dictionary(uniqueKeysWithValues: left)) }
      again.close()
      database.close()
    }
  }

  /// A crash at every operation of a shrink, and of what follows it.
  @Test(arguments: seeds(3)) func everyOperation(seed: UInt64) throws {
    let explorer = CrashExplorer(seed: seed, pageSize: 1024)
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "simulated", options: options(pageSize: 1024))
    let workload = Workload(
      seed: seed, store: store, database: database, state: ModelState(), largeValues: true)
    // A long file with little in it.
    let ballast = try database.write { try $0.openTree("ballast") }
    try fill(database, ballast, 0..<6_000) { _ in [UInt8](repeating: 1, count: 600) }
    workload.adopt("ballast")
    for _ in 0..<6 { try workload.batch() }
    _ = try database.write { try $0.deleteRange(ballast, from: nil, to: nil) }
    try workload.checkpoint()
    store.poisonsReleased = true
    store.observer = { [unowned store, unowned workload] operation in
      explorer.explore(store, level: 1, operation, workload.legal)
    }
    var outcomes: [ShrinkReport.Outcome] = []
    for _ in 0..<2 where explorer.failure == nil {
      outcomes.append(try workload.shrink().outcome)
      try workload.batch()
      try workload.checkpoint()
      try workload.compareAll()
      try database.expectSound()
    }
    store.observer = nil
    workload.finish()
    #expect(outcomes.contains(.shrunk), "seed \(seed)")
    #expect(explorer.failure == nil, "seed \(seed)")
    #expect(store.violations.isEmpty, "seed \(seed)")
  }

  /// Each operation of a shrink fails once: a typed error, and what opens afterwards is whole.
  @Test(arguments: SimulatedPageStore.Fault.allCases) func failures(fault: SimulatedPageStore.Fault) throws {
    var number = 0
    while true {
      let store = SimulatedPageStore()
      let database = try Database(store: store, path: "faulty", options: options(pageSize: 1024))
      let tree = try database.write { try $0.openTree("t") }
      try fill(database, tree, 0..<6_000) { _ in [UInt8](repeating: 1, count: 600) }
      _ = try database.write { try $0.deleteRange(tree, from: Self.key(40), to: nil) }
      try database.checkpoint()
      let first = store.operations
      store.faults = [first + number: fault]
      let report = try? database.shrink()
      if store.operations <= first + number {
        #expect(report?.outcome == .shrunk)
        database.close()
        break
      }
      #expect(report == nil, "\(fault) at \(number) went unseen")
      database.close()
      let image = store.processCrash()
      let again = try Database(store: image, path: "again", options: options(pageSize: 1024))
      try again.expectSound()
      let survivor = try #require(again.tree(named: "t"))
      #expect(try again.withSnapshot { $0.tree(survivor).count } == 40)
      again.close()
      number += 1
    }
    #expect(number > 8)
  }
}
