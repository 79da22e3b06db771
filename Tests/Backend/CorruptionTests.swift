// Damaged pages. Reads give typed errors or answers, never a trap, a hang or a look outside the file; an edit never copies
// damage under a new checksum; and the checker names every kind of structural damage, also where checksums match.

import Glibc
import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct CorruptionTests {
  private static func kinds(_ patient: Patient) -> [(String, [Int])] {
    [
      ("leaf", patient.find(.leaf)), ("branch", patient.find(.branch, level: 1)),
      ("upper branch", patient.find(.branch, level: 2)), ("overflow", patient.find(.overflow)),
      ("bitmap", patient.find(.bitmap)),
      ("meta", patient.pageSize < 4096 ? [0, 1, 7, 8, 9, 15] : [0, 1]),
    ]
  }

  /// Damage as disks do it: no checksum matches.
  @Test(arguments: seeds(6)) func randomDamage(seed: UInt64) throws {
    try damage(seed: seed, seals: false)
  }

  /// Damage that comes with a matching checksum must not take the process down either.
  @Test(arguments: seeds(6)) func sealedDamage(seed: UInt64) throws {
    try damage(seed: seed, seals: true)
  }

  private func damage(seed: UInt64, seals: Bool) throws {
    var random = SeededGenerator(seed: seed)
    let pageSize = [512, 512, 1024, 4096, 16384, 65536][Int(seed % 6)]
    let patient = try Patient(pageSize: pageSize, count: min(3000, 400 * pageSize / 512))
    for (kind, pages) in Self.kinds(patient) where !pages.isEmpty {
      for _ in 0..<12 {
        let victim = patient.copy()
        let id = pages[random.below(pages.count)]
        let choice = random.below(5)
        victim.edit(id, seals: seals) { page in
          switch choice {
          case 0:  // a flipped bit
            page.storeBytes(
              of: victim.page(id).byte(0) ^ 1, toByteOffset: random.below(pageSize), as: UInt8.self)
          case 1:  // header fields
            page.setU16(16 + 2 * random.below(8), random.below(65536))
          case 2:  // a stretch of garbage
            let start = random.below(pageSize)
            for i in start..<min(pageSize, start + 64) {
              page.storeBytes(of: UInt8(random.below(256)), toByteOffset: i, as: UInt8.self)
            }
          case 3:  // the arrays, 16 bits at a time
            for _ in 0..<8 {
              let i = headerSize + 2 * random.below((pageSize - headerSize) / 2)
              page.setU16(
                i, [0, 1, 8, 31, 32, 33, 0x7FFF, 0x8000, 65535, pageSize - 1, pageSize - 4][random.below(11)])
            }
          default:  // everything behind the header
            for i in headerSize..<pageSize {
              page.storeBytes(of: UInt8(random.below(256)), toByteOffset: i, as: UInt8.self)
            }
          }
        }
        do { try victim.exercise(&random, edits: !seals) } catch {
          Issue.record("seed \(seed) \(kind) \(id) way \(choice): \(error)")
        }
      }
    }
  }

  /// Every byte of every page of every kind counts: the checker or the open sees one flipped bit anywhere.
  @Test func everyFlippedBitIsSeen() throws {
    let patient = try Patient(pageSize: 512)
    var random = SeededGenerator(seed: 3)
    for (kind, pages) in Self.kinds(patient) where kind != "meta" {
      for offset in 0..<512 {
        let victim = patient.copy()
        let database = try victim.open()
        let id = pages[random.below(pages.count)]
        let header = PageHeader(patient.page(id))
        // An overflow run's padding, a replaced page and the older bitmap area hold nothing.
        if kind == "bitmap" || kind == "overflow" && offset >= headerSize { continue }
        victim.edit(id, seals: false) { page in
          page.storeBytes(of: victim.page(id).byte(offset) ^ 0x10, toByteOffset: offset, as: UInt8.self)
        }
        let report = try database.check()
        if report.isClean { Issue.record("\(kind) \(id) of level \(header.level) byte \(offset)") }
        database.close()
      }
    }
  }

  /// An edit that meets a damaged page fails: copied, it would carry a checksum again. Where reads compare checksums, they
  /// are the first to find it.
  @Test(arguments: [true, false]) func editsDoNotLaunderDamage(verifiesReads: Bool) throws {
    let patient = try Patient(pageSize: 512)
    var refusals = 0
    for id in patient.find(.leaf) {
      let victim = patient.copy()
      let database = try victim.open(verifiesReads: verifiesReads)
      guard let tree = database.tree(named: "t") else { continue }
      let leaf = LeafPage(victim.page(id))
      guard leaf.count > 1 else { continue }
      var buffer = [UInt8](repeating: 0, count: 1024)
      let length = leaf.copyKey(0, to: &buffer)
      let key = Array(buffer[..<length])
      // The last byte of a page belongs to a record.
      victim.edit(id, seals: false) { page in
        page.storeBytes(of: victim.page(id).byte(511) ^ 1, toByteOffset: 511, as: UInt8.self)
      }
      for deletes in [true, false] {
        do {
          try database.write { batch in
            if deletes { _ = try batch.delete(tree, key) } else { try batch.put(tree, key, [1, 2, 3]) }
          }
          Issue.record("edited damaged leaf \(id)")
        } catch DatabaseError.corrupt {
          refusals += 1
        }
      }
      database.close()
    }
    #expect(refusals > 20)
  }

  /// A failed delete has deleted nothing, also when the damage is in a neighbour it wanted to merge with.
  @Test func failedEditsChangeNothing() throws {
    let patient = try Patient(pageSize: 512)
    var failures = 0
    for id in patient.find(.leaf) {
      let victim = patient.copy()
      let database = try victim.open()
      defer { database.close() }
      guard let tree = database.tree(named: "t") else { continue }
      victim.edit(id, seals: false) { $0.storeBytes(of: 0xFF, toByteOffset: 300, as: UInt8.self) }
      var present = victim.entries
      try database.write { batch in
        for key in victim.entries.keys.sorted(by: lexicographic) {
          do {
            if try batch.delete(tree, key) { present[key] = nil }
          } catch DatabaseError.corrupt {
            failures += 1
          }
        }
        #expect(batch.count(tree) == UInt64(present.count))
      }
    }
    #expect(failures > 10)
  }

  /// A key outside the tree's prefix changes both spines; damage on the second must show before the first is changed.
  @Test func failedPutOutsideThePrefix() throws {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "spine", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    let keys = (0..<200).map { KeyShape.sharedPrefix.key($0, keyMax: 104) }
    try database.write { batch in for key in keys { try batch.put(tree, key, [1, 2, 3]) } }
    let last = try #require(
      (8..<4096).last {
        let leaf = LeafPage(store.base + $0 * 512)
        return leaf.header.type == PageType.leaf.rawValue && leaf.header.id == PageID($0)
      })
    store.damage([0xFF], at: last * 512 + 511)
    try database.write { batch in
      #expect(throws: DatabaseError.corrupt(page: PageID(last), reason: .checksum)) { try batch.put(tree, [0], [1]) }
      #expect(try batch.value(tree, [0]) == nil)
      try batch.put(tree, keys[0], [4])
    }
    #expect(try database.check().problems.map { $0.reason } == [.checksum])
  }

  @Test func truncatedAndForeignFiles() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("db")
    let database = try Database.open(path)
    let tree = try database.write { try $0.openTree("t") }
    try database.write { try $0.put(tree, [1], [2]) }
    try database.checkpoint()
    #expect(throws: DatabaseError.inUse(path: path)) { try Database.open(path) }
    database.close()
    for size in [1 << 20, 8192, 4096, 4095, 100, 1] {
      #expect(truncate(path, off_t(size)) == 0)
      #expect(throws: DatabaseError.self) { try Database.open(path) }
    }
    for (name, contents) in [
      ("text", Array("hello, this is a letter".utf8)), ("noise", [UInt8](repeating: 0xA5, count: 9000)),
    ] {
      let foreign = directory.file(name)
      let descriptor = open(foreign, O_CREAT | O_RDWR, 0o600)
      #expect(write(descriptor, contents, contents.count) == contents.count)
      close(descriptor)
      #expect(throws: DatabaseError.notADatabase(path: foreign)) { try Database.open(foreign) }
      var status = stat()
      #expect(stat(foreign, &status) == 0 && Int(status.st_size) == contents.count, "a foreign file stays as it was")
    }
    #expect(throws: DatabaseError.self) { try Database.open(directory.file("missing/db")) }
  }

  /// The newest checkpoint's meta page is damaged after the fact; pages of the one before may have been used again.
  @Test(arguments: seeds(8)) func damagedNewestMeta(seed: UInt64) throws {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "rot", options: options(pageSize: 512))
    let workload = Workload(seed: seed, store: store, database: database, state: ModelState())
    var states: [ModelState] = [workload.durable]
    for _ in 0..<6 {
      for _ in 0..<4 { try workload.batch() }
      try workload.checkpoint()
      states.append(workload.durable)
    }
    for _ in 0..<4 { try workload.batch() }
    workload.finish()
    let metas = [0, 4096].map { try? Meta(decoding: store.base + $0, fileSize: store.size) }
    let newest = (metas[0]?.checkpoint ?? 0) > (metas[1]?.checkpoint ?? 0) ? 0 : 4096
    store.damage([0xFF, 0xFF], at: newest + 100)
    do {
      let again = try Database(store: store, path: "rot", options: options(pageSize: 512))
      try again.expectSound()
      let number = try again.withSnapshot { $0.word(0) }
      let state = try #require(states.first { $0.number == number })
      try again.compare(state)
    } catch is DatabaseError {
      // Refused: the older checkpoint is no longer whole.
    }
  }
}
