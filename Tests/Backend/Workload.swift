// A seeded workload on a simulated disk beside a naive model: batches (some abandoned), several trees, overflow values,
// user words, checkpoints with batches in their middle, readers that stay pinned. What crash, fault and reclaim tests drive.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

/// What a snapshot holds. `number` counts batches and is kept in user word 0 as well.
struct ModelState: Equatable {
  var number: UInt64 = 0
  var trees: [String: [[UInt8]: [UInt8]]] = [:]
}

struct Difference: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

func options(pageSize: Int) -> DatabaseOptions {
  var options = DatabaseOptions()
  options.pageSize = pageSize
  options.readersMax = 16
  return options
}

extension SnapshotView {
  /// Compares everything in it with the model.
  func compare(_ state: ModelState, _ ids: (String) -> TreeID?) throws {
    guard word(0) == state.number, word(7) == state.number &* 3 else {
      throw Difference("words \(word(0)), \(word(7)) in state \(state.number)")
    }
    for (name, entries) in state.trees {
      guard let id = ids(name) else { throw Difference("tree \(name) is missing in state \(state.number)") }
      try tree(id).compare(entries, "state \(state.number) tree \(name)")
    }
  }
}

extension TreeView {
  func compare(_ entries: [[UInt8]: [UInt8]], _ label: @autoclosure () -> String = "") throws {
    guard count == UInt64(entries.count) else { throw Difference("\(label()): count \(count), not \(entries.count)") }
    let sorted = entries.keys.sorted(by: lexicographic)
    var cursor = cursor()
    var seen = 0
    var more = try cursor.first()
    while more {
      let key = try [UInt8](cursor.key)
      guard seen < sorted.count, key == sorted[seen] else { throw Difference("\(label()): entry \(seen) is \(key)") }
      guard try [UInt8](cursor.value) == entries[key] else { throw Difference("\(label()): value of \(key)") }
      seen += 1
      more = try cursor.next()
    }
    guard seen == sorted.count else { throw Difference("\(label()): \(seen) entries of \(sorted.count)") }
  }
}

extension Database {
  /// Throws unless the tree checker is content and each page of the file is accounted for.
  func expectSound() throws {
    let report = try check()
    guard report.isClean else { throw Difference("check: \(report.problems.prefix(5))") }
    let figures = statistics
    let pages = figures.fileBytes >> geometry.shift
    let groupPages = UInt64(FreeSpace.groupPages(pageSize: geometry.pageSize))
    let reserved =
      2 * ((pages + groupPages - 1) / groupPages) + UInt64(FreeSpace.metaPages(pageSize: geometry.pageSize))
    let known = (figures.liveBytes + figures.pendingBytes + figures.reusableBytes) >> geometry.shift
    guard known + reserved == pages else {
      throw Difference(
        "\(pages) pages: \(figures) and \(reserved) reserved leave \(Int(pages) - Int(known + reserved))")
    }
  }

  func compare(_ state: ModelState) throws {
    try withSnapshot { view in
      try view.compare(state) { self.tree(named: $0) }
      let names = (0..<UInt8(treesMax)).filter { view.snapshot.pointee.treeCount > Int($0) }
      guard names.count == state.trees.count else { throw Difference("\(names.count) trees, not \(state.trees.count)") }
    }
  }
}

final class Workload {
  var random: SeededGenerator
  let store: SimulatedPageStore
  let database: Database
  private(set) var state: ModelState
  /// The newest state that is known to be durable, and the one a checkpoint is at work on.
  private(set) var durable: ModelState
  private(set) var begun: ModelState?
  private var pinned: [(reader: ReaderHandle, view: SnapshotView, state: ModelState)] = []
  private let shapes: [KeyShape]
  private let keys: Int
  private let deletes: Int
  private let largeValues: Bool
  private let names: [String]

  init(seed: UInt64, store: SimulatedPageStore, database: Database, state: ModelState, largeValues: Bool = false) {
    random = SeededGenerator(seed: seed)
    self.store = store
    self.database = database
    self.state = state
    self.largeValues = largeValues
    durable = state
    shapes = (0..<3).map { [random] i in
      var random = random
      for _ in 0..<i { _ = random.next() }
      return KeyShape.allCases[random.below(KeyShape.allCases.count)]
    }
    keys = 10 + random.below(90)
    deletes = [10, 40, 60][random.below(3)]
    names = Array(["a", "key", "history"].prefix(1 + random.below(3)))
  }

