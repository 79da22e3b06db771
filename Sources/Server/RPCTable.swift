// The one table of all RPCs: routing, metric labels and limits come from it. What is not in it does not exist.
import NeedletailRPC

/// Raw values are dense: they index the metrics.
package enum RPC: UInt8, CaseIterable, Sendable {
  case range
  case put
  case deleteRange
  case txn
  case compact
  case watch
  case leaseGrant
  case leaseRevoke
  case leaseKeepAlive
  case leaseTimeToLive
  case leaseLeases
  case status
  case health
  case snapshot
  case alarm
  case hash
  case hashKV
  case rangeStream

  package static var count: Int { allCases.count }

  /// Its number in the native protocol's frames.
  package var method: Method {
    switch self {
    case .range: .range
    case .put: .put
    case .deleteRange: .deleteRange
    case .txn: .txn
    case .compact: .compact
    case .watch: .watch
    case .leaseGrant: .leaseGrant
    case .leaseRevoke: .leaseRevoke
    case .leaseKeepAlive: .leaseKeepAlive
    case .leaseTimeToLive: .leaseTimeToLive
    case .leaseLeases: .leaseLeases
    case .status: .status
    case .health: .health
    case .snapshot: .snapshot
    case .alarm: .alarm
    case .hash: .hash
    case .hashKV: .hashKV
    case .rangeStream: .rangeStream
    }
  }

  /// Nil for a method that this server does not have.
  @inline(__always)
  package init?(method: UInt16) {
    switch Method(rawValue: method) {
    case .range: self = .range
    case .put: self = .put
    case .deleteRange: self = .deleteRange
    case .txn: self = .txn
    case .compact: self = .compact
    case .watch: self = .watch
    case .leaseGrant: self = .leaseGrant
    case .leaseRevoke: self = .leaseRevoke
    case .leaseKeepAlive: self = .leaseKeepAlive
    case .leaseTimeToLive: self = .leaseTimeToLive
    case .leaseLeases: self = .leaseLeases
    case .status: self = .status
    case .health: self = .health
    case .snapshot: self = .snapshot
    case .alarm: self = .alarm
    case .hash: self = .hash
    case .hashKV: self = .hashKV
    case .rangeStream: self = .rangeStream
    default: return nil
    }
  }

  /// gRPC's names, as metrics and logs show them.
  package var service: String {
    switch self {
    case .range, .put, .deleteRange, .txn, .compact, .rangeStream: "etcdserverpb.KV"
    case .watch: "etcdserverpb.Watch"
    case .leaseGrant, .leaseRevoke, .leaseKeepAlive, .leaseTimeToLive, .leaseLeases: "etcdserverpb.Lease"
    case .status, .snapshot, .alarm, .hash, .hashKV: "etcdserverpb.Maintenance"
    case .health: "grpc.health.v1.Health"
    }
  }

  package var name: String {
    switch self {
    case .range: "Range"
    case .put: "Put"
    case .deleteRange: "DeleteRange"
    case .txn: "Txn"
    case .compact: "Compact"
    case .watch: "Watch"
    case .leaseGrant: "LeaseGrant"
    case .leaseRevoke: "LeaseRevoke"
    case .leaseKeepAlive: "LeaseKeepAlive"
    case .leaseTimeToLive: "LeaseTimeToLive"
    case .leaseLeases: "LeaseLeases"
    case .status: "Status"
    case .health: "Check"
    case .snapshot: "Snapshot"
    case .alarm: "Alarm"
    case .hash: "Hash"
    case .hashKV: "HashKV"
    case .rangeStream: "RangeStream"
    }
  }

  /// True where the request goes through the log and its answer comes later; a transaction that only reads, and the list
  /// of alarms, are the exceptions.
  package var isWrite: Bool {
    switch self {
    case .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke, .alarm: true
    case .range, .watch, .leaseKeepAlive, .leaseTimeToLive, .leaseLeases, .status, .health, .snapshot, .hash, .hashKV,
      .rangeStream:
      false
    }
  }

  /// True where requests and answers are streams: a call lasts as long as its client likes.
  package var isStream: Bool { self == .watch || self == .leaseKeepAlive }

  /// True where another thread answers later.
  package var isDeferred: Bool {
    switch self {
    case .leaseKeepAlive, .leaseTimeToLive, .leaseLeases, .snapshot, .hash, .hashKV: true
    default: isWrite
    }
  }
}
