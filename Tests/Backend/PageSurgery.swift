// Cutting into the pages of a database behind its back, with the checksum mended afterwards where damage is to look sound.

import CNeedletail
import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

/// A simulated database and its pages by kind.
struct Patient {
  let store: SimulatedPageStore
  let pageSize: Int
  let entries: [[UInt8]: [UInt8]]

  /// A tree of three levels with overflow values, checkpointed, closed.
  init(pageSize: Int, count: Int = 400) throws {
    self.pageSize = pageSize
    store = SimulatedPageStore()
    let database = try Database(store: store, path: "patient", options: options(pageSize: pageSize))
    var entries: [[UInt8]: [UInt8]] = [:]
    try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<count {
        let shape: KeyShape = i % 5 == 0 ? .noPrefix : i % 2 == 0 ? .equalHeads : .sharedPrefix
        let key = shape.key(i &* 7919 % 10_000, keyMax: database.geometry.keyMax)
        let value = [UInt8](repeating: UInt8(i & 255), count: i % 40 == 0 ? 3 * pageSize / 2 : 4 + i % 30)
        try batch.put(tree, key, value)
        entries[key] = value
      }
    }
    try database.checkpoint()
    try database.expectSound()
    database.close()
    self.entries = entries
  }

  private init(copying other: Patient) {
    store = other.store.processCrash()
    pageSize = other.pageSize
    entries = other.entries
  }

  func copy() -> Patient { Patient(copying: self) }

  func open(verifiesReads: Bool = true) throws -> Database {
    var options = options(pageSize: pageSize)
    options.verifiesReads = verifiesReads
    return try Database(store: store, path: "patient", options: options)
  }

  var pages: Int { Int(store.size) / pageSize }
  func page(_ id: Int) -> UnsafeRawPointer { store.base + id * pageSize }
  func bytes(_ id: Int) -> [UInt8] { [UInt8](UnsafeRawBufferPointer(start: page(id), count: pageSize)) }

  /// The page numbers of a kind at a level.
  func find(_ type: PageType, level: Int = 0) -> [Int] {
    (8..<pages).filter {
      let header = PageHeader(page($0))
      return header.type == type.rawValue && header.level == level && header.id == PageID($0) && header.tree == 0
    }
  }

  /// Changes a page; `seals` mends its checksum.
  func edit(_ id: Int, seals: Bool = true, _ body: (UnsafeMutableRawPointer) -> Void) {
    var copy = bytes(id)
    copy.withUnsafeMutableBytes { buffer in
      guard let page = buffer.baseAddress else { return }
      body(page)
      if seals {
        let covered =
          page.load(fromByteOffset: 16, as: UInt8.self) == PageType.overflow.rawValue ? headerSize : pageSize
        page.setU32(0, nt_crc32c(0, page + 4, covered - 4))
      }
    }
    store.damage(copy, at: id * pageSize)
  }

  /// Does everything a user can to a damaged database. Errors of the engine are answers; anything else is a failure.
  /// Edits trust a page whose checksum is right, as they must trust their own.
  func exercise(_ random: inout SeededGenerator, edits: Bool) throws {
    let database: Database
    do { database = try open() } catch is DatabaseError { return }
    defer { database.close() }
    _ = try database.check()
    let keys = entries.keys.sorted(by: lexicographic)
    let probes = (0..<24).map { _ in keys[random.below(keys.count)] } + [[0], [255, 255], [47]]
    guard let tree = database.tree(named: "t") else { return }
    try database.withSnapshot { view in
      let view = view.tree(tree)
      for key in probes {
        answer { _ = try view.value(key)?.count }
        answer { _ = try view.rank(key) }
        answer {
          var cursor = view.cursor()
          guard try key.withUnsafeBytes({ try cursor.seek($0) }) else { return }
          for _ in 0..<5 {
            touch(try cursor.key)
            touch(try cursor.value)
            guard try cursor.previous() else { return }
          }
        }
      }
      for forward in [true, false] {
        answer {
          var cursor = view.cursor()
          var more = forward ? try cursor.first() : try cursor.last()
          var steps = 0
          while more, steps < 100_000 {
            touch(try cursor.key)
            touch(try cursor.value)
            more = forward ? try cursor.next() : try cursor.previous()
            steps += 1
          }
          if steps == 100_000 { throw Difference("a scan does not end") }
        }
      }
    }
    for round in 0..<4 where edits {
      answer {
        try database.write { batch in
          for key in probes {
            // A caller may go on after an error: what it then publishes must still be a tree.
            answer {
              if random.below(2) == 0 {
                _ = try batch.delete(tree, key)
              } else {
                try batch.put(tree, key, [UInt8](repeating: 1, count: random.below(3 * pageSize)))
              }
            }
          }
          if round == 3 { throw DatabaseError.closed }
        }
      }
      answer { try database.checkpoint() }
    }
    _ = try database.check()
  }

  private func answer(_ body: () throws -> Void) {
    do { try body() } catch is DatabaseError {} catch { Issue.record("\(error)") }
  }

  private func touch(_ bytes: UnsafeRawBufferPointer) {
    var sum: UInt8 = 0
    for byte in bytes { sum &+= byte }
    blackHole(sum)
  }
}

@inline(never) func blackHole(_ value: UInt8) {}
