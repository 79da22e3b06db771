// What clients ask of the Lock and Election services, with bytes of its own.
import NeedletailRPC

enum RecipeRequest: Sendable {
  case lock(name: [UInt8], lease: Int64)
  case unlock(key: [UInt8])
  case campaign(name: [UInt8], lease: Int64, value: [UInt8])
  case proclaim(LeaderKey, value: [UInt8])
  case resign(LeaderKey)

  /// Bytes that it takes.
  var byteCount: Int {
    switch self {
    case .lock(let name, _): name.count
    case .unlock(let key): key.count
    case .campaign(let name, _, let value): name.count + value.count
    case .proclaim(let leader, let value): leader.name.count + leader.key.count + value.count
    case .resign(let leader): leader.name.count + leader.key.count
    }
  }

  /// DeleteRangeRequest {key 1}: the same bytes as a name's.
  static func deletion(of key: [UInt8]) -> [UInt8] {
    key.withUnsafeBytes { key in
      var request = NameRequestView()
      request.name = key
      return request.encoded()
    }
  }
}

/// Names a call from outside: an answer's address without what only answers need.
struct CallName: Hashable, Sendable {
  struct Connection: Hashable, Sendable {
    let reactor: UInt16
    let slot: UInt32
    let generation: UInt32
  }

  let connection: Connection
  let stream: UInt32

  init(_ address: ReplyAddress) {
    connection = Connection(reactor: address.reactor, slot: address.slot, generation: address.generation)
    stream = address.stream
  }
}

extension StatusError {
  /// etcd's server runs these recipes with a client of its own, whose errors reach the caller without their codes.
  var asRecipe: StatusError {
    switch code {
    // Whether to try again somewhere else must stay visible.
    case .unavailable, .cancelled, .deadlineExceeded, .internal, .dataLoss: self
    default: StatusError(.unknown, message)
    }
  }
}
