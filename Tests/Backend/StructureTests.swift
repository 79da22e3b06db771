// What the checker is for: every way in which a tree can be wrong though each page's checksum is right. Each damage is cut
// into a sound file, which must then be found unsound, for the right reason.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct StructureTests {
  private struct Damage {
    var name: String
    var reasons: [CorruptionReason]
    var cut: (Patient) throws -> Void
  }

  private static func branch(_ patient: Patient, _ level: Int, separators: Int = 1) throws -> Int {
    try #require(
      patient.find(.branch, level: level).first { BranchPage(patient.page($0)).count >= separators }
    )
  }

  private static func leaf(_ patient: Patient, entries: Int = 3) throws -> Int {
    try #require(patient.find(.leaf).first { LeafPage(patient.page($0)).count >= entries })
  }

  private static func overflowing(_ patient: Patient) throws -> [(leaf: Int, reference: Int)] {
    var found: [(Int, Int)] = []
    for id in patient.find(.leaf) {
      let leaf = LeafPage(patient.page(id))
      for i in 0..<leaf.count {
        let record = leaf.recordOffset(i, count: leaf.count)
        if leaf.isOverflow(record) { found.append((id, record + 4 + leaf.tailLength(record))) }
      }
    }
    try #require(found.count >= 2)
    return found
  }

  private static var damages: [Damage] {
    [
      Damage(name: "separator too small", reasons: [.fences, .prefix, .order]) { patient in
        let id = try branch(patient, 1, separators: 2)
        patient.edit(id) { $0.setU64(BranchPage.headsOffset(BranchPage($0).count) + 8, 0) }
      },
      Damage(name: "separator too large", reasons: [.fences, .prefix, .order]) { patient in
        let id = try branch(patient, 1)
        patient.edit(id) { $0.setU64(BranchPage.headsOffset(BranchPage($0).count), .max) }
      },
      Damage(name: "separators swapped", reasons: [.order]) { patient in
        let id = try branch(patient, 1, separators: 3)
        patient.edit(id) { page in
          let offset = BranchPage.headsOffset(BranchPage(page).count)
          let (a, b) = (UnsafeRawPointer(page).u64(offset), UnsafeRawPointer(page).u64(offset + 8))
          page.setU64(offset, b)
          page.setU64(offset + 8, a)
        }
      },
      Damage(name: "count one too high over a leaf", reasons: [.count]) { patient in
        let id = try branch(patient, 1)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).addLiveCount(0, 1) }
      },
      Damage(name: "count lost over a branch", reasons: [.count]) { patient in
        let id = try branch(patient, 2)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).addLiveCount(1, -1) }
      },
      Damage(name: "counts exchanged", reasons: [.count]) { patient in
        let id = try #require(
          patient.find(.branch, level: 1).first {
            let branch = BranchPage(patient.page($0))
            return branch.liveCount(0) != branch.liveCount(1)
          })
        patient.edit(id) { page in
          let editor = BranchEditor(page, pageSize: patient.pageSize)
          let (a, b) = (editor.view.liveCount(0), editor.view.liveCount(1))
          editor.setLiveCount(0, b)
          editor.setLiveCount(1, a)
        }
      },
      Damage(name: "prefix too short", reasons: [.prefix]) { patient in
        let id = try #require(
          patient.find(.leaf).first { LeafPage(patient.page($0)).prefixLength > 1 })
        patient.edit(id) { MutablePageHeader($0).setPrefixLength(LeafPage($0).prefixLength - 1) }
      },
      Damage(name: "prefix bytes changed", reasons: [.fences, .order]) { patient in
        let ids = patient.find(.leaf)
        let id = try #require(ids.dropFirst().first { LeafPage(patient.page($0)).prefixLength > 1 })
        patient.edit(id) { page in
          let offset = LeafPage.prefixOffset(count: LeafPage(page).count)
          page.storeBytes(
            of: UnsafeRawPointer(page).byte(offset) ^ 0x40, toByteOffset: offset, as: UInt8.self)
        }
      },
      Damage(name: "page shared by two parents", reasons: [.sharedPage]) { patient in
        let id = try branch(patient, 1)
        patient.edit(id) {
          BranchEditor($0, pageSize: patient.pageSize).setChild(0, BranchPage($0).child(1))
        }
      },
      Damage(name: "cycle", reasons: [.kind, .sharedPage]) { patient in
        let id = try branch(patient, 2)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).setChild(0, PageID(id)) }
      },
      Damage(name: "child beyond the file", reasons: [.pageOutOfFile]) { patient in
        let id = try branch(patient, 1)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).setChild(0, 1 << 30) }
      },
      Damage(name: "child is the meta page", reasons: [.pageOutOfFile]) { patient in
        let id = try branch(patient, 1)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).setChild(0, 0) }
      },
      Damage(name: "entries out of order", reasons: [.order, .fences]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { page in
          let (a, b) = (
            UnsafeRawPointer(page).u64(headerSize), UnsafeRawPointer(page).u64(headerSize + 16)
          )
          page.setU64(headerSize, b)
          page.setU64(headerSize + 16, a)
          let leaf = LeafPage(page)
          let (first, third) = (
            leaf.recordOffset(0, count: leaf.count), leaf.recordOffset(2, count: leaf.count)
          )
          page.setU16(LeafPage.slotOffset(0, count: leaf.count), third)
          page.setU16(LeafPage.slotOffset(2, count: leaf.count), first)
        }
      },
      Damage(name: "record counted twice", reasons: [.bounds, .order]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { page in
          let leaf = LeafPage(page)
          page.setU16(
            LeafPage.slotOffset(1, count: leaf.count), leaf.recordOffset(0, count: leaf.count))
        }
      },
      Damage(name: "entry dropped", reasons: [.count, .bounds]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { LeafEditor($0, pageSize: patient.pageSize).remove(at: 1) }
      },
      Damage(name: "key moved out of its fences", reasons: [.fences, .order]) { patient in
        let id = try #require(patient.find(.leaf).last { LeafPage(patient.page($0)).count >= 2 })
        patient.edit(id) { $0.setU64(headerSize + 8 * (LeafPage($0).count - 1), .max) }
      },
      Damage(name: "upper wrong", reasons: [.bounds]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { MutablePageHeader($0).setUpper(PageHeader($0).upper - 1) }
      },
      Damage(name: "garbage wrong", reasons: [.bounds]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { MutablePageHeader($0).setGarbage(PageHeader($0).garbage + 4) }
      },
      Damage(name: "page of another tree", reasons: [.kind]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { $0.storeBytes(of: 5, toByteOffset: 18, as: UInt8.self) }
      },
      Damage(name: "misdirected page", reasons: [.identity]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { MutablePageHeader($0).setID(PageID(id + 1)) }
      },
      Damage(name: "page from the future", reasons: [.transaction]) { patient in
        let id = try leaf(patient)
        patient.edit(id) { MutablePageHeader($0).setTransaction(1 << 60) }
      },
      Damage(name: "leaf where a branch belongs", reasons: [.kind]) { patient in
        let id = try branch(patient, 2)
        let leaf = try leaf(patient)
        patient.edit(id) { BranchEditor($0, pageSize: patient.pageSize).setChild(0, PageID(leaf)) }
      },
      Damage(name: "value's checksum", reasons: [.checksum]) { patient in
        let run = try overflowing(patient)[0]
        patient.edit(run.leaf) {
          $0.setU32(run.reference + 4, UnsafeRawPointer($0).u32(run.reference + 4) ^ 1)
        }
      },
      Damage(name: "value's length", reasons: [.checksum]) { patient in
        let run = try overflowing(patient)[0]
        patient.edit(run.leaf) {
          $0.setU64(run.reference + 8, UnsafeRawPointer($0).u64(run.reference + 8) - 1)
        }
      },
      Damage(name: "overflow run shared by two entries", reasons: [.sharedPage]) { patient in
        let runs = try overflowing(patient)
        let other = patient.page(runs[1].leaf).u32(runs[1].reference)
        patient.edit(runs[0].leaf) { $0.setU32(runs[0].reference, other) }
      },
      Damage(name: "used page marked free", reasons: [.freePage]) { patient in
        let id = try leaf(patient)
        for bitmap in patient.find(.bitmap).prefix(2) {
          patient.edit(bitmap) { page in
            page.setU64(
              headerSize + 8 * (id / 64),
              UnsafeRawPointer(page).u64(headerSize + 8 * (id / 64)) & ~(1 << UInt64(id % 64)))
          }
        }
      },
      Damage(name: "free page marked used", reasons: [.leakedPage]) { patient in
        let id = 3000
        for bitmap in patient.find(.bitmap).prefix(2) {
          patient.edit(bitmap) { page in
            page.setU64(
              headerSize + 8 * (id / 64),
              UnsafeRawPointer(page).u64(headerSize + 8 * (id / 64)) | 1 << UInt64(id % 64))
          }
        }
      },
      Damage(name: "tree's count in the meta page", reasons: [.count]) { patient in
        try editMetas(patient) { $0.trees[0].root.live += 1 }
      },
      Damage(name: "tree lost from the meta page", reasons: [.leakedPage]) { patient in
        try editMetas(patient) { $0.trees.removeAll() }
      },
      Damage(name: "root's level", reasons: [.kind]) { patient in
        try editMetas(patient) { $0.trees[0].root.level += 1 }
      },
    ]
  }

  private static func editMetas(_ patient: Patient, _ change: (inout Meta) -> Void) throws {
    for offset in [0, 4096] {
      guard var meta = try? Meta(decoding: patient.page(0) + offset, fileSize: patient.store.size),
        !meta.trees.isEmpty
      else { continue }
      change(&meta)
      var bytes = [UInt8](repeating: 0, count: metaSize)
      bytes.withUnsafeMutableBytes {
        $0.baseAddress.map { meta.encode(into: $0, pageSize: patient.pageSize) }
      }
      patient.store.damage(bytes, at: offset)
    }
  }

  @Test func checkerSeesEveryDamage() throws {
    let patient = try Patient(pageSize: 512)
    #expect(patient.find(.branch, level: 2).count > 0)
    for damage in Self.damages {
      let victim = patient.copy()
      try damage.cut(victim)
      let database = try victim.open()
      let found = Set(try database.check().problems.map { $0.reason })
      #expect(!found.isDisjoint(with: damage.reasons), "\(damage.name): found \(found)")
      database.close()
      var random = SeededGenerator(seed: 5)
      try victim.exercise(&random, edits: false)
    }
  }

  @Test func checkerSeesAWrongSample() throws {
    let patient = try Patient(pageSize: 4096, count: 3000)
    let victim = patient.copy()
    let id = try Self.branch(victim, 1, separators: 16)
    victim.edit(id) { $0.setU64(headerSize, UnsafeRawPointer($0).u64(headerSize) ^ 1) }
    let database = try victim.open()
    #expect(try database.check().problems.contains { $0.reason == .order })
    database.close()
  }
}
