// Figures per tree against what was put, and pages shown to people.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct TreeStatisticsTests {
  private typealias Model = [String: [[UInt8]: Int]]

  private func database(_ random: inout SeededGenerator) throws -> (Database, SimulatedPageStore, Model) {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "figures", options: options(pageSize: 512))
    var model: Model = ["empty": [:], "some": [:], "large": [:]]
    try database.write { batch in
      for name in ["empty", "some", "large"] { _ = try batch.openTree(name) }
      for i in 0..<800 {
        let name = i % 3 == 0 ? "large" : "some"
        let key = Array("key\(random.below(1000))".utf8)
        let length = name == "large" ? random.below(3000) : random.below(60)
        try batch.put(try batch.openTree(name), key, [UInt8](repeating: 1, count: length))
        model[name]?[key] = length
      }
    }
    return (database, store, model)
  }

  @Test(arguments: seeds(5)) func figures(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let (database, _, model) = try database(&random)
    defer { database.close() }
    let report = try database.check()
    let figures = try database.treeStatistics()
    #expect(figures.map(\.name) == ["empty", "some", "large"])
    for (tree, checked) in zip(figures, report.trees) {
      let pairs = model[tree.name] ?? [:]
      #expect(tree.entries == UInt64(pairs.count))
      #expect(tree.keyBytes == UInt64(pairs.keys.reduce(0) { $0 + $1.count }))
      #expect(tree.valueBytes == UInt64(pairs.values.reduce(0, +)))
      #expect(tree.levels == checked.levels)
      #expect(tree.leafPages == checked.leafPages)
      #expect(tree.branchPages == checked.branchPages)
      #expect(tree.overflowPages == checked.overflowPages)
      #expect(tree.leafBytes + tree.branchBytes == checked.usedBytes)
    }
    #expect(figures[2].overflowValues > 100)
    #expect(figures[1].overflowValues == 0)
    #expect(figures[0].pages == 0)
    #expect(figures.reduce(0) { $0 + $1.pages } * 512 == database.statistics.liveBytes)
  }

  private func text(_ store: SimulatedPageStore, _ page: Int) -> String {
    PageDump.text(UnsafeRawBufferPointer(start: store.base + page * 512, count: 512), number: UInt64(page))
  }

  /// Every page of a sound file is of a kind, and right; keys and values are readable.
  @Test func soundPages() throws {
    var random = SeededGenerator(seed: 1)
    let (database, store, _) = try database(&random)
    try database.put("text", Array("greeting".utf8), Array("hello \"you\"\n".utf8))
    try database.checkpoint()
    defer { database.close() }
    var kinds: Set<String> = []
    var found = ""
    for page in PageDump.metaPages(pageSize: 512)..<Int(store.size / 512) {
      let type = PageHeader(store.base + page * 512).type
      guard type != 0, PageHeader(store.base + page * 512).id == PageID(page) else { continue }
      let text = text(store, page)
      #expect(!text.contains("WRONG") && !text.contains("DAMAGED"), "\(text)")
      kinds.insert(String(text.split(separator: " ")[2]))
      if text.contains("greeting") { found = text }
    }
    #expect(kinds == ["leaf", "branch", "first", "bitmap"])
    #expect(found.contains(#""greeting" = "hello \"you\"\x0a""#))
    let meta = MetaDump.text(UnsafeRawBufferPointer(start: store.base, count: 4096), slot: 0, fileBytes: store.size)
    #expect(meta.contains("checkpoint") && meta.contains("\"some\""))
  }

  /// Pages with random damage, right checksum or not, are shown without a trap.
  @Test(arguments: seeds(6)) func damagedPages(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let (database, store, _) = try database(&random)
    defer { database.close() }
    var bytes = [UInt8](repeating: 0, count: 512)
    var said = 0
    for _ in 0..<1000 {
      let page = random.below(Int(store.size / 512))
      for i in bytes.indices { bytes[i] = (store.base + page * 512).byte(i) }
      for _ in 0..<(1 + random.below(8)) {
        bytes[random.below(3) == 0 ? random.below(512) : 16 + random.below(48)] = UInt8(random.below(256))
      }
      let text = bytes.withUnsafeBytes {
        PageDump.text($0, number: UInt64(page), isHex: random.below(2) == 0, showsAll: random.below(2) == 0)
      }
      if text.contains("WRONG") || text.contains("DAMAGED") || text.contains("no type") { said += 1 }
    }
    #expect(said > 600, "seed \(seed)")
  }
}

extension Database {
  fileprivate func put(_ tree: String, _ key: [UInt8], _ value: [UInt8]) throws {
    try write { try $0.put(try $0.openTree(tree), key, value) }
  }
}
