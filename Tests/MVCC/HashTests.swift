// Hashes: what they cover, what they must not depend on, and what they refuse. The model test compares them with a naive
// one.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

extension Fixture {
  func hash(_ revision: Int64 = 0) throws -> UInt32 {
    let view = reader.pin()
    defer { reader.unpin() }
    return try #require(try store.hashKV(view, revision: revision)).hash
  }

  func hashAll() throws -> UInt32 {
    let view = reader.pin()
    defer { reader.unpin() }
    return try #require(try store.hashAll(view)).hash
  }
}

@Suite struct HashTests {
  private func fill(_ fixture: Fixture) throws {
    _ = try fixture.grant(5, ttl: 10)
    for i in 0..<60 {
      _ = try fixture.put([UInt8(i % 7)], Bytes(repeating: UInt8(i), count: i * 40), lease: i % 5 == 0 ? 5 : 0)
      if i % 9 == 8 { _ = try fixture.delete([UInt8(i % 4)], [UInt8(i % 4 + 2)]) }
    }
  }

  @Test func refusals() throws {
    let fixture = try Fixture()
    try fill(fixture)
    _ = try fixture.compact(20)
    #expect(throws: MVCCError.compacted) { _ = try fixture.hash(19) }
    #expect(throws: MVCCError.futureRevision) { _ = try fixture.hash(1000) }
    _ = try fixture.hash(20)
    #expect(try fixture.hash() == fixture.hash(-3))
    let view = fixture.reader.pin()
    defer { fixture.reader.unpin() }
    let found = try #require(try fixture.store.hashKV(view, revision: 33))
    #expect(found.revision == 33 && found.compactedRevision == 20 && found.currentRevision > 60)
    // A hash that nobody waits for any more ends.
    for i in 0..<5000 { _ = try fixture.put([9], [UInt8(truncatingIfNeeded: i)]) }
    let later = try fixture.database.makeReader()
    defer { later.free() }
    let newer = later.pin()
    defer { later.unpin() }
    #expect(try fixture.store.hashKV(newer, revision: 0, goesOn: { false }) == nil)
  }

  /// The same commands, compacted to the same revision: equal wherever removal stands, before and after a restart.
  @Test func hashesDoNotDependOnThePaceOfRemoval() throws {
    let (slow, fast) = (try Fixture(), try Fixture())
    for fixture in [slow, fast] { try fill(fixture) }
    #expect(try slow.hash() == fast.hash() && slow.hash(30) == fast.hash(30))
    let uncompacted = try slow.hash()
    for revision in [Int64(13), 40] {
      for fixture in [slow, fast] { _ = try fixture.compact(revision) }
      while try fast.removeCompacted(rows: 3) {}
      if revision == 40 { _ = try slow.removeCompacted(rows: 5) }
      for fixture in [slow, fast] {
        _ = try fixture.delete([1])
        _ = try fixture.put([1], [1])
      }
      try fast.reopen()
      for revision in revision...61 { #expect(try slow.hash(revision) == fast.hash(revision), "at \(revision)") }
    }
    // A key deleted before the compaction and put after it: its grave is there still, or not.
    for fixture in [slow, fast] { _ = try fixture.compact(try fixture.delete([2]).revision) }
    while try fast.removeCompacted(rows: 3) {}
    #expect(try slow.entries(slow.store.graveyard) > fast.entries(fast.store.graveyard))
    for fixture in [slow, fast] { _ = try fixture.put([2], [1]) }
    #expect(try slow.hash() == fast.hash())
    #expect(try slow.entries(slow.store.log) > fast.entries(fast.store.log) + 10)
    #expect(try slow.hash() == fast.hash() && slow.hash() != uncompacted)
  }

  /// Each field of a pair, each step of history, and nothing else.
  @Test func hashesCoverWhatCanBeRead() throws {
    func hash(_ change: (Fixture) throws -> Void) throws -> UInt32 {
      let fixture = try Fixture()
      _ = try fixture.grant(5, ttl: 10)
      try change(fixture)
      return try fixture.hash()
    }
    let histories: [(Fixture) throws -> Void] = [
      { _ in },
      { _ = try $0.put([1], [1]) },
      { _ = try $0.put([2], [1]) },
      { _ = try $0.put([1], [2]) },
      { _ = try $0.put([1], []) },
      { _ = try $0.put([1], [1], lease: 5) },
      {
        _ = try $0.put([1], [1])
        _ = try $0.put([1], [1])
      },
      {
        _ = try $0.put([1], [2])
        _ = try $0.put([1], [1])
      },
      {
        _ = try $0.put([1], [1])
        _ = try $0.delete([1])
      },
      {
        _ = try $0.put([1], [1])
        _ = try $0.delete([1])
        _ = try $0.put([1], [1])
      },
      { _ = try $0.txn(TxnSpec(success: [.put(PutSpec(key: [1], value: [1])), .put(PutSpec(key: [2], value: [1]))])) },
      { _ = try $0.txn(TxnSpec(success: [.put(PutSpec(key: [2], value: [1])), .put(PutSpec(key: [1], value: [1]))])) },
    ]
    let hashes = try histories.map(hash)
    #expect(Set(hashes).count == histories.count)
    #expect(hashes[0] == 0)
    #expect(try hash { _ = try $0.raise(Alarm(.noSpace, member: 1)) } == 0, "alarms are no pairs")
  }

  @Test func theHashOfEverythingCoversLeasesAndAlarms() throws {
    func hash(_ change: (Fixture) throws -> Void) throws -> UInt32 {
      let fixture = try Fixture()
      try change(fixture)
      let hash = try fixture.hashAll()
      try fixture.reopen()
      #expect(try fixture.hashAll() == hash)
      return hash
    }
    let hashes = [
      try hash { _ in }, try hash { _ = try $0.grant(5, ttl: 10) }, try hash { _ = try $0.grant(6, ttl: 10) },
      try hash { _ = try $0.grant(5, ttl: 11) }, try hash { _ = try $0.raise(Alarm(.noSpace, member: 1)) },
      try hash { _ = try $0.raise(Alarm(.corrupt, member: 1)) }, try hash { _ = try $0.put([1], [1]) },
      try hash { _ = try $0.compact(0) },
    ]
    #expect(Set(hashes).count == hashes.count)
  }
}
