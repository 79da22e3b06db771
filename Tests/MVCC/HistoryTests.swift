// Reading the past of keys with long histories, and across restarts.
import NeedletailBackend
import NeedletailMVCC
import Testing

@Suite struct HistoryTests {
  private func pastGet(_ fixture: Fixture, _ key: Bytes, _ revision: UInt64) throws -> (mod: UInt64?, hops: Int) {
    let view = fixture.reader.pin()
    defer { fixture.reader.unpin() }
    var hops = 0
    let fields = try withBytes(key, []) { (key, _) throws(MVCCError) in
      try fixture.store.pastGet(view, key: key, revision: revision, hops: &hops)
    }
    return (fields?.modRevision, hops)
  }

  /// 60,000 versions of one key: any of them within 23 log rows (20-mvcc.md's bound for links of base 4).
  @Test func deepHistoryIsReadInFewHops() throws {
    let fixture = try Fixture()
    let key = Bytes("counter".utf8)
    let versions = 60_000
    for first in stride(from: 0, to: versions, by: 1000) {
      _ = try fixture.commit(
        (first..<(first + 1000)).map { Fixture.put(key, Bytes("\($0)".utf8), 0, false, false, false) })
    }
    var most = 0
    var generator = SeededGenerator(TestSettings.seed("deep history"))
    var revisions = (0..<3000).map { _ in UInt64.random(in: 2...60_001, using: &generator) }
    revisions += [2, 3, 5, 6, 60_000, 60_001] + (1...15).map { UInt64(1 << $0) }
    for revision in revisions {
      let (mod, hops) = try pastGet(fixture, key, revision)
      #expect(mod == revision)
      most = max(most, hops)
      if hops > 23 { Issue.record("\(hops) hops to revision \(revision)") }
    }
    #expect(most >= 8, "links that never need a hop would mean that the counter does not count")
    #expect(try pastGet(fixture, key, 1).mod == nil)
    #expect(try fixture.get(key, revision: 777)?.value == Bytes("775".utf8))
  }

  /// A lock key: created and deleted all day. Tombstones carry links too, or its past would be O(n).
  @Test func deletedAndRecreatedKeysKeepTheirLinks() throws {
    let fixture = try Fixture()
    let key = Bytes("lock".utf8)
    let rounds = 5_000
    for first in stride(from: 0, to: rounds, by: 500) {
      _ = try fixture.commit(
        (first..<(first + 500)).flatMap { _ in
          [Fixture.put(key, [1], 0, false, false, false), Fixture.delete(key, [], false)]
        })
    }
    // Revision 2 creates, 3 deletes, 4 creates, …
    for revision in UInt64(2)...UInt64(2 * rounds + 1) where revision % 7 == 0 || revision < 40 {
      let (mod, hops) = try pastGet(fixture, key, revision)
      #expect(mod == (revision % 2 == 0 ? revision : nil))
      #expect(hops <= 21)
    }
    #expect(try fixture.get(key) == nil)
    _ = try fixture.put(key, [2])
    let kv = try #require(try fixture.get(key))
    #expect(kv.version == 1 && kv.create == kv.mod && kv.create == Int64(2 * rounds + 2))
  }

  @Test func deletingARangeKeepsEveryKeyReadableBefore() throws {
    let fixture = try Fixture()
    let keys = (0..<3000).map { Bytes("k\(10_000 + $0)".utf8) }
    _ = try fixture.commit(keys.map { Fixture.put($0, $0 + Bytes(repeating: 1, count: 400), 0, false, false, false) })
    let before = Int64(keys.count + 1)
    // More than one round of victims.
    let answer = try fixture.delete(Bytes("k".utf8), Bytes("l".utf8), prevKV: true)
    #expect(answer.deleted == 3000 && answer.revision == before + 1)
    #expect(answer.previous.map(\.key) == keys)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0])).kvs.isEmpty)
    let past = try fixture.range(RangeSpec(key: [0], end: [0], revision: before))
    #expect(past.kvs.map(\.key) == keys && past.count == 3000 && past.revision == before + 1)
    let middle = try fixture.range(RangeSpec(key: [0], end: [0], limit: 5, revision: before - 1000))
    #expect(middle.kvs.count == 5 && middle.more && middle.count == 2000)
    #expect(try fixture.delete(Bytes("k".utf8), Bytes("l".utf8)).revision == before + 1)
  }

  /// Everything, every revision, and the words: the same after closing and opening.
  @Test func restartChangesNothing() throws {
    let fixture = try Fixture()
    var generator = SeededGenerator(TestSettings.seed("restart"))
    for _ in 0..<600 {
      let key = Bytes("key-\(Int.random(in: 0..<40, using: &generator))".utf8)
      if Int.random(in: 0..<4, using: &generator) == 0 {
        _ = try fixture.delete(key)
      } else {
        _ = try fixture.put(key, Bytes(repeating: 3, count: Int.random(in: 0..<5000, using: &generator)))
      }
    }
    let latest = try fixture.range(RangeSpec(key: [0], end: [0])).revision
    let before = try (1...latest).map { try fixture.range(RangeSpec(key: [0], end: [0], revision: $0)) }
    try fixture.reopen()
    let after = try (1...latest).map { try fixture.range(RangeSpec(key: [0], end: [0], revision: $0)) }
    #expect(before == after)
    let view = fixture.reader.pin()
    #expect(view.word(StoreWord.appliedIndex) == fixture.index && view.word(StoreWord.appliedTerm) == 7)
    #expect(view.word(StoreWord.revision) == UInt64(latest))
    fixture.reader.unpin()
  }
}
