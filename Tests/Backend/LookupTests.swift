// Lookups of one key and of many, against each other and against a dictionary; and the head searches beneath them, every
// variant that this processor has.

import CNeedletail
import Foundation
import Testing

@testable import NeedletailBackend

extension TreeView {
  /// All at once.
  func values(_ keys: [[UInt8]]) throws -> [[UInt8]?] {
    let bytes = keys.flatMap { $0 }
    return try bytes.withUnsafeBytes { bytes in
      var start = 0
      let list = keys.map { key in
        defer { start += key.count }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + key.count])
      }
      var values = [UnsafeRawBufferPointer?](repeating: nil, count: keys.count)
      try list.withUnsafeBufferPointer { list in
        try values.withUnsafeMutableBufferPointer { values in
          if let first = values.baseAddress { try get(list, into: first) }
        }
      }
      return values.map { $0.map { [UInt8]($0) } }
    }
  }
}

struct LookupTests {
  // MARK: Head searches

  /// A page with `heads` at `offset`, and something else behind them that must not count.
  private func withHeads(_ heads: [UInt64], at offset: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
    let size = 65536
    let page = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 4096)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    for (i, head) in heads.enumerated() { page.storeBytes(of: head, toByteOffset: offset + i * 8, as: UInt64.self) }
    body(page)
  }

  private func heads(_ n: Int, _ generator: inout SeededGenerator) -> [UInt64] {
    // Few or many different ones, both ends of the range included.
    let wide = generator.below(2) == 0
    return (0..<n).map { _ in
      switch generator.below(12) {
      case 0: 0
      case 1: .max
      case 2: 1 << 63
      default: wide ? generator.next() : UInt64(generator.below(8)) << 61
      }
    }.sorted()
  }

  private func targets(_ heads: [UInt64], _ generator: inout SeededGenerator) -> [UInt64] {
    [0, 1, .max, .max - 1, 1 << 63, 1 << 63 - 1, generator.next(), generator.next()]
      + heads.prefix(40).flatMap { [$0, $0 &- 1, $0 &+ 1] }
  }

  @Test(arguments: seeds(4)) func headSearchesAgreeWithCounting(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    for n in Array(0...80) + [127, 128, 240, 255, 256, 257, 271, 272, 273, 600, 3000] {
      let heads = heads(n, &generator)
      let samples = (0..<n / 16).map { heads[16 * $0 + 15] }
      for target in targets(heads, &generator) {
        let below = heads.count { $0 < target }
        let block = samples.count { $0 < target }
        withHeads(heads, at: headerSize) { page in
          let start = (page + headerSize).assumingMemoryBound(to: UInt64.self)
          #expect(nt_leaf_search(start, n, target) == below, "seed \(seed) n \(n) target \(target)")
          #expect(nt_leaf_search_scalar(start, n, target) == below, "seed \(seed) n \(n) target \(target)")
          if n <= 16 {
            #expect(nt_find_in_block(start, n, target) == below, "seed \(seed) n \(n) target \(target)")
            #expect(nt_count_below_scalar(start, n, target) == below, "seed \(seed) n \(n) target \(target)")
          }
        }
        withHeads(samples, at: headerSize) { page in
          #expect(nt_find_block(page, n, target) == block, "seed \(seed) n \(n) target \(target)")
          #expect(nt_find_block_scalar(page, n, target) == block, "seed \(seed) n \(n) target \(target)")
        }
      }
    }
  }

  // MARK: Many keys

  @Test(arguments: KeyShape.allCases, [512, 4096]) func manyEqualsOneByOne(shape: KeyShape, pageSize: Int) throws {
    var options = DatabaseOptions()
    options.pageSize = pageSize
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"), options)
    defer { database.close() }
    let keyMax = pageSize / 4 - 24
    var model: [[UInt8]: [UInt8]] = [:]
    let tree = try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<1500 where i % 3 != 1 {
        let key = shape.key(i, keyMax: keyMax)
        let value = [UInt8](repeating: UInt8(i & 255), count: i % 50 == 0 ? pageSize * 2 : i % 40)
        model[key] = value
        try batch.put(tree, key, value)
      }
      // A batch sees its own writes, one by one and many at once.
      let keys = (0..<300).map { shape.key($0, keyMax: keyMax) }
      let own = try batch.view(tree).values(keys)
      #expect(own == keys.map { model[$0] })
      return tree
    }
    try database.withSnapshot { snapshot in
      let view = snapshot.tree(tree)
      var keys = (0..<1500).map { shape.key($0, keyMax: keyMax) }
      keys += [[], [0], [255], Array("/registry".utf8), keys[2] + [0], Array(keys[7].dropLast())]
      for key in keys { #expect(try view.value(key) == model[key], "\(key)") }
      for group in [0, 1, 2, 15, 16, 17, 33, keys.count] {
        let found = try view.values(Array(keys.prefix(group)))
        #expect(found == keys.prefix(group).map { model[$0] }, "\(group)")
      }
      let none = try snapshot.tree(TreeID(5)).values([[1], []])
      #expect(none == [nil, nil])
    }
  }

  /// Any damage: many keys at once give what each gives alone, or its error; and nothing ends the process.
  @Test(arguments: seeds(20)) func damageIsMetAlike(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory()
    let path = directory.file("db")
    var options = DatabaseOptions()
    options.pageSize = 512
    let keys = (0..<400).map { KeyShape.sharedPrefix.key($0, keyMax: 100) }
    let database = try Database.open(path, options)
    try database.write { batch in
      let tree = try batch.openTree("t")
      for key in keys { try batch.put(tree, key, key + key) }
    }
    try database.checkpoint()
    database.close()

    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    for _ in 0..<400 { bytes[8192 + 512 * 16 + generator.below(512 * 80)] = UInt8(generator.below(256)) }
    try bytes.write(to: URL(fileURLWithPath: path))
    // Unverified: what was damaged is met by the searches themselves.
    options.verifiesReads = seed % 2 == 0
    let damaged = try Database.open(path, options)
    defer { damaged.close() }
    try damaged.withSnapshot { snapshot in
      let view = snapshot.tree(try #require(damaged.tree(named: "t")))
      for start in stride(from: 0, to: keys.count, by: 16) {
        let some = Array(keys[start..<start + 16])
        let alone = Result { try some.map { try view.value($0) } }
        let together = Result { try view.values(some) }
        switch (alone, together) {
        case (.success(let a), .success(let b)): #expect(a == b, "seed \(seed)")
        case (.failure, .failure): break
        default: Issue.record("seed \(seed): alone \(alone), together \(together)")
        }
      }
    }
  }

  @Test func manyThroughThePublicFace() throws {
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"))
    defer { database.close() }
    try database.write { batch in
      let tree = try batch.openTree("t")
      for i in 0..<500 { try batch.put(tree, Array("key \(i)".utf8), Array("value \(i)".utf8)) }
    }
    var reader = try database.reader()
    let transaction = reader.begin()
    let tree = try transaction.tree("t")
    var keys = KeyList()
    for _ in 0..<2 {
      keys.removeAll()
      for i in 0..<200 {
        let key = Array("key \(i * 4)".utf8)
        keys.append(key.span.bytes)
      }
      var seen: [String?] = []
      try tree.get(keys) { i, value in
        #expect(i == seen.count)
        guard let value else { return seen.append(nil) }
        seen.append(value.withUnsafeBytes { String(decoding: $0, as: UTF8.self) })
      }
      #expect(seen == (0..<200).map { $0 * 4 < 500 ? "value \($0 * 4)" : nil })
    }
  }
}
