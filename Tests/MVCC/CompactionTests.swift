// Compaction: what it refuses, what it removes and what it must leave, and that removal may stop anywhere.
import NeedletailBackend
import NeedletailMVCC
import Testing

@Suite struct CompactionTests {
  @Test func refusals() throws {
    let fixture = try Fixture()
    for i in 0..<9 { _ = try fixture.put([1], [UInt8(i)]) }
    #expect(throws: MVCCError.futureRevision) { _ = try fixture.compact(11) }
    // A store that was never compacted takes 0, once, and over a restart; transactions then know of it.
    let before = TxnSpec(success: [.range(RangeSpec(key: [1], revision: -1))])
    #expect(throws: MVCCError.compacted) { _ = try fixture.compact(-1) }
    _ = try fixture.txn(before)
    #expect(try fixture.compact(0) == 10)
    #expect(throws: MVCCError.compacted) { _ = try fixture.compact(0) }
    #expect(throws: MVCCError.compacted) { _ = try fixture.txn(before) }
    try fixture.reopen()
    #expect(throws: MVCCError.compacted) { _ = try fixture.compact(0) }
    #expect(try fixture.get([1], revision: 1) == nil && fixture.get([1], revision: 2) != nil)
    #expect(try fixture.compact(5) == 10)
    for revision in [Int64.min, -1, 0, 4, 5] {
      #expect(throws: MVCCError.compacted) { _ = try fixture.compact(revision) }
    }
    #expect(MVCCError.compacted.code == 11 && MVCCError.futureRevision.code == 11)
    #expect(try fixture.compact(10) == 10)
    #expect(throws: MVCCError.compacted) { _ = try fixture.range(RangeSpec(key: [1], revision: 9)) }
    #expect(try fixture.get([1], revision: 10)?.value == [8])
    // Within a transaction too, for any revision that isn't there, negative ones included.
    for revision in [Int64(-3), 9] {
      let spec = TxnSpec(success: [.range(RangeSpec(key: [1], revision: revision))])
      #expect(throws: MVCCError.compacted) { _ = try fixture.txn(spec) }
    }
  }

  @Test func rowsBelowGoAndThoseAtTheRevisionStay() throws {
    let fixture = try Fixture()
    for i in 0..<20 { _ = try fixture.put([UInt8(i % 4)], [UInt8(i)]) }  // revisions 2…21
    _ = try fixture.compact(12)
    #expect(try fixture.entries(fixture.store.log) == 20, "a compaction itself removes nothing")
    var parts = 0
    while try fixture.removeCompacted(rows: 3) { parts += 1 }
    #expect(parts >= 4)
    #expect(try fixture.entries(fixture.store.log) == 10)
    for revision in Int64(12)...21 {
      #expect(try fixture.range(RangeSpec(key: [0], end: [0], revision: revision)).kvs.map(\.mod).max() == revision)
    }
  }

  /// A key deleted at or below the compaction leaves the graveyard; one deleted again since stays, whatever rows go.
  @Test func graveyardEntriesGoByTheirPresentRevision() throws {
    let fixture = try Fixture()
    _ = try fixture.put([1], [1])  // 2
    _ = try fixture.delete([1])  // 3
    _ = try fixture.put([1], [2])  // 4
    _ = try fixture.delete([1])  // 5
    _ = try fixture.put([2], [1])  // 6
    _ = try fixture.delete([2])  // 7
    _ = try fixture.put([3], [1])  // 8
    _ = try fixture.compact(4)
    while try fixture.removeCompacted(rows: 1) {}
    #expect(try fixture.entries(fixture.store.graveyard) == 2, "the deletion at 3 is not the key's last")
    #expect(try fixture.get([1], revision: 4)?.value == [2])
    #expect(try fixture.get([1], revision: 5) == nil)
    _ = try fixture.compact(7)
    while try fixture.removeCompacted(rows: 1) {}
    #expect(try fixture.entries(fixture.store.graveyard) == 0, "a deletion at the compacted revision counts")
    #expect(try fixture.get([2], revision: 7) == nil)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0], revision: 8)).kvs.map(\.key) == [[3]])
  }

  /// The part of a removal that a crash undoes is done again; nothing is done twice that must not be.
  @Test func removalGoesOnAfterAnInterruption() throws {
    var generator = SeededGenerator(TestSettings.seed("interrupted removal"))
    let fixture = try Fixture()
    // One transaction that deletes much at the very revision of the compaction.
    for i in 0..<300 { _ = try fixture.put([UInt8(i % 100), UInt8(i / 100)], [UInt8(i % 100)]) }
    let deleted = try fixture.delete([0], [60])
    #expect(deleted.deleted == 180)
    for i in 0..<50 { _ = try fixture.put([UInt8(i)], [1]) }
    _ = try fixture.compact(deleted.revision)
    var rounds = 0
    while try fixture.removeCompacted(rows: Int.random(in: 1...17, using: &generator)) {
      rounds += 1
      if rounds % 5 == 0, rounds < 60 { try fixture.reopen() }
      try #require(rounds < 2000)
    }
    #expect(try fixture.entries(fixture.store.graveyard) == 0)
    #expect(try fixture.entries(fixture.store.log) == 180 + 50)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0], revision: deleted.revision)).count == 120)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0])).count == 170)
  }

  /// A reader that was pinned before the removal reads what it could read.
  @Test func pinnedReadersKeepTheirHistory() throws {
    let fixture = try Fixture()
    for i in 0..<200 { _ = try fixture.put([7], [UInt8(i)]) }
    let reader = try fixture.database.makeReader()
    let view = reader.pin()
    defer {
      reader.unpin()
      reader.free()
    }
    _ = try fixture.compact(201)
    while try fixture.removeCompacted(rows: 10) {}
    #expect(try fixture.entries(fixture.store.log) == 1)
    var hops = 0
    let fields = try withBytes([7], []) { (key, _) throws(MVCCError) in
      try fixture.store.pastGet(view, key: key, revision: 20, hops: &hops)
    }
    #expect(fields?.modRevision == 20)
  }
}
