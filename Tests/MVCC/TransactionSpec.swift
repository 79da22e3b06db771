// Transactions as tests write them down, the bytes they own while one runs, and a decoder of their answers.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

struct CompareSpec {
  var key: Bytes
  var end: Bytes = []
  /// etcd's numbers; unknown ones too.
  var target: Int32 = 0
  var relation: Int32 = 0
  var number: Int64 = 0
  var value: Bytes = []
}

struct PutSpec {
  var key: Bytes
  var value: Bytes = []
  var lease: Int64 = 0
  var prevKV = false
  var ignoreValue = false
  var ignoreLease = false
}

struct DeleteSpec {
  var key: Bytes
  var end: Bytes = []
  var prevKV = false
}

struct TxnSpec {
  var compares: [CompareSpec] = []
  var success: [OperationSpec] = []
  var failure: [OperationSpec] = []

  var isReadOnly: Bool {
    for operation in success + failure {
      switch operation {
      case .range: continue
      case .txn(let nested): if !nested.isReadOnly { return false }
      default: return false
      }
    }
    return true
  }
}

enum OperationSpec {
  case range(RangeSpec)
  case put(PutSpec)
  case delete(DeleteSpec)
  case txn(TxnSpec)
  case none
}

/// Keeps copies of bytes where they are until it goes.
final class Arena {
  private var blocks: [UnsafeMutableRawBufferPointer] = []

  deinit { for block in blocks { block.deallocate() } }

  func pin(_ bytes: Bytes) -> UnsafeRawBufferPointer {
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
    block.copyBytes(from: bytes)
    blocks.append(block)
    return UnsafeRawBufferPointer(rebasing: block[..<bytes.count])
  }

  func transaction(_ spec: TxnSpec) -> Transaction {
    var transaction = Transaction()
    for compare in spec.compares {
      var comparison = Comparison(key: pin(compare.key), rangeEnd: pin(compare.end))
      comparison.target = Comparison.Target(rawValue: compare.target)
      comparison.relation = Comparison.Relation(rawValue: compare.relation)
      comparison.number = compare.number
      comparison.value = pin(compare.value)
      transaction.comparisons.append(comparison)
    }
    transaction.success = spec.success.map(operation)
    transaction.failure = spec.failure.map(operation)
    return transaction
  }

  private func operation(_ spec: OperationSpec) -> Transaction.Operation {
    switch spec {
    case .range(let spec): return .range(range(spec))
    case .put(let spec):
      var command = PutCommand(key: pin(spec.key), value: pin(spec.value))
      command.lease = spec.lease
      command.prevKV = spec.prevKV
      command.ignoreValue = spec.ignoreValue
      command.ignoreLease = spec.ignoreLease
      return .put(command)
    case .delete(let spec):
      var command = DeleteRangeCommand(key: pin(spec.key), rangeEnd: pin(spec.end))
      command.prevKV = spec.prevKV
      return .deleteRange(command)
    case .txn(let spec): return .transaction(transaction(spec))
    case .none: return .none
    }
  }

  private func range(_ spec: RangeSpec) -> RangeQuery {
    var query = RangeQuery(key: pin(spec.key), rangeEnd: pin(spec.end))
    query.limit = spec.limit
    query.revision = spec.revision
    query.order = spec.order
    query.target = spec.target
    query.keysOnly = spec.keysOnly
    query.countOnly = spec.countOnly
    query.minModRevision = spec.minMod
    query.maxModRevision = spec.maxMod
    query.minCreateRevision = spec.minCreate
    query.maxCreateRevision = spec.maxCreate
    return query
  }
}

struct TxnResult: Equatable {
  var revision: Int64 = 0
  var succeeded = false
  var responses: [OperationResult] = []

  init() {}

  /// A nested answer's header is there, and empty.
  init(_ bytes: Bytes, isPart: Bool = false) throws {
    var headers = 0
    for (number, field) in try decodeWire(bytes) {
      switch (number, field) {
      case (1, .bytes(let v)):
        headers += 1
        if isPart { #expect(v.isEmpty) } else { revision = try Header(v).revision }
      case (2, .varint(let v)): succeeded = v == 1
      case (3, .bytes(let v)): responses.append(try OperationResult(v))
      default: throw WireError()
      }
    }
    #expect(headers == 1)
  }
}

enum OperationResult: Equatable {
  case range(RangeAnswer)
  case put(WriteAnswer)
  case delete(WriteAnswer)
  case txn(TxnResult)

  init(_ bytes: Bytes) throws {
    let fields = try decodeWire(bytes)
    guard fields.count == 1, case .bytes(let body) = fields[0].1 else { throw WireError() }
    switch fields[0].0 {
    case 1: self = .range(try RangeAnswer(body, isPart: true))
    case 2: self = .put(try WriteAnswer(body, isPut: true, isPart: true))
    case 3: self = .delete(try WriteAnswer(body, isPut: false, isPart: true))
    case 4: self = .txn(try TxnResult(body, isPart: true))
    default: throw WireError()
    }
  }
}

extension Fixture {
  /// As the server does it: judged first; what only reads runs on a snapshot, the rest in a batch.
  func txn(_ spec: TxnSpec, operationsMax: Int = 128) throws -> TxnResult {
    let arena = Arena()
    let transaction = arena.transaction(spec)
    try transaction.validate(operationsMax: operationsMax, keyLimit: store.keyLimit)
    #expect(transaction.isReadOnly == spec.isReadOnly)
    defer { withExtendedLifetime(arena) {} }
    guard transaction.isReadOnly else { return try TxnResult(try commit([Fixture.txn(transaction)])[0].get()) }
    let view = reader.pin()
    defer { reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    do throws(MVCCError) {
      try store.readTransaction(view, transaction, term: 7, into: &out)
    } catch {
      #expect(out.count == 0, "a refused transaction left bytes behind")
      throw error
    }
    return try TxnResult(Bytes(out.bytes))
  }

  private static func txn(
    _ transaction: Transaction
  ) -> (StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void {
    { (writer, batch, out) throws(MVCCError) in try writer.transaction(batch, transaction, term: 7, into: &out) }
  }
}
