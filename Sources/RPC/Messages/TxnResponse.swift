// The answer to a transaction: which branch ran, and what each of its operations answered.

/// The answer of one operation of a transaction.
public enum TxnAnswer: Equatable, Sendable {
  case range(RangeResponse)
  case put(PutResponse)
  case deleteRange(DeleteRangeResponse)
  case txn(TxnResponse)
  /// One that this program does not know.
  case unknown
}

/// The answer to KV.Txn.
public struct TxnResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// Whether all comparisons held.
  public var succeeded = false
  /// The answers of the branch that ran, in its order. Their headers hold the revision alone.
  public var responses: [TxnAnswer] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    try self.init(message, depth: 1)
  }

  private init(_ message: UnsafeRawBufferPointer, depth: Int) throws(ProtoError) {
    // No server answers deeper than it lets requests nest.
    guard depth <= 256 else { throw .nestedTooDeeply }
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: succeeded = try reader.bool(tag)
      case 3: responses.append(try TxnResponse.answer(reader.bytes(tag), depth: depth))
      default: try reader.skip(tag)
      }
    }
  }

  private static func answer(_ message: UnsafeRawBufferPointer, depth: Int) throws(ProtoError) -> TxnAnswer {
    var answer = TxnAnswer.unknown
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: answer = .range(try RangeResponse(reader.bytes(tag)))
      case 2: answer = .put(try PutResponse(reader.bytes(tag)))
      case 3: answer = .deleteRange(try DeleteRangeResponse(reader.bytes(tag)))
      case 4: answer = .txn(try TxnResponse(reader.bytes(tag), depth: depth + 1))
      default: try reader.skip(tag)
      }
    }
    return answer
  }
}
