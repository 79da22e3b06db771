// Windows of changes: the corners that random commands seldom meet.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

@Suite struct EventTests {
  private func put(_ key: String, _ value: String) -> OperationSpec {
    .put(PutSpec(key: Bytes(key.utf8), value: Bytes(value.utf8)))
  }

  private func all(_ after: UInt64) -> WindowSpec {
    WindowSpec(after: after, key: [0], end: [0], withPrevious: true)
  }

  /// The pair before a change is the one before its revision, whatever the revision did to the key before.
  @Test func whatARevisionMadeIsNoPreviousPair() throws {
    let fixture = try Fixture()
    _ = try fixture.put(Bytes("a".utf8), Bytes("old".utf8))
    let delete = TxnSpec(success: [.delete(DeleteSpec(key: Bytes("a".utf8)))])
    _ = try fixture.txn(
      TxnSpec(success: [.txn(TxnSpec(success: [put("a", "new"), put("b", "made")])), .txn(delete)]))
    let read = try fixture.allChanges(all(2))
    #expect(read.map { $0.previous?.value } == [Bytes("old".utf8), nil, Bytes("old".utf8)])
    #expect(read.map(\.isDelete) == [false, false, true])
    #expect(try fixture.capturedChanges(after: 2, through: 3, withPrevious: true) == read)
    // A key that did not exist before has no previous pair, though the revision made one.
    let deleteC = TxnSpec(success: [.delete(DeleteSpec(key: Bytes("c".utf8)))])
    _ = try fixture.txn(TxnSpec(success: [.txn(TxnSpec(success: [put("c", "1")])), .txn(deleteC)]))
    let gone = try fixture.allChanges(all(3))
    #expect(gone.map { $0.previous == nil } == [true, true] && gone.map(\.isDelete) == [false, true])
    #expect(try fixture.capturedChanges(after: 3, through: 4, withPrevious: true) == gone)
  }

  /// A window's bounds are no reason to cut a revision, nor to stand still.
  @Test func windowsEndBetweenRevisions() throws {
    let fixture = try Fixture()
    _ = try fixture.txn(TxnSpec(success: (0..<50).map { put("k\($0)", "v") }))
    _ = try fixture.put([1], [1])
    var spec = all(1)
    spec.window.rowsMax = 1
    spec.window.changesMax = 1
    spec.window.bytesMax = 1
    let (events, reached) = try fixture.changes(spec)
    #expect(events.count == 50 && reached == 2)
    spec.after = reached
    #expect(try fixture.changes(spec).events.count == 1 && fixture.changes(spec).reached == 3)
    // Nothing wanted is no reason to end early.
    let nothing = WindowSpec(after: 1, key: [9], end: [])
    #expect(try fixture.changes(nothing).reached == 3)
  }

  @Test func compactedWindowsAreRefused() throws {
    let fixture = try Fixture()
    for i in 0..<6 { _ = try fixture.put([97], [UInt8(i)]) }
    _ = try fixture.compact(5)
    #expect(throws: MVCCError.compacted) { try fixture.changes(all(3)) }
    let (events, reached) = try fixture.changes(all(4))
    #expect(reached == 7 && events.map(\.kv.mod) == [5, 6, 7])
    #expect(events.map { $0.previous?.mod } == [nil, 5, 6])
    while try fixture.removeCompacted(rows: 1) {}
    #expect(try fixture.allChanges(all(4)) == events)
  }

  /// A capture beyond its bound keeps nothing, and the next one is whole again.
  @Test func anOverflownCaptureIsNoBlock() throws {
    let fixture = try Fixture()
    fixture.writer.capture?.free()
    fixture.writer.capture = EventCapture(bytesMax: 100)
    _ = try fixture.put([97], Bytes(repeating: 1, count: 200))
    _ = try fixture.put([97], [1])
    #expect(fixture.writer.capture?.isOverflown == true)
    let none = fixture.writer.capture?.take(after: 1, through: 3)
    #expect(none == nil)
    _ = try fixture.put([98], [2])
    #expect(try fixture.capturedChanges(after: 3, through: 4, withPrevious: false).map(\.kv.mod) == [4])
  }
}
