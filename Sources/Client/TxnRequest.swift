// Transactions as a caller builds them.

import NeedletailRPC

public typealias TxnResponse = NeedletailRPC.TxnResponse
public typealias TxnAnswer = NeedletailRPC.TxnAnswer

/// A condition on a key, or on every key of a range.
public struct Compare: Sendable, Equatable {
  public enum Relation: Int64, Sendable {
    case equal = 0
    case greater = 1
    case less = 2
    case notEqual = 3
  }

  /// What of the key is compared, and with which constant. A key that isn't there has zero for every number, and no value
  /// that anything could be compared with.
  public enum Target: Sendable, Equatable {
    case version(Int64)
    case createRevision(Int64)
    case modRevision(Int64)
    case value([UInt8])
    case lease(Int64)
  }

  public var keys: KeyRange
  public var relation: Relation
  public var target: Target

  public init(_ keys: KeyRange, _ relation: Relation, _ target: Target) {
    self.keys = keys
    self.relation = relation
    self.target = target
  }

  fileprivate func append(to message: inout MessageBytes) {
    let (key, rangeEnd) = keys.bounds
    message.integer(1, relation.rawValue)
    switch target {
    case .version: break
    case .createRevision: message.integer(2, 1)
    case .modRevision: message.integer(2, 2)
    case .value: message.integer(2, 3)
    case .lease: message.integer(2, 4)
    }
    message.bytes(3, key)
    switch target {
    case .version(let number): message.integer(4, number)
    case .createRevision(let number): message.integer(5, number)
    case .modRevision(let number): message.integer(6, number)
    case .value(let value): message.bytes(7, value)
    case .lease(let number): message.integer(8, number)
    }
    message.bytes(64, rangeEnd)
  }
}

/// One operation of a transaction.
public enum TxnOperation: Sendable, Equatable {
  case range(RangeRequest)
  case put(PutRequest)
  case deleteRange(DeleteRangeRequest)
  case txn(TxnRequest)

  fileprivate var encoded: (field: Int, body: [UInt8]) {
    switch self {
    case .range(let request): (1, request.encoded())
    case .put(let request): (2, request.encoded())
    case .deleteRange(let request): (3, request.encoded())
    case .txn(let request): (4, request.encoded())
    }
  }
}

/// If all comparisons hold, `success` is done, else `failure`: as one step, with one revision.
public struct TxnRequest: Sendable, Equatable {
  public var comparisons: [Compare]
  public var success: [TxnOperation]
  public var failure: [TxnOperation]

  public init(if comparisons: [Compare] = [], then success: [TxnOperation] = [], else failure: [TxnOperation] = []) {
    self.comparisons = comparisons
    self.success = success
    self.failure = failure
  }

  /// True where neither branch changes anything: then it may be sent twice.
  var isReadOnly: Bool {
    (success + failure).allSatisfy { operation in
      switch operation {
      case .range: true
      case .txn(let nested): nested.isReadOnly
      case .put, .deleteRange: false
      }
    }
  }

  package func encoded() -> [UInt8] {
    var message = MessageBytes()
    for comparison in comparisons { message.message(1) { comparison.append(to: &$0) } }
    for (field, branch) in [(2, success), (3, failure)] {
      for operation in branch {
        let (kind, body) = operation.encoded
        message.message(field) { part in part.message(kind) { $0.raw(body) } }
      }
    }
    return message.content
  }
}

/// Protobuf fields appended to an array, where speed is no matter and messages nest.
struct MessageBytes {
  private(set) var content: [UInt8] = []

  mutating func integer(_ field: Int, _ value: Int64) {
    guard value != 0 else { return }
    varint(UInt64(field) << 3)
    varint(UInt64(bitPattern: value))
  }

  mutating func bytes(_ field: Int, _ value: [UInt8]) {
    guard !value.isEmpty else { return }
    message(field) { $0.raw(value) }
  }

  /// A message field; there even if it is empty.
  mutating func message(_ field: Int, _ body: (inout MessageBytes) -> Void) {
    var part = MessageBytes()
    body(&part)
    varint(UInt64(field) << 3 | 2)
    varint(UInt64(part.content.count))
    content += part.content
  }

  mutating func raw(_ value: [UInt8]) { content += value }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      content.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    content.append(UInt8(truncatingIfNeeded: rest))
  }
}