  var legal: [ModelState] { begun.map { [durable, $0] } ?? [durable] }

  func step() throws {
    switch random.below(12) {
    case 0..<7: try batch()
    case 7, 8: try checkpoint()
    case 9: if pinned.count < 4 { try pin() }
    default: if !pinned.isEmpty { unpin(random.below(pinned.count)) }
    }
  }

  private struct Abandoned: Error {}

  /// True inside `batch`, where the writer's lock is held: what watches the disk must not begin another then.
  private(set) var isWriting = false

  func batch() throws {
    isWriting = true
    defer { isWriting = false }
    var next = state
    next.number += 1
    let abandons = random.below(8) == 0
    do {
      try database.write { batch in
        for _ in 0..<1 + random.below(14) { try edit(batch, &next) }
        batch.setWord(0, next.number)
        batch.setWord(7, next.number &* 3)
        if abandons { throw Abandoned() }
      }
      state = next
    } catch is Abandoned {}
  }

  private func edit(_ batch: WriteBatch, _ next: inout ModelState) throws {
    let name = names[random.below(names.count)]
    let tree = try batch.openTree(name)
    // Opened is made, also where nothing is put into it.
    if next.trees[name] == nil { next.trees[name] = [:] }
    let key = shapes[random.below(shapes.count)].key(random.below(keys), keyMax: database.geometry.keyMax)
    if random.below(25) == 0 {
      let other = shapes[random.below(shapes.count)].key(random.below(keys), keyMax: database.geometry.keyMax)
      let (from, to) = lexicographic(key, other) ? (key, other) : (other, key)
      let gone = next.trees[name, default: [:]].keys.filter { !lexicographic($0, from) && lexicographic($0, to) }
      for key in gone { next.trees[name]?[key] = nil }
      let count = try batch.deleteRange(tree, from: from, to: to)
      guard count == UInt64(gone.count) else { throw Difference("range deletion of \(count), not \(gone.count)") }
    } else if random.below(100) < deletes {
      let existed = next.trees[name, default: [:]].removeValue(forKey: key) != nil
      guard try batch.delete(tree, key) == existed else { throw Difference("delete of \(key)") }
    } else {
      let value = value()
      try batch.put(tree, key, value)
      next.trees[name, default: [:]][key] = value
    }
  }

  private func value() -> [UInt8] {
    let length: Int
    switch random.below(largeValues ? 8 : 12) {
    case 0: length = 0
    case 1: length = random.below(4 * database.geometry.pageSize)
    case 2 where largeValues: length = random.below(500_000)
    default: length = random.below(50)
    }
    let byte = UInt8(truncatingIfNeeded: random.next())
    return (0..<length).map { byte &+ UInt8(truncatingIfNeeded: $0) }
  }

  func checkpoint() throws {
    begun = state
    // As `checkpoint()` does, with time for a batch in between.
    let work = try database.begin()
    if random.below(3) == 0 { try batch() }
    if let work { try database.finish(work) }
    if let begun { durable = begun }
    begun = nil
  }

  /// Gives the file's end back; on the way there what is published becomes durable.
  func shrink() throws -> ShrinkReport {
    begun = state
    isWriting = true
    defer { isWriting = false }
    let report = try database.shrink()
    durable = state
    begun = nil
    return report
  }

  /// A tree that the workload did not make, empty at the next batch.
  func adopt(_ name: String) { state.trees[name] = [:] }

  func pin() throws {
    let reader = try database.makeReader()
    pinned.append((reader, reader.pin(), state))
  }

  private func unpin(_ i: Int) {
    let held = pinned.remove(at: i)
    held.reader.unpin()
    held.reader.free()
  }

  /// The published state, and every state a reader holds.
  func compareAll() throws {
    try database.compare(state)
    for held in pinned { try held.view.compare(held.state) { database.tree(named: $0) } }
  }

  func finish() {
    while !pinned.isEmpty { unpin(0) }
    database.close()
  }
}
