// The scrub: every damaged byte of a page in use is found and named, and nothing else ever is, whatever a writer does
// meanwhile.

import Foundation
import Synchronization
import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct ScrubTests {
  /// A whole pass: pages looked at, and what was damaged.
  private func pass(_ scrubber: Scrubber) -> (pages: UInt64, damage: [Scrubber.Damage]) {
    var pages: UInt64 = 0
    var damage: [Scrubber.Damage] = []
    while true {
      let step = scrubber.next()
      pages += step.pages
      damage += step.damage
      if step.endsPass { return (pages, damage) }
    }
  }

  private func fill(_ database: Database, _ random: inout SeededGenerator, entries: Int, large: Int) throws {
    try database.write { batch in
      _ = try batch.openTree("empty")
      for i in 0..<entries {
        let tree = try batch.openTree(i % 4 == 0 ? "large" : i % 4 == 1 ? "few" : "many")
        let key = Array((i % 4 == 1 ? "k\(random.below(20))" : "key\(random.below(4 * entries))").utf8)
        let length = i % 4 == 0 ? random.below(large) : random.below(80)
        try batch.put(tree, key, [UInt8](repeating: UInt8(random.below(256)), count: length))
      }
    }
    try database.checkpoint()
  }

  @Test(arguments: seeds(4)) func soundFileIsSound(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "sound", options: options(pageSize: seed % 2 == 0 ? 4096 : 512))
    defer { database.close() }
    let scrubber = try Scrubber(database)
    scrubber.groupsMax = 2
    // Both meta pages, and a bitmap page of each.
    let empty = pass(scrubber)
    #expect(empty == (4, []) || empty.pages > 4 && database.pageSize == 512 && empty.damage == [])
    try fill(database, &random, entries: 4000, large: 2000)
    for _ in 0..<3 {
      let (pages, damage) = pass(scrubber)
      #expect(damage == [], "seed \(seed)")
      // Each page at least once, and a few branches and the meta pages again for each step.
      let groupBytes = database.pageSize * FreeSpace.groupPages(pageSize: database.pageSize)
      let groups = store.size / UInt64(groupBytes) + 1
      let used = database.statistics.liveBytes / UInt64(database.pageSize) + 2 * groups + 2
      #expect(pages >= used && pages < used * 3 / 2, "\(pages) of \(used)")
    }
  }

  /// One damaged byte in each page in use, one after the other.
  @Test(arguments: seeds(2)) func everyPageIsLookedAt(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "damaged", options: options(pageSize: 512))
    defer { database.close() }
    try fill(database, &random, entries: 300, large: 1500)
    let scrubber = try Scrubber(database)
    var inRuns: [Int: Int] = [:]
    for page in 0..<Int(store.size / 512) {
      let header = PageHeader(store.base + page * 512)
      if header.type == PageType.overflow.rawValue, header.id == PageID(page), header.isOverflowIntact {
        for i in 0..<header.upper { inRuns[page + i] = page }
      }
    }
    let live = database.withWriter { writer in (0..<writer.free.pages).filter { writer.free.live.contains($0) } }
    #expect(live.count > 100)
    for page in live {
      // The last page of a run has bytes that belong to nothing.
      let at = page * 512 + (inRuns[page] != nil && inRuns[page] != page ? 0 : random.below(400))
      let byte = (store.base + at).byte(0)
      store.damage([byte ^ UInt8(1 + random.below(255))], at: at)
      let found = Set(pass(scrubber).damage.map(\.page))
      // A byte behind the value's end is no damage: short values end within their first page.
      let isSlack = inRuns[page] == page && found.isEmpty
      if !isSlack { #expect(found == [UInt32(inRuns[page] ?? page)], "seed \(seed) page \(page) byte \(at % 512)") }
      if isSlack { #expect(try database.check().isClean) }
      store.damage([byte], at: at)
    }
    #expect(pass(scrubber).damage == [])
  }

  /// What no tree reaches: both meta pages and both areas' bitmap pages, a flipped bit in each, one after the other. Of
  /// the checkpoint that is not the newest nothing else looks at them: the check is content.
  @Test(arguments: [512, 4096, 65536]) func metaAndBitmapPagesAreLookedAt(pageSize: Int) throws {
    var random = SeededGenerator(seed: UInt64(pageSize))
    let store = SimulatedPageStore(capacity: 32 << 20)
    let database = try Database(store: store, path: "care", options: options(pageSize: pageSize))
    defer { database.close() }
    try fill(database, &random, entries: 600, large: pageSize == 512 ? 120_000 : 1500)
    try fill(database, &random, entries: 20, large: 100)
    let scrubber = try Scrubber(database)
    scrubber.groupsMax = 3
    let stride = FreeSpace.metaStride(pageSize: pageSize)
    let groups = (Int(store.size) / pageSize - 1) / FreeSpace.groupPages(pageSize: pageSize) + 1
    #expect(groups > 3 || pageSize > 512)
    var victims = [0, 1].map { (page: $0 * stride / pageSize, bytes: metaSize, place: "meta") }
    for group in 0..<groups {
      for area in [0, 1] {
        let page = FreeSpace.bitmapPage(group: group, area: area, pageSize: pageSize)
        victims.append((page, pageSize, "bitmap"))
      }
    }
    for victim in victims {
      for _ in 0..<8 {
        let at = victim.page * pageSize + random.below(victim.bytes)
        let byte = (store.base + at).byte(0)
        store.damage([byte ^ UInt8(1 << random.below(8))], at: at)
        #expect(pass(scrubber).damage.allSatisfy { $0.page == victim.page && $0.place == victim.place })
        #expect(!pass(scrubber).damage.isEmpty, "\(victim.place) page \(victim.page), byte \(at % pageSize)")
        #expect(try database.check().isClean)
        store.damage([byte], at: at)
      }
    }
    #expect(pass(scrubber).damage == [])
  }

  /// A whole meta page, but not the one that was written last.
  @Test func lostWriteOfAMetaPage() throws {
    var random = SeededGenerator(seed: 5)
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "lost", options: options(pageSize: 4096))
    defer { database.close() }
    let scrubber = try Scrubber(database)
    let old = [UInt8](UnsafeRawBufferPointer(start: store.base, count: metaSize))
    for _ in 0..<2 { try fill(database, &random, entries: 20, large: 100) }
    #expect(pass(scrubber).damage == [])
    store.damage(old, at: 0)
    let damage = pass(scrubber).damage
    #expect(damage == [Scrubber.Damage(page: 0, reason: .stale, place: "meta", error: nil)])
  }

  /// Pages are freed, reused and rewritten as fast as a writer can, and checkpoints go on: no false alarm.
  @Test(arguments: seeds(2)) func besideAWriter(seed: UInt64) throws {
    let directory = try TemporaryDirectory()
    let database = try Database.open(directory.file("db"), options(pageSize: seed % 2 == 0 ? 4096 : 512))
    let isOver = Atomic<Bool>(false)
    let batches = Atomic<Int>(0)
    let thread = Thread {
      var random = SeededGenerator(seed: seed)
      while !isOver.load(ordering: .relaxed) {
        try? fill(database, &random, entries: 100, large: 6000)
        try? database.write { batch in
          let tree = try batch.openTree("many")
          for _ in 0..<300 { _ = try batch.delete(tree, Array("key\(random.below(400))".utf8)) }
        }
        batches.add(1, ordering: .relaxed)
      }
    }
    thread.start()
    let scrubber = try Scrubber(database)
    let deadline = Date().addingTimeInterval(Double(setting("NEEDLETAIL_SECONDS") ?? 4))
    var passes = 0
    while Date() < deadline {
      let (_, damage) = pass(scrubber)
      #expect(damage == [], "seed \(seed)")
      if !damage.isEmpty { break }
      passes += 1
    }
    isOver.store(true, ordering: .relaxed)
    while !thread.isFinished { usleep(1000) }
    #expect(passes > 3 && batches.load(ordering: .relaxed) > 5, "\(passes) passes")
    // The same file with damage behind the engine's back: seen on disk although the page cache has been read before.
    let page = try database.withSnapshot { Int($0.snapshot.pointee.roots[1].page) }
    let file = open(directory.file("db"), O_RDWR)
    var byte: UInt8 = 0
    let at = off_t(page * database.pageSize + 100)
    pread(file, &byte, 1, at)
    byte ^= 0x40
    pwrite(file, &byte, 1, at)
    close(file)
    #expect(pass(scrubber).damage.map(\.page) == [UInt32(page)])
    database.close()
  }

  /// Readers that stay behind are reported with what they hold, others are not.
  @Test func readersHoldingBack() throws {
    var random = SeededGenerator(seed: 1)
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "readers", options: options(pageSize: 512))
    defer { database.close() }
    try fill(database, &random, entries: 400, large: 100)
    let old = try database.makeReader()
    let new = try database.makeReader()
    let transaction = old.pin().transaction
    _ = new.pin()
    #expect(database.readersHoldingBack == [])
    try fill(database, &random, entries: 400, large: 100)
    new.unpin()
    _ = new.pin()
    let reports = database.readersHoldingBack
    #expect(reports.map(\.transaction) == [transaction])
    #expect(reports[0].heldBytes > 10_000)
    #expect(reports[0].heldBytes <= database.statistics.pendingBytes)
    old.unpin()
    #expect(database.readersHoldingBack == [])
    new.unpin()
    old.free()
    new.free()
  }
}
