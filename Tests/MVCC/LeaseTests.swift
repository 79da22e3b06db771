// Leases in the store: which keys belong to which, and what a revocation takes with it.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

extension Fixture {
  typealias LeaseCommand = (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void

  /// The revision in the answer's header.
  func grant(_ id: Int64, ttl: Int64) throws -> Int64 {
    let fields = try decodeWire(try commit([Fixture.grant(id, ttl)])[0].get())
    guard fields.count == 3, case .bytes(let header) = fields[0].1, case .varint(let found) = fields[1].1,
      case .varint(let seconds) = fields[2].1
    else { throw WireError() }
    #expect(Int64(bitPattern: found) == id && Int64(seconds) == ttl)
    return try Header(header).revision
  }

  func revoke(_ id: Int64) throws -> Int64 {
    let fields = try decodeWire(try commit([Fixture.revoke(id)])[0].get())
    guard fields.count == 1, case .bytes(let header) = fields[0].1 else { throw WireError() }
    return try Header(header).revision
  }

  func checkpoint(_ id: Int64, remaining: Int64) throws {
    let answer = try commit([Fixture.checkpoint(id, remaining)])[0].get()
    #expect(answer.isEmpty)
  }

  private static func grant(_ id: Int64, _ ttl: Int64) -> LeaseCommand {
    { (writer, batch, out) throws(MVCCError) in try writer.grantLease(batch, id, ttl: ttl, term: 7, into: &out) }
  }

  private static func revoke(_ id: Int64) -> LeaseCommand {
    { (writer, batch, out) throws(MVCCError) in try writer.revokeLease(batch, id, term: 7, into: &out) }
  }

  private static func checkpoint(_ id: Int64, _ remaining: Int64) -> LeaseCommand {
    { (writer, batch, out) throws(MVCCError) in try writer.checkpointLease(batch, id, remaining: remaining) }
  }

  func leases() throws -> [Int64: LeaseRecord] {
    let view = reader.pin()
    defer { reader.unpin() }
    var found: [Int64: LeaseRecord] = [:]
    try store.forEachLease(view) { found[$0] = $1 }
    return found
  }

  func keys(of id: Int64) throws -> [Bytes] {
    let view = reader.pin()
    defer { reader.unpin() }
    return try store.keys(of: id, view)
  }
}

@Suite struct LeaseTests {
  @Test func refusals() throws {
    let fixture = try Fixture()
    #expect(try fixture.grant(7, ttl: 9_000_000_000) == 1)
    #expect(throws: MVCCError.leaseExists) { _ = try fixture.grant(7, ttl: 5) }
    #expect(throws: MVCCError.leaseTTLTooLarge) { _ = try fixture.grant(8, ttl: 9_000_000_001) }
    #expect(throws: MVCCError.leaseNotFound) { _ = try fixture.revoke(8) }
    #expect(throws: MVCCError.leaseNotFound) { _ = try fixture.put([1], [1], lease: 8) }
    #expect(MVCCError.leaseExists.code == 9 && MVCCError.leaseExists.message == "etcdserver: lease already exists")
    #expect(MVCCError.leaseTTLTooLarge.code == 11)
    #expect(MVCCError.leaseTTLTooLarge.message == "etcdserver: too large lease TTL")
    #expect(MVCCError.leaseNotFound.code == 5)
    #expect(MVCCError.leaseNotFound.message == "etcdserver: requested lease not found")
    #expect(try fixture.leases() == [7: LeaseRecord(ttl: 9_000_000_000)])
  }

  @Test func keysFollowTheirLastPut() throws {
    let fixture = try Fixture()
    _ = try fixture.grant(1, ttl: 5)
    _ = try fixture.grant(-2, ttl: 5)
    _ = try fixture.put([1], [1], lease: 1)
    _ = try fixture.put([2], [1], lease: 1)
    #expect(try fixture.keys(of: 1) == [[1], [2]])
    _ = try fixture.put([1], [2], lease: -2)
    _ = try fixture.put([2], [2], ignoreLease: true)
    #expect(try fixture.keys(of: 1) == [[2]] && fixture.keys(of: -2) == [[1]])
    #expect(try fixture.get([2])?.lease == 1 && fixture.get([1])?.lease == -2)
    _ = try fixture.put([2], [3])
    #expect(try fixture.keys(of: 1).isEmpty, "a put without a lease takes the key out of its lease")
    _ = try fixture.delete([1])
    #expect(try fixture.keys(of: -2).isEmpty, "so does a deletion")
    _ = try fixture.put([1], [3])
    #expect(try fixture.revoke(-2) == fixture.get([1])?.mod, "no keys, no revision")
    #expect(try fixture.get([1])?.value == [3])
  }

  @Test func revocationDeletesInOneRevisionInKeyOrder() throws {
    let fixture = try Fixture()
    _ = try fixture.grant(9, ttl: 5)
    // Long names that share their beginning, and one between them in key order.
    let limit = fixture.store.keyLimit
    let long = (0..<6).map { Bytes(repeating: 5, count: limit - 3) + [UInt8($0 * 40 % 7), 0, UInt8($0)] }
    let keys = long + [[5], [4], [6, 6], Bytes(repeating: 5, count: limit - 8), Bytes(repeating: 5, count: limit - 9)]
    for key in keys { _ = try fixture.put(key, [1], lease: 9) }
    _ = try fixture.put([7], [1])
    let sorted = keys.sorted { $0.lexicographicallyPrecedes($1) }
    #expect(try fixture.keys(of: 9) == sorted)
    _ = try fixture.delete(long[2])
    _ = try fixture.put(long[2], [2], lease: 9)
    try fixture.reopen()
    #expect(try fixture.keys(of: 9) == sorted)
    let revision = try fixture.revoke(9)
    let rest = try fixture.range(RangeSpec(key: [0], end: [0]))
    #expect(rest.kvs.map(\.key) == [[7]] && rest.revision == revision)
    #expect(try fixture.leases().isEmpty)
    #expect(try fixture.range(RangeSpec(key: [0], end: [0], revision: revision - 1)).count == 12)
    #expect(try fixture.entries(fixture.store.lease) == 0)
    // The log has them in key order under one main revision.
    let deleted = try fixture.database.write { batch -> [Bytes] in
      var cursor = try batch.cursor(fixture.store.log)
      var found: [Bytes] = []
      var isValid = try cursor.first()
      while isValid {
        let name = try cursor.key
        let main = UInt64(bigEndian: name.loadUnaligned(as: UInt64.self))
        if main == UInt64(revision) {
          let row = Bytes(try cursor.value)
          let length = Int(row[1]) | Int(row[2]) << 8
          found.append(Bytes(row[5..<(5 + length)]))
        }
        isValid = try cursor.next()
      }
      return found
    }
    #expect(deleted == sorted)
  }

  @Test func checkpointsKeepWhatIsLeft() throws {
    let fixture = try Fixture()
    _ = try fixture.grant(3, ttl: 50)
    try fixture.checkpoint(3, remaining: 20)
    try fixture.checkpoint(4, remaining: 20)
    try fixture.reopen()
    #expect(try fixture.leases() == [3: LeaseRecord(ttl: 50, remaining: 20)])
    try fixture.checkpoint(3, remaining: 70)
    #expect(try fixture.leases()[3]?.remaining == 50)
    try fixture.checkpoint(3, remaining: 0)
    #expect(try fixture.leases()[3]?.remaining == 0)
  }
}
