// What the tests of this folder share: a store in a directory of its own, seeded randomness, and a decoder of answers
// that is independent of the code under test.
import Foundation
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

typealias Bytes = [UInt8]

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z &>> 31)
  }
}

enum TestSettings {
  /// NEEDLETAIL_SEED replays one run; else a new seed each time, printed.
  static func seed(_ name: String) -> UInt64 {
    let given = ProcessInfo.processInfo.environment["NEEDLETAIL_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
    print("\(name): NEEDLETAIL_SEED=\(seed)")
    return seed
  }

  /// NEEDLETAIL_OPS asks for more than the slice that every run does.
  static func operations(_ standard: Int) -> Int {
    ProcessInfo.processInfo.environment["NEEDLETAIL_OPS"].flatMap { Int($0) } ?? standard
  }
}

/// A store in a temporary directory, removed with it.
final class Fixture {
  static let identity = StoreIdentity(clusterID: 0xcdf8_18b7_9c1d_4a01, memberID: 0x8e9e_05c5_2164_694d)

  private let directory: URL
  private(set) var database: Database
  private(set) var store: Store
  private(set) var writer: StoreWriter
  private(set) var reader: ReaderHandle
  private(set) var index: UInt64 = 0

  init() throws {
    directory = FileManager.default.temporaryDirectory.appendingPathComponent("mvcc-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    database = try Database.open(directory.appendingPathComponent("db").path)
    store = try Store.open(database, identity: Fixture.identity)
    writer = StoreWriter(store)
    writer.capture = EventCapture(bytesMax: .max)
    reader = try database.makeReader()
  }

  /// Checkpoints, closes and opens again.
  func reopen() throws {
    try database.checkpoint()
    reader.free()
    database.close()
    database = try Database.open(directory.appendingPathComponent("db").path)
    store = try Store.open(database, identity: Fixture.identity)
    writer = StoreWriter(store)
    writer.capture = EventCapture(bytesMax: .max)
    reader = try database.makeReader()
  }

  deinit {
    reader.free()
    database.close()
    try? FileManager.default.removeItem(at: directory)
  }

  /// One commit of several commands, each answered or refused on its own, as the apply thread does it.
  func commit(_ commands: [(StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void]) throws
    -> [Result<Bytes, MVCCError>]
  {
    var out = OutBuffer()
    defer { out.free() }
    index += 1
    return try database.write { batch in
      try writer.begin(batch)
      var answers: [Result<Bytes, MVCCError>] = []
      for command in commands {
        let mark = out.count
        do throws(MVCCError) {
          try command(writer, batch, &out)
          answers.append(.success(Bytes(out.bytes[mark...])))
        } catch {
          #expect(out.count == mark, "a refused command left bytes behind")
          answers.append(.failure(error))
        }
      }
      writer.finish(batch, appliedIndex: index, appliedTerm: 7)
      return answers
    }
  }

  /// The revision in the answer's header.
  func compact(_ revision: Int64) throws -> Int64 {
    let answer = try commit([Fixture.compact(revision)])[0].get()
    let fields = try decodeWire(answer)
    guard fields.count == 1, case .bytes(let header) = fields[0].1 else { throw WireError() }
    return try Header(header).revision
  }

  private static func compact(
    _ revision: Int64
  ) -> (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void {
    { (writer, batch, out) throws(MVCCError) in try writer.compact(batch, to: revision, term: 7, into: &out) }
  }

  /// A part of what compactions left to remove; false when there is nothing.
  func removeCompacted(rows: Int) throws -> Bool {
    try database.write { batch in try writer.removeCompacted(batch, rowsMax: rows) } != nil
  }

  func entries(_ tree: TreeID) throws -> UInt64 { try database.write { $0.count(tree) } }

  func put(
    _ key: Bytes, _ value: Bytes, lease: Int64 = 0, prevKV: Bool = false, ignoreValue: Bool = false,
    ignoreLease: Bool = false
  ) throws -> WriteAnswer {
    try WriteAnswer(
      try commit([Fixture.put(key, value, lease, prevKV, ignoreValue, ignoreLease)])[0].get(), isPut: true)
  }

  func delete(_ key: Bytes, _ end: Bytes = [], prevKV: Bool = false) throws -> WriteAnswer {
    try WriteAnswer(try commit([Fixture.delete(key, end, prevKV)])[0].get(), isPut: false)
  }

  static func put(
    _ key: Bytes, _ value: Bytes, _ lease: Int64, _ prevKV: Bool, _ ignoreValue: Bool, _ ignoreLease: Bool
  ) -> (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void {
    { (writer, batch, out) throws(MVCCError) in
      var buffer = out
      defer { out = buffer }
      try withBytes(key, value) { (key, value) throws(MVCCError) in
        var command = PutCommand(key: key, value: value)
        command.lease = lease
        command.prevKV = prevKV
        command.ignoreValue = ignoreValue
        command.ignoreLease = ignoreLease
        try writer.put(batch, command, term: 7, into: &buffer)
      }
    }
  }

  static func delete(
    _ key: Bytes, _ end: Bytes, _ prevKV: Bool
  ) -> (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void {
    { (writer, batch, out) throws(MVCCError) in
      var buffer = out
      defer { out = buffer }
      try withBytes(key, end) { (key, end) throws(MVCCError) in
        var command = DeleteRangeCommand(key: key, rangeEnd: end)
        command.prevKV = prevKV
        try writer.deleteRange(batch, command, term: 7, into: &buffer)
      }
    }
  }

  func range(_ request: RangeSpec) throws -> RangeAnswer {
    let view = reader.pin()
    defer { reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    try withBytes(request.key, request.end) { (key, end) throws(MVCCError) in
      var query = RangeQuery(key: key, rangeEnd: end)
      query.limit = request.limit
      query.revision = request.revision
      query.order = request.order
      query.target = request.target
      query.keysOnly = request.keysOnly
      query.countOnly = request.countOnly
      query.minModRevision = request.minMod
      query.maxModRevision = request.maxMod
      query.minCreateRevision = request.minCreate
      query.maxCreateRevision = request.maxCreate
      query.term = 7
      do throws(MVCCError) { try store.range(view, query, into: &out) } catch {
        #expect(out.count == 0, "a refused range left bytes behind")
        throw error
      }
    }
    return try RangeAnswer(Bytes(out.bytes))
  }

  func get(_ key: Bytes, revision: Int64 = 0) throws -> KeyValue? {
    try range(RangeSpec(key: key, revision: revision)).kvs.first
  }
}

func withBytes<R>(
  _ a: Bytes, _ b: Bytes, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(MVCCError) -> R
) throws(MVCCError) -> R {
  let result: Result<R, MVCCError> = a.withUnsafeBytes { a in
    b.withUnsafeBytes { b in
      do throws(MVCCError) { return .success(try body(a, b)) } catch { return .failure(error) }
    }
  }
  return try result.get()
}

struct RangeSpec {
  var key: Bytes
  var end: Bytes = []
  var limit: Int64 = 0
  var revision: Int64 = 0
  var order = RangeQuery.Order.none
  var target = RangeQuery.Target.key
  var keysOnly = false
  var countOnly = false
  var minMod: Int64 = 0
  var maxMod: Int64 = 0
  var minCreate: Int64 = 0
  var maxCreate: Int64 = 0
}

struct KeyValue: Equatable {
  var key: Bytes = []
  var create: Int64 = 0
  var mod: Int64 = 0
  var version: Int64 = 0
  var value: Bytes = []
  var lease: Int64 = 0
}

// A plain reading of protobuf's encoding guide.
enum WireField {
  case varint(UInt64)
  case bytes(Bytes)
}

struct WireError: Error {}

func decodeWire(_ bytes: Bytes) throws -> [(Int, WireField)] {
  var fields: [(Int, WireField)] = []
  var at = 0
  func varint() throws -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 70, by: 7) {
      guard at < bytes.count else { throw WireError() }
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 127) << UInt64(shift)
      if byte < 128 { return value }
    }
    throw WireError()
  }
  while at < bytes.count {
    let tag = try varint()
    switch tag & 7 {
    case 0: fields.append((Int(tag >> 3), .varint(try varint())))
    case 2:
      let count = Int(try varint())
      guard at + count <= bytes.count else { throw WireError() }
      fields.append((Int(tag >> 3), .bytes(Bytes(bytes[at..<(at + count)]))))
      at += count
    default: throw WireError()
    }
  }
  // Writers of these messages emit fields in the order of their numbers.
  guard fields.map(\.0) == fields.map(\.0).sorted() else { throw WireError() }
  return fields
}

struct Header: Equatable {
  var cluster: UInt64 = 0
  var member: UInt64 = 0
  var revision: Int64 = 0
  var term: UInt64 = 0

  /// A part of a transaction's answer has the revision alone.
  init(_ bytes: Bytes, isPart: Bool = false) throws {
    for (number, field) in try decodeWire(bytes) {
      switch (number, field) {
      case (1, .varint(let v)): cluster = v
      case (2, .varint(let v)): member = v
      case (3, .varint(let v)): revision = Int64(v)
      case (4, .varint(let v)): term = v
      default: throw WireError()
      }
    }
    if isPart {
      #expect(cluster == 0 && member == 0 && term == 0)
    } else {
      #expect(cluster == Fixture.identity.clusterID && member == Fixture.identity.memberID && term == 7)
    }
  }
}

extension KeyValue {
  init(_ bytes: Bytes) throws {
    for (number, field) in try decodeWire(bytes) {
      switch (number, field) {
      case (1, .bytes(let v)): key = v
      case (2, .varint(let v)): create = Int64(v)
      case (3, .varint(let v)): mod = Int64(v)
      case (4, .varint(let v)): version = Int64(v)
      case (5, .bytes(let v)): value = v
      case (6, .varint(let v)): lease = Int64(bitPattern: v)
      default: throw WireError()
      }
    }
  }
}

struct RangeAnswer: Equatable {
  var revision: Int64 = 0
  var kvs: [KeyValue] = []
  var more = false
  var count: Int64 = 0

  init(revision: Int64) { self.revision = revision }

  init(_ bytes: Bytes, isPart: Bool = false) throws {
    for (number, field) in try decodeWire(bytes) {
      switch (number, field) {
      case (1, .bytes(let v)): revision = try Header(v, isPart: isPart).revision
      case (2, .bytes(let v)): kvs.append(try KeyValue(v))
      case (3, .varint(let v)): more = v == 1
      case (4, .varint(let v)): count = Int64(v)
      default: throw WireError()
      }
    }
  }
}

struct WriteAnswer: Equatable {
  var revision: Int64 = 0
  var deleted: Int64 = 0
  var previous: [KeyValue] = []

  init(revision: Int64) { self.revision = revision }

  init(_ bytes: Bytes, isPut: Bool, isPart: Bool = false) throws {
    for (number, field) in try decodeWire(bytes) {
      switch (number, field, isPut) {
      case (1, .bytes(let v), _): revision = try Header(v, isPart: isPart).revision
      case (2, .bytes(let v), true): previous.append(try KeyValue(v))
      case (2, .varint(let v), false): deleted = Int64(v)
      case (3, .bytes(let v), false): previous.append(try KeyValue(v))
      default: throw WireError()
      }
    }
  }
}
