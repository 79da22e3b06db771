// etcd's TxnRequest, read out of its bytes. Keys and values stay where they lie.
import NeedletailMVCC
import NeedletailRPC

extension Transaction {
  /// Deeper nesting is refused while it is read: the stack must not depend on the request.
  private static let depthMax = 256

  /// The bytes must outlive it.
  package init(parsing body: UnsafeRawBufferPointer) throws(ProtoError) {
    try self.init(body, depth: 1)
  }

  private init(_ body: UnsafeRawBufferPointer, depth: Int) throws(ProtoError) {
    guard depth <= Transaction.depthMax else { throw .nestedTooDeeply }
    self.init()
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: comparisons.append(try Comparison(parsing: reader.bytes(tag)))
      case 2: success.append(try Transaction.operation(reader.bytes(tag), depth: depth))
      case 3: failure.append(try Transaction.operation(reader.bytes(tag), depth: depth))
      default: try reader.skip(tag)
      }
    }
  }

  /// A RequestOp: of the four it may hold, the last one counts.
  private static func operation(_ body: UnsafeRawBufferPointer, depth: Int) throws(ProtoError) -> Operation {
    var operation = Operation.none
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: operation = .range(RangeQuery(part: try RangeRequestView(reader.bytes(tag))))
      case 2: operation = .put(PutCommand(try PutRequestView(reader.bytes(tag))))
      case 3: operation = .deleteRange(DeleteRangeCommand(try DeleteRangeRequestView(reader.bytes(tag))))
      case 4: operation = .transaction(try Transaction(reader.bytes(tag), depth: depth + 1))
      default: try reader.skip(tag)
      }
    }
    return operation
  }
}

extension Comparison {
  /// etcd's Compare. The constant is a oneof: only the last one given counts, and only if it is the target's.
  init(parsing body: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init(key: UnsafeRawBufferPointer(start: nil, count: 0))
    var given: Target?
    var givenNumber: Int64 = 0
    var givenValue = UnsafeRawBufferPointer(start: nil, count: 0)
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: relation = Relation(rawValue: try reader.enumeration(tag))
      case 2: target = Target(rawValue: try reader.enumeration(tag))
      case 3: key = try reader.bytes(tag)
      case 4, 5, 6, 8:
        given = tag.field == 4 ? .version : tag.field == 5 ? .createRevision : tag.field == 6 ? .modRevision : .lease
        givenNumber = try reader.int64(tag)
      case 7:
        given = .value
        givenValue = try reader.bytes(tag)
      case 64: rangeEnd = try reader.bytes(tag)
      default: try reader.skip(tag)
      }
    }
    guard given == target else { return }
    number = givenNumber
    value = givenValue
  }
}

extension RangeQuery {
  /// A range inside a transaction: bad sort options are for validation to refuse.
  init(part request: RangeRequestView) {
    if let query = RangeQuery(request) {
      self = query
    } else {
      self.init(key: request.key, rangeEnd: request.rangeEnd)
      hasValidSort = false
    }
  }
}
