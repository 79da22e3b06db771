// Errors as etcd's clients know them: code and text.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

@Suite struct ErrorTests {
  private func expectError(
    _ code: UInt32, _ message: String, _ body: () throws -> Void, location: SourceLocation = #_sourceLocation
  ) {
    do {
      try body()
      Issue.record("no error; wanted \(message)", sourceLocation: location)
    } catch let error as MVCCError {
      #expect(error.code == code && error.message == message, sourceLocation: location)
    } catch {
      Issue.record("\(error) instead of \(message)", sourceLocation: location)
    }
  }

  @Test func refusedRequestsSayWhatEtcdSays() throws {
    let fixture = try Fixture()
    let key = Bytes("k".utf8)
    expectError(3, "etcdserver: key is not provided") { _ = try fixture.range(RangeSpec(key: [])) }
    expectError(3, "etcdserver: key is not provided") { _ = try fixture.range(RangeSpec(key: [], end: [0])) }
    expectError(3, "etcdserver: key is not provided") { _ = try fixture.put([], [1]) }
    expectError(3, "etcdserver: key is not provided") { _ = try fixture.delete([]) }
    expectError(3, "etcdserver: value is provided") { _ = try fixture.put(key, [1], ignoreValue: true) }
    expectError(3, "etcdserver: lease is provided") { _ = try fixture.put(key, [], lease: 1, ignoreLease: true) }
    expectError(3, "etcdserver: key not found") { _ = try fixture.put(key, [], ignoreValue: true) }
    expectError(3, "etcdserver: key not found") { _ = try fixture.put(key, [1], ignoreLease: true) }
    expectError(5, "etcdserver: requested lease not found") { _ = try fixture.put(key, [1], lease: 77) }
    expectError(11, "etcdserver: mvcc: required revision is a future revision") {
      _ = try fixture.range(RangeSpec(key: key, revision: 2))
    }
    expectError(3, "etcdserver: request is too large: the key is longer than \(fixture.store.keyLimit) bytes") {
      _ = try fixture.put(Bytes(repeating: 1, count: fixture.store.keyLimit + 1), [1])
    }
    #expect(MVCCError.requestTooLarge.message == "etcdserver: request is too large")
    #expect(MVCCError.requestTooLarge.code == 3)
    #expect(MVCCError.invalidSortOption.message == "etcdserver: invalid sort option")
    // None of these moved the revision.
    #expect(try fixture.range(RangeSpec(key: key)).revision == 1)
  }

