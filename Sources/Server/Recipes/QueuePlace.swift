// A place in the queue for a lock or for leadership: a key under the name, which its lease keeps. The oldest owns what the
// name stands for. etcd's recipe, so that clients who follow it by themselves queue up with those who ask the server.
import NeedletailMVCC
import NeedletailRPC

struct QueuePlace: Equatable, Sendable {
  /// All keys under the name, and the first key behind them.
  let prefix: [UInt8]
  let prefixEnd: [UInt8]
  let key: [UInt8]
  /// The revision at which the key came to be; 0 = not known yet.
  var revision: Int64 = 0

  init(name: [UInt8], lease: Int64) {
    (prefix, prefixEnd) = QueuePlace.bounds(name)
    // As Go prints it: a sign and the magnitude.
    key = prefix + Array(String(lease, radix: 16).utf8)
  }

  /// The place that a leader's key names.
  init(_ leader: LeaderKey) {
    (prefix, prefixEnd) = QueuePlace.bounds(leader.name)
    key = leader.key
    revision = leader.revision
  }

  static func bounds(_ name: [UInt8]) -> (prefix: [UInt8], end: [UInt8]) {
    (name + [UInt8(ascii: "/")], name + [UInt8(ascii: "/") + 1])
  }

  // MARK: Transactions, as TxnRequests

  /// Takes the place, or finds it taken by the same lease: then the answer holds the pair.
  func entering(_ value: [UInt8], lease: Int64) -> [UInt8] {
    transaction(at: 0, then: put(value, lease), otherwise: Wire.message(1, range))
  }

  /// Shows another value, as long as the place is this one.
  func showing(_ value: [UInt8], lease: Int64) -> [UInt8] {
    transaction(at: revision, then: put(value, lease), otherwise: nil)
  }

  /// Gives the place up, if it is still this one.
  var leaving: [UInt8] { transaction(at: revision, then: Wire.message(3, Wire.message(1, key)), otherwise: nil) }

  /// Compare {result EQUAL, target CREATE = 1, key 3, create_revision 5}; TxnRequest {compare 1, success 2, failure 3}.
  private func transaction(at revision: Int64, then operation: [UInt8], otherwise: [UInt8]?) -> [UInt8] {
    let compare = Wire.number(2, 1) + Wire.message(3, key) + Wire.number(5, UInt64(bitPattern: revision))
    return Wire.message(1, compare) + Wire.message(2, operation) + (otherwise.map { Wire.message(3, $0) } ?? [])
  }

  /// RequestOp {request_put 2: {key 1, value 2, lease 3}}.
  private func put(_ value: [UInt8], _ lease: Int64) -> [UInt8] {
    Wire.message(2, Wire.message(1, key) + Wire.message(2, value) + Wire.number(3, UInt64(bitPattern: lease)))
  }

  /// RangeRequest {key 1}, and what a DeleteRangeRequest is made of.
  private var range: [UInt8] { Wire.message(1, key) }
}

/// Fields with numbers below 16, where speed is no matter.
private enum Wire {
  static func message(_ number: Int, _ body: [UInt8]) -> [UInt8] {
    ProtoWriter.bytes(ProtoWriter.size(delimited: body.count)) { writer in
      writer.open(number, count: body.count)
      body.withUnsafeBytes { writer.raw($0) }
    }
  }

  static func number(_ number: Int, _ value: UInt64) -> [UInt8] {
    ProtoWriter.bytes(ProtoWriter.size(field: value)) { $0.field(number, value) }
  }
}
