// The engine against a naive model: random puts, overwrites and deletes in random batches on small pages, some batches
// abandoned, with lookups, scans both ways, ranks and the tree checker after each, readers held across batches, and
// reopening. A failure names its seed.

import Testing

@testable import NeedletailBackend

/// The model: what a tree holds, and what pinned snapshots held.
private struct Model {
  var entries: [[UInt8]: [UInt8]] = [:]
  var sorted: [[UInt8]] { entries.keys.sorted(by: lexicographic) }
}

struct ModelTests {
  @Test(arguments: seeds(40)) func randomBatches(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory()
    var options = DatabaseOptions()
    options.pageSize = [512, 512, 1024, 4096][random.below(4)]
    options.reservation = 1 << 30
    options.hugePages = random.below(2) == 0
    let shapes =
      KeyShape.allCases.filter { _ in random.below(3) == 0 } + [
        KeyShape.allCases[random.below(KeyShape.allCases.count)]
      ]
    let keys = 50 + random.below(400)
    let deletes = [10, 30, 50, 60][random.below(4)]
    var database = try Database.open(directory.file("db"), options)
    var model = Model()
    var pinned: [(reader: ReaderHandle, view: SnapshotView, model: Model)] = []

    for round in 0..<30 {
      let tree = try database.write { try $0.openTree("t") }
      var next = model
      let abandon = random.below(8) == 0
      do {
        try database.write { batch in
          for _ in 0..<random.below(120) {
            if random.below(8) == 0 {
              batch.prefetch(
                tree,
                (0..<random.below(40)).map { _ in
                  shapes[random.below(shapes.count)].key(random.below(keys), keyMax: database.geometry.keyMax)
                })
            }
            let key = shapes[random.below(shapes.count)].key(random.below(keys), keyMax: database.geometry.keyMax)
            if random.below(60) == 0 {
              let other = shapes[random.below(shapes.count)].key(random.below(keys), keyMax: database.geometry.keyMax)
              try Self.deleteRange(batch, tree, key, other, &next, &random, seed)
            } else if random.below(100) < deletes {
              let existed = next.entries.removeValue(forKey: key) != nil
              #expect(try batch.delete(tree, key) == existed, "seed \(seed)")
            } else {
              let value = Self.value(&random, pageSize: options.pageSize)
              try batch.put(tree, key, value)
              next.entries[key] = value
            }
            if random.below(20) == 0 { #expect(try batch.value(tree, key) == next.entries[key], "seed \(seed)") }
          }
          if abandon { throw Abandoned() }
        }
        model = next
      } catch is Abandoned {}
      try database.withSnapshot {
        try Self.compare($0.tree(tree), model, &random, shapes, keys, database.geometry, seed)
      }
      let report = try database.check()
      #expect(report.isClean, "seed \(seed) round \(round): \(report.problems)")
      for held in pinned { try Self.compareAll(held.view.tree(tree), held.model, seed) }
      if random.below(4) == 0, pinned.count < 4 {
        let reader = try database.makeReader()
        pinned.append((reader, reader.pin(), model))
      }
      if random.below(5) == 0, !pinned.isEmpty {
        let held = pinned.remove(at: random.below(pinned.count))
        held.reader.unpin()
        held.reader.free()
      }
      if random.below(4) == 0 { try database.checkpoint() }
      if random.below(10) == 0 {
        for held in pinned { held.reader.free() }
        pinned = []
        try database.checkpoint()
        database.close()
        database = try Database.open(directory.file("db"), options)
      }
    }
    for held in pinned { held.reader.free() }
    database.close()
  }

  private struct Abandoned: Error {}

  /// Mostly short ranges, sometimes with an open end.
  private static func deleteRange(
    _ batch: WriteBatch, _ tree: TreeID, _ a: [UInt8], _ b: [UInt8], _ next: inout Model,
    _ random: inout SeededGenerator, _ seed: UInt64
  ) throws {
    let (low, high) = lexicographic(a, b) ? (a, b) : (b, a)
    var from: [UInt8]? = low
    var to: [UInt8]? = high
    if random.below(20) == 0 { from = nil }
    if random.below(20) == 0 { to = nil }
    if random.below(4) != 0, from != nil {
      let sorted = next.sorted
      let start = sorted.firstIndex { !lexicographic($0, low) } ?? sorted.count
      to = sorted.dropFirst(start + random.below(60)).first ?? high
    }
    let gone = next.entries.keys.filter { key in
      !(from.map { lexicographic(key, $0) } ?? false) && (to.map { lexicographic(key, $0) } ?? true)
    }
    for key in gone { next.entries[key] = nil }
    #expect(try batch.deleteRange(tree, from: from, to: to) == UInt64(gone.count), "seed \(seed)")
  }

  private static func value(_ random: inout SeededGenerator, pageSize: Int) -> [UInt8] {
    let length: Int
    switch random.below(20) {
    case 0: length = 0
    case 1: length = pageSize / 2 + random.below(pageSize)
    case 2: length = random.below(5 * pageSize)
    default: length = random.below(40)
    }
    let byte = UInt8(truncatingIfNeeded: random.next())
    return (0..<length).map { byte &+ UInt8(truncatingIfNeeded: $0) }
  }

  private static func compare(
    _ view: TreeView, _ model: Model, _ random: inout SeededGenerator, _ shapes: [KeyShape], _ keys: Int,
    _ geometry: PageGeometry, _ seed: UInt64
  ) throws {
    try compareAll(view, model, seed)
    let sorted = model.sorted
    for _ in 0..<20 {
      let key = shapes[random.below(shapes.count)].key(random.below(keys + 5), keyMax: geometry.keyMax)
      #expect(try view.value(key) == model.entries[key], "seed \(seed)")
      let rank = sorted.firstIndex { !lexicographic($0, key) } ?? sorted.count
      #expect(try view.rank(key) == UInt64(rank), "seed \(seed)")
      var cursor = view.cursor()
      let found = try key.withUnsafeBytes { try cursor.seek($0) }
      #expect(found == (rank < sorted.count), "seed \(seed)")
      if found { #expect(try [UInt8](cursor.key) == sorted[rank], "seed \(seed)") }
      // A few steps back from there.
      for step in 1...3 where found && rank >= step {
        #expect(try cursor.previous())
        #expect(try [UInt8](cursor.key) == sorted[rank - step], "seed \(seed)")
      }
    }
  }

  private static func compareAll(_ view: TreeView, _ model: Model, _ seed: UInt64) throws {
    #expect(view.count == UInt64(model.entries.count), "seed \(seed)")
    let sorted = model.sorted
    var cursor = view.cursor()
    var seen = 0
    var more = try cursor.first()
    while more {
      let key = try [UInt8](cursor.key)
      guard seen < sorted.count, key == sorted[seen], try [UInt8](cursor.value) == model.entries[key] else {
        Issue.record("seed \(seed): entry \(seen) differs: \(key)")
        return
      }
      seen += 1
      more = try cursor.next()
    }
    #expect(seen == sorted.count, "seed \(seed)")
    more = try cursor.last()
    while more {
      seen -= 1
      guard seen >= 0, try [UInt8](cursor.key) == sorted[seen] else {
        Issue.record("seed \(seed): backwards at \(seen)")
        return
      }
      more = try cursor.previous()
    }
    #expect(seen == 0, "seed \(seed)")
  }
}