  @Test func compactedRevisionsAreRefused() throws {
    let fixture = try Fixture()
    for i in 0..<9 { _ = try fixture.put([1], [UInt8(i)]) }
    try fixture.database.write { $0.setWord(StoreWord.compactedRevision, 5) }
    expectError(11, "etcdserver: mvcc: required revision has been compacted") {
      _ = try fixture.range(RangeSpec(key: [1], revision: 4))
    }
    // The compacted revision itself is readable, and later writes cut their links there.
    #expect(try fixture.get([1], revision: 5)?.value == [3])
    for i in 9..<30 { _ = try fixture.put([1], [UInt8(i)]) }
    for revision in Int64(5)...31 { #expect(try fixture.get([1], revision: revision)?.mod == revision) }
  }

  @Test func longKeysAreLookedForAndNotFound() throws {
    let fixture = try Fixture()
    _ = try fixture.put([1], [1])
    let long = Bytes(repeating: 0, count: fixture.store.keyLimit + 100)
    #expect(try fixture.get(long) == nil)
    #expect(try fixture.get(long, revision: 1) == nil)
    #expect(try fixture.range(RangeSpec(key: long, countOnly: true)).count == 0)
    #expect(try fixture.range(RangeSpec(key: long, end: [0])).kvs.map(\.key) == [[1]])
    #expect(try fixture.range(RangeSpec(key: long, end: [0], countOnly: true)).count == 1)
    #expect(try fixture.range(RangeSpec(key: [0], end: [2] + long)).kvs.count == 1)
    #expect(try fixture.range(RangeSpec(key: [0], end: [2] + long, countOnly: true)).count == 1)
    #expect(try fixture.delete(long).deleted == 0)
    #expect(try fixture.delete(long, long + [1]).deleted == 0)
  }

  @Test func storesOfAnotherIdentityAreRefused() throws {
    let fixture = try Fixture()
    #expect(throws: MVCCError.self) {
      _ = try Store.open(fixture.database, identity: StoreIdentity(clusterID: 1, memberID: 2))
    }
    try fixture.database.write { $0.setWord(StoreWord.format, 99) }
    #expect(throws: MVCCError.unknownFormat(99)) {
      _ = try Store.open(fixture.database, identity: Fixture.identity)
    }
  }

  @Test func answersOverTheBoundAreRefused() throws {
    let fixture = try Fixture()
    for i in 0..<20 { _ = try fixture.put([UInt8(i + 1)], Bytes(repeating: 0, count: 1000)) }
    let store = try Store.open(fixture.database, identity: Fixture.identity, answerLimit: 10_000)
    let view = fixture.reader.pin()
    defer { fixture.reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    out.append(byte: 9)
    for target in [RangeQuery.Target.key, .modRevision] {
      #expect(throws: MVCCError.answerTooLarge(limit: 10_000)) {
        try withBytes([0], [0]) { (key, end) throws(MVCCError) in
          var query = RangeQuery(key: key, rangeEnd: end)
          query.target = target
          try store.range(view, query, into: &out)
        }
      }
      #expect(out.count == 1)
    }
  }

  /// What sorting holds is bounded for all of a store's ranges together, and given back; with a limit little is held, however
  /// much there is to look at.
  @Test func sortingIsBounded() throws {
    let fixture = try Fixture()
    for i in 0..<3_000 { _ = try fixture.put(Bytes("key\(i)".utf8), [UInt8(i % 7)]) }
    let store = try Store.open(fixture.database, identity: Fixture.identity, sortLimit: 100_000)
    let view = fixture.reader.pin()
    defer { fixture.reader.unpin() }
    func sort(_ limit: Int64) throws(MVCCError) -> Int {
      var out = OutBuffer()
      defer { out.free() }
      try withBytes([0], [0]) { (key, end) throws(MVCCError) in
        var query = RangeQuery(key: key, rangeEnd: end)
        query.target = .modRevision
        query.order = .descend
        query.limit = limit
        try store.range(view, query, into: &out)
      }
      return out.count
    }
    #expect(throws: MVCCError.sortTooLarge(limit: 100_000)) { _ = try sort(0) }
    #expect(MVCCError.sortTooLarge(limit: 1).code == 8)
    for _ in 0..<10 { #expect(try sort(200) > 200 * 10) }
    #expect(throws: MVCCError.sortTooLarge(limit: 100_000)) { _ = try sort(2_990) }
    #expect(store.sortBudget.heldBytes == 0)
  }

  /// Bytes that no writer makes come out as errors, whatever they are.
  @Test func damagedRecordsAreErrors() throws {
    var generator = SeededGenerator(TestSettings.seed("damaged records"))
    let fixture = try Fixture()
    for i in 0..<40 { _ = try fixture.put(Bytes("k\(i % 4)".utf8), Bytes(repeating: 5, count: i)) }
    _ = try fixture.delete(Bytes("k0".utf8))
    var refused = 0
    for _ in 0..<3000 {
      let tree = [fixture.store.current, fixture.store.graveyard, fixture.store.log].randomElement(using: &generator)
      let target = try #require(tree)
      // Damage one entry inside a batch, look at everything, and put it back.
      let (name, original) = try fixture.database.write { batch -> (Bytes, Bytes) in
        var cursor = try batch.cursor(target)
        var found = try cursor.first()
        for _ in 0..<Int.random(in: 0..<40, using: &generator) where found {
          guard try cursor.next() else { break }
        }
        if !cursor.isValid { found = try cursor.first() }
        #expect(found)
        return (Bytes(try cursor.key), Bytes(try cursor.value))
      }
      var damaged = original
      switch Int.random(in: 0..<3, using: &generator) {
      case 0: damaged.removeLast(Int.random(in: 1...damaged.count, using: &generator))
      case 1:
        let bit = Int.random(in: 0..<(damaged.count * 8), using: &generator)
        damaged[bit / 8] ^= 1 << UInt8(bit % 8)
      default:
        let count = Int.random(in: 0...80, using: &generator)
        damaged = (0..<count).map { _ in .random(in: 0...255, using: &generator) }
      }
      try replace(fixture, target, name, damaged)
      for revision in [Int64(0), 10, 25] {
        do {
          _ = try fixture.range(RangeSpec(key: [0], end: [0], revision: revision, target: .value))
        } catch let error as MVCCError {
          if error.code == 15 { refused += 1 } else { Issue.record("\(error)") }
        } catch is WireError {
          // A changed byte inside a value's own fields is not this layer's to detect: the pages' checksums do that.
        }
      }
      try replace(fixture, target, name, original)
    }
    #expect(refused > 500)
  }

  private func replace(_ fixture: Fixture, _ tree: TreeID, _ name: Bytes, _ value: Bytes) throws {
    try fixture.database.write { batch in
      try name.withUnsafeBytes { name in try value.withUnsafeBytes { try batch.put(tree, name, $0) } }
    }
  }
}
