// What transactions promise, one rule at a time, and how they are refused.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

@Suite struct TransactionTests {
  private static func key(_ text: String) -> Bytes { Bytes(text.utf8) }

  private func put(_ key: String, _ value: String = "") -> OperationSpec {
    .put(PutSpec(key: TransactionTests.key(key), value: Bytes(value.utf8)))
  }

  private func delete(_ key: String, _ end: String = "") -> OperationSpec {
    .delete(DeleteSpec(key: TransactionTests.key(key), end: TransactionTests.key(end)))
  }

  private func get(_ key: String, revision: Int64 = 0) -> OperationSpec {
    .range(RangeSpec(key: TransactionTests.key(key), revision: revision))
  }

  private func expect(
    _ spec: TxnSpec, _ error: MVCCError, _ code: UInt32, _ text: String, in fixture: Fixture,
    location: SourceLocation = #_sourceLocation
  ) {
    #expect(throws: error, sourceLocation: location) { _ = try fixture.txn(spec) }
    #expect(error.code == code && error.message == text, sourceLocation: location)
  }

  @Test func aTransactionIsOneRevisionInOrder() throws {
    let fixture = try Fixture()
    let result = try fixture.txn(
      TxnSpec(success: [put("a", "1"), get("a"), put("b", "2"), delete("d"), .txn(TxnSpec(success: [put("c", "3")]))]))
    #expect(result.revision == 2 && result.succeeded)
    guard case .range(let seen) = result.responses[1] else { throw WireError() }
    #expect(seen.kvs.first?.value == [49] && seen.revision == 2, "an operation sees those before it")
    guard case .delete(let nothing) = result.responses[3] else { throw WireError() }
    #expect(nothing.deleted == 0 && nothing.revision == 2, "the revision has begun")
    for key in ["a", "b", "c"] { #expect(try fixture.get(Bytes(key.utf8))?.mod == 2) }
    // A delete that finds nothing before any change tells the revision as it was, and nothing passes.
    let idle = try fixture.txn(TxnSpec(success: [delete("x"), get("a")]))
    #expect(idle.revision == 2 && idle.responses.first == .delete(WriteAnswer(revision: 2)))
  }

  @Test func aKeyMayBePutAndThenDeletedByALaterSibling() throws {
    let fixture = try Fixture()
    _ = try fixture.txn(
      TxnSpec(success: [.txn(TxnSpec(success: [put("a", "1")])), .txn(TxnSpec(success: [delete("a")]))]))
    #expect(try fixture.get([97]) == nil)
    #expect(try fixture.get([97], revision: 2) == nil)
    _ = try fixture.put([97], [2])
    #expect(try fixture.get([97])?.version == 1)
    #expect(try fixture.get([97], revision: 2) == nil)
    // A delete without an end goes with any put.
    let result = try fixture.txn(
      TxnSpec(success: [put("b"), .delete(DeleteSpec(key: [97], end: [0], prevKV: true))]))
    guard case .delete(let deleted) = result.responses[1] else { throw WireError() }
    #expect(deleted.deleted == 2 && deleted.previous.map(\.key) == [[97], [98]])
  }

  @Test func nestedConditionsSeeTheStoreBeforeTheTransaction() throws {
    let fixture = try Fixture()
    let nested = TxnSpec(
      compares: [CompareSpec(key: [97], relation: 1)], success: [put("seen")], failure: [put("unseen")])
    let result = try fixture.txn(TxnSpec(success: [put("a"), .txn(nested)]))
    guard case .txn(let inner) = result.responses[1] else { throw WireError() }
    #expect(!inner.succeeded)
    #expect(try fixture.get(Bytes("unseen".utf8)) != nil)
  }

  @Test func refusalsComeBeforeAnyChange() throws {
    let fixture = try Fixture()
    _ = try fixture.put([107], [1])
    let empty = "etcdserver: key is not provided"
    let double = "etcdserver: duplicate key given in txn request"
    expect(TxnSpec(compares: [CompareSpec(key: [])]), .keyNotProvided, 3, empty, in: fixture)
    expect(TxnSpec(success: [put("")]), .keyNotProvided, 3, empty, in: fixture)
    expect(TxnSpec(failure: [get("")]), .keyNotProvided, 3, empty, in: fixture)
    expect(TxnSpec(failure: [.txn(TxnSpec(success: [delete("")]))]), .keyNotProvided, 3, empty, in: fixture)
    expect(TxnSpec(success: [put("a"), put("a")]), .duplicateKey, 3, double, in: fixture)
    expect(TxnSpec(success: [put("b"), delete("a", "c")]), .duplicateKey, 3, double, in: fixture)
    expect(TxnSpec(failure: [delete("b"), put("b")]), .duplicateKey, 3, double, in: fixture)
    let deletes = TxnSpec(success: [delete("a")])
    expect(TxnSpec(success: [.txn(deletes), put("a")]), .duplicateKey, 3, double, in: fixture)
    expect(
      TxnSpec(success: [.txn(deletes), .txn(TxnSpec(success: [put("a")]))]), .duplicateKey, 3, double, in: fixture)
    expect(TxnSpec(success: [.none]), .keyNotFound, 3, "etcdserver: key not found", in: fixture)
    var keeps = PutSpec(key: [120])
    keeps.ignoreValue = true
    expect(TxnSpec(success: [put("k"), .put(keeps)]), .keyNotFound, 3, "etcdserver: key not found", in: fixture)
    keeps.value = [1]
    expect(TxnSpec(success: [.put(keeps)]), .valueProvided, 3, "etcdserver: value is provided", in: fixture)
    var leased = PutSpec(key: [120], lease: 4)
    expect(
      TxnSpec(success: [put("k"), .put(leased)]), .leaseNotFound, 5, "etcdserver: requested lease not found",
      in: fixture)
    leased.ignoreLease = true
    expect(TxnSpec(success: [.put(leased)]), .leaseProvided, 3, "etcdserver: lease is provided", in: fixture)
    expect(
      TxnSpec(success: [put("k"), get("k", revision: 3)]), .futureRevision, 11,
      "etcdserver: mvcc: required revision is a future revision", in: fixture)
    // The same where nothing is changed, and the transaction runs on a snapshot.
    expect(
      TxnSpec(success: [get("k", revision: 3)]), .futureRevision, 11,
      "etcdserver: mvcc: required revision is a future revision", in: fixture)
    #expect(try fixture.get([107])?.mod == 2)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0])).revision == 2)
  }

  @Test func theBudgetOfOperationsIsShared() throws {
    let fixture = try Fixture()
    let text = "etcdserver: too many operations in txn request"
    func puts(_ count: Int) -> [OperationSpec] { (0..<count).map { put("k\($0)") } }
    #expect(try fixture.txn(TxnSpec(success: puts(128))).responses.count == 128)
    expect(TxnSpec(success: puts(129)), .tooManyOperations, 3, text, in: fixture)
    expect(TxnSpec(failure: puts(129)), .tooManyOperations, 3, text, in: fixture)
    let comparisons = [CompareSpec](repeating: CompareSpec(key: [1]), count: 129)
    expect(TxnSpec(compares: comparisons), .tooManyOperations, 3, text, in: fixture)
    #expect(try fixture.txn(TxnSpec(success: [.txn(TxnSpec(success: puts(127)))])).revision == 3)
    expect(TxnSpec(success: [.txn(TxnSpec(success: puts(128)))]), .tooManyOperations, 3, text, in: fixture)
  }

  /// Both branches of a nested transaction may put a key; what a later operation shall keep of a key that is gone by
  /// then is empty.
  @Test func branchesExcludeEachOther() throws {
    let fixture = try Fixture()
    #expect(try fixture.txn(TxnSpec(success: [.txn(TxnSpec(success: [put("a")], failure: [put("a")]))])).revision == 2)
    _ = try fixture.put([97], [9])
    var keeps = PutSpec(key: [97])
    keeps.ignoreValue = true
    _ = try fixture.txn(TxnSpec(success: [.delete(DeleteSpec(key: [97], end: [0])), .put(keeps)]))
    let kv = try #require(try fixture.get([97]))
    #expect(kv.value == [] && kv.version == 1 && kv.create == 4)
  }

  @Test func anAnswerOverTheBoundIsAnErrorAndTheChangesStand() throws {
    let fixture = try Fixture()
    for i in 0..<20 { _ = try fixture.put([UInt8(i + 1)], Bytes(repeating: 0, count: 1000)) }
    let store = try Store.open(fixture.database, identity: Fixture.identity, answerLimit: 10_000)
    let writer = StoreWriter(store)
    let arena = Arena()
    let transaction = arena.transaction(
      TxnSpec(success: [put("k"), .txn(TxnSpec(success: [.range(RangeSpec(key: [0], end: [0]))])), put("l")]))
    var out = OutBuffer()
    defer { out.free() }
    try fixture.database.write { batch in
      try writer.begin(batch)
      #expect(throws: MVCCError.answerTooLarge(limit: 10_000)) {
        try writer.transaction(batch, transaction, term: 7, into: &out)
      }
      writer.finish(batch, appliedIndex: 99, appliedTerm: 7)
    }
    withExtendedLifetime(arena) { #expect(out.count == 0) }
    #expect(try fixture.get(Bytes("k".utf8))?.mod == 22 && fixture.get(Bytes("l".utf8))?.mod == 22)
  }
}
