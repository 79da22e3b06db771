// A client of the simulated cluster: one request at a time, to a member of its choice, noted in a history.

import NeedletailSimulator

/// What clients asked and were answered, in the format of docs/checker.md.
struct ClusterHistory {
  private(set) var text = "{:history :needletail, :version 1}\n"

  mutating func note(_ client: Int, _ time_ns: Int64, _ words: String) {
    text += "{:process \(client), :time \(time_ns), \(words)}\n"
  }
}

enum ClientRequest {
  case command(ClusterCommand)
  /// A linearizable read, of the present or of a past revision.
  case range(key: [UInt8], end: [UInt8], revision: Int64)
  case keepAlive(lease: Int64)
  /// Whether there is such a lease, and its keys.
  case leaseKeys(lease: Int64)
}

struct SimulatedClient {
  let number: Int
  /// The request under way.
  private(set) var id: UInt64?
  private(set) var request = ClientRequest.range(key: [], end: [], revision: 0)
  private(set) var answered = 0
  private var asked: UInt64 = 0

  init(_ number: Int) { self.number = number }

  private static let keys = (0..<6).map { Array("k\($0)".utf8) }

  /// Chooses the next request. `revision` is one that the store may be near, `leases` are some that there may be.
  mutating func choose(_ random: inout SimulatedRandom, revision: Int64, leases: [Int64]) -> UInt64 {
    asked += 1
    let id = asked << 8 | UInt64(number)
    let key = random.pick(SimulatedClient.keys)
    var value = Array("v\(number).\(asked)".utf8)
    // Now and then one of several sectors, so that a power cut can tear it.
    if random.chance(perMille: 100) { value += [UInt8](repeating: 0x2E, count: random.below(3000)) }
    switch random.below(100) {
    case 0..<30: request = .command(ClusterCommand(id: id, key: key, kind: .put(value: value)))
    case 30..<40 where leases.isEmpty || random.chance(perMille: 200):
      let grant = ClusterCommand.Kind.grant(lease: Int64(id), ttl: random.chance(perMille: 700) ? 1 : 2)
      request = .command(ClusterCommand(id: id, kind: grant))
    case 30..<40: chooseOfLease(random.pick(leases), id, key, value, &random)
    case 40..<47:
      let end = random.chance(perMille: 200) ? Array("k9".utf8) : []
      request = .command(ClusterCommand(id: id, key: key, kind: .delete(end: end)))
    case 47..<60:
      let mod = random.chance(perMille: 300) ? 0 : max(0, revision - random.between(0...8))
      request = .command(
        ClusterCommand(
          id: id, key: key,
          kind: .transaction(
            mod: mod, value: value, otherwise: value + [0x65], otherKey: random.pick(SimulatedClient.keys))))
    case 60..<63:
      request = .command(ClusterCommand(id: id, kind: .compact(max(1, revision - random.between(0...20)))))
    case 63..<70: request = .range(key: key, end: [0], revision: max(1, revision - random.between(-1...20)))
    case 70..<76: request = .range(key: key, end: [0], revision: 0)
    default: request = .range(key: key, end: [], revision: 0)
    }
    self.id = id
    return id
  }

  private mutating func chooseOfLease(
    _ lease: Int64, _ id: UInt64, _ key: [UInt8], _ value: [UInt8], _ random: inout SimulatedRandom
  ) {
    switch random.below(10) {
    case 0..<7: request = .command(ClusterCommand(id: id, key: key, kind: .put(value: value, lease: lease)))
    case 7: request = .keepAlive(lease: lease)
    case 8: request = .leaseKeys(lease: lease)
    default: request = .command(ClusterCommand(id: id, kind: .revoke(lease: lease)))
    }
  }

  mutating func finish(isAnswered: Bool) {
    id = nil
    if isAnswered { answered += 1 }
  }
}
