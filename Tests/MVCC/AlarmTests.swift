// Alarms in the store: raised and taken back by commands, and what each refuses.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

extension Fixture {
  typealias AlarmChange = (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void

  static func raise(_ alarm: Alarm) -> AlarmChange {
    { (writer, batch, out) throws(MVCCError) in try writer.raise(batch, alarm, term: 7, into: &out) }
  }

  static func lower(_ alarm: Alarm) -> AlarmChange {
    { (writer, batch, out) throws(MVCCError) in try writer.lower(batch, alarm, term: 7, into: &out) }
  }

  func raise(_ alarm: Alarm) throws -> [Alarm] { try alarms(try commit([Fixture.raise(alarm)])[0].get()) }
  func lower(_ alarm: Alarm) throws -> [Alarm] { try alarms(try commit([Fixture.lower(alarm)])[0].get()) }

  func alarms(_ kind: Alarm.Kind? = nil) throws -> [Alarm] {
    let view = reader.pin()
    defer { reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    try store.listAlarms(view, kind, term: 7, into: &out)
    return try alarms(Bytes(out.bytes))
  }

  private func alarms(_ answer: Bytes) throws -> [Alarm] {
    let fields = try decodeWire(answer)
    guard case .bytes(let header)? = fields.first?.1 else { throw WireError() }
    _ = try Header(header)
    return try fields.dropFirst().map { field in
      guard case (2, .bytes(let member)) = field else { throw WireError() }
      var alarm = Alarm(.noSpace, member: 0)
      for part in try decodeWire(member) {
        switch part {
        case (1, .varint(let id)): alarm.member = id
        case (2, .varint(let kind)): alarm.kind = try #require(Alarm.Kind(rawValue: UInt32(kind)))
        default: throw WireError()
        }
      }
      return alarm
    }
  }
}

@Suite struct AlarmTests {
  private let noSpace = Alarm(.noSpace, member: .max)
  private let corrupt = Alarm(.corrupt, member: 3)

  @Test func raisingAndTakingBack() throws {
    let fixture = try Fixture()
    #expect(try fixture.alarms() == [])
    #expect(try fixture.lower(noSpace) == [])
    #expect(try fixture.raise(noSpace) == [noSpace])
    #expect(try fixture.raise(noSpace) == [noSpace], "again is no error")
    #expect(try fixture.raise(corrupt) == [corrupt])
    #expect(try fixture.raise(Alarm(.noSpace, member: 0)) == [Alarm(.noSpace, member: 0)])
    #expect(try fixture.alarms() == [Alarm(.noSpace, member: 0), noSpace, corrupt])
    #expect(try fixture.alarms(.corrupt) == [corrupt])
    try fixture.reopen()
    #expect(try fixture.alarms(.noSpace) == [Alarm(.noSpace, member: 0), noSpace])
    #expect(try fixture.lower(noSpace) == [noSpace])
    #expect(try fixture.lower(noSpace) == [])
    #expect(try fixture.alarms() == [Alarm(.noSpace, member: 0), corrupt])
    // No revision passes.
    #expect(try fixture.range(RangeSpec(key: [1])).revision == 1)
  }

  private func refuses(_ error: MVCCError, _ body: () throws -> Void) {
    #expect(throws: error, performing: body)
  }

  /// Puts, also those of a branch that would not run, and leases need space; deleting, revoking and compacting give it.
  @Test func noSpaceRefusesWhatNeedsSpace() throws {
    let fixture = try Fixture()
    _ = try fixture.put([1], [1])
    _ = try fixture.grant(5, ttl: 10)
    _ = try fixture.put([2], [1], lease: 5)
    _ = try fixture.raise(noSpace)
    try fixture.reopen()
    refuses(.noSpace) { _ = try fixture.put([1], [2]) }
    refuses(.noSpace) { _ = try fixture.put([9], [], ignoreValue: true) }
    refuses(.keyNotProvided) { _ = try fixture.put([], [2]) }
    refuses(.noSpace) { _ = try fixture.grant(6, ttl: 10) }
    refuses(.noSpace) { _ = try fixture.grant(5, ttl: 10) }
    let put = OperationSpec.put(PutSpec(key: [1]))
    refuses(.noSpace) { _ = try fixture.txn(TxnSpec(success: [put])) }
    refuses(.noSpace) { _ = try fixture.txn(TxnSpec(failure: [put])) }
    refuses(.noSpace) { _ = try fixture.txn(TxnSpec(success: [.txn(TxnSpec(failure: [put]))])) }
    _ = try fixture.txn(TxnSpec(success: [.range(RangeSpec(key: [1]))], failure: [.delete(DeleteSpec(key: [3]))]))
    #expect(try fixture.txn(TxnSpec(success: [.delete(DeleteSpec(key: [1]))])).revision == 4)
    #expect(try fixture.revoke(5) == 5)
    #expect(try fixture.compact(5) == 5)
    try fixture.checkpoint(6, remaining: 1)
    #expect(try fixture.delete([1]).deleted == 0)
    _ = try fixture.lower(noSpace)
    #expect(try fixture.put([1], [2]).revision == 6)
    #expect(MVCCError.noSpace.code == 8)
    #expect(MVCCError.noSpace.message == "etcdserver: mvcc: database space exceeded")
    #expect(!MVCCError.noSpace.isFatal && !MVCCError.corruptCluster.isFatal)
  }

  /// Whatever goes through the log but alarms themselves; reads are served, as etcd's are. It weighs more than NOSPACE.
  @Test func corruptRefusesEveryChange() throws {
    let fixture = try Fixture()
    _ = try fixture.put([1], [1])
    _ = try fixture.grant(5, ttl: 10)
    _ = try fixture.raise(noSpace)
    _ = try fixture.raise(corrupt)
    refuses(.corruptCluster) { _ = try fixture.put([1], [2]) }
    refuses(.corruptCluster) { _ = try fixture.delete([1]) }
    refuses(.corruptCluster) { _ = try fixture.compact(2) }
    refuses(.corruptCluster) { _ = try fixture.grant(6, ttl: 10) }
    refuses(.corruptCluster) { _ = try fixture.revoke(5) }
    refuses(.corruptCluster) { _ = try fixture.txn(TxnSpec(success: [.delete(DeleteSpec(key: [1]))])) }
    #expect(try fixture.get([1])?.value == [1])
    #expect(MVCCError.corruptCluster.code == 15)
    #expect(MVCCError.corruptCluster.message == "etcdserver: corrupt cluster")
    _ = try fixture.lower(corrupt)
    refuses(.noSpace) { _ = try fixture.put([1], [2]) }
    #expect(try fixture.delete([1]).deleted == 1)
  }

  /// One commit: commands behind the alarm are refused, those before it and behind its end are not.
  @Test func alarmsCountWithinACommit() throws {
    let fixture = try Fixture()
    let put = Fixture.put([1], [1], 0, false, false, false)
    let answers = try fixture.commit([put, Fixture.raise(noSpace), put, Fixture.lower(noSpace), put])
    let refused = answers.map { answer in
      if case .failure(let error) = answer { error == .noSpace } else { false }
    }
    #expect(refused == [false, false, true, false, false])
    #expect(try fixture.get([1])?.version == 2)
  }

  @Test func costsAreEtcdsEstimates() {
    func cost(_ spec: TxnSpec) -> Int { Arena().transaction(spec).putCost }
    let small = OperationSpec.put(PutSpec(key: [1, 2], value: [3]))
    let large = OperationSpec.put(PutSpec(key: [1], value: Bytes(repeating: 0, count: 1000)))
    #expect(cost(TxnSpec()) == 0)
    #expect(cost(TxnSpec(success: [.delete(DeleteSpec(key: [1])), .range(RangeSpec(key: [1]))])) == 0)
    #expect(cost(TxnSpec(success: [small, small], failure: [small])) == 2 * 259)
    #expect(cost(TxnSpec(success: [small], failure: [large])) == 1257)
    #expect(cost(TxnSpec(success: [small, .txn(TxnSpec(failure: [large]))])) == 259 + 1257)
  }
}
