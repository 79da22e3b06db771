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
  case defragment
  case moveLeader
  case memberList
  case memberAdd
  case memberRemove
  case memberUpdate
  case memberPromote
  case lock
  case unlock
  case campaign
  case proclaim
  case leader
  case observe
  case resign
  case healthWatch
  case reflect
  case reflectAlpha

  package static var count: Int { allCases.count }

  /// Its number in the native protocol's frames; nil where that does not have it.
  package var method: Method? {
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
    case .defragment: .defragment
    case .moveLeader: .moveLeader
    case .memberList: .memberList
    case .memberAdd: .memberAdd
    case .memberRemove: .memberRemove
    case .memberUpdate: .memberUpdate
    case .memberPromote: .memberPromote
    case .lock: .lock
    case .unlock: .unlock
    case .campaign: .campaign
    case .proclaim: .proclaim
    case .leader: .leader
    case .observe: .observe
    case .resign: .resign
    case .healthWatch, .reflect, .reflectAlpha: nil
    }
  }

  /// The same for an answer's address: 0 where there is none, which no call has.
  package var methodNumber: UInt16 { method?.rawValue ?? 0 }

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
    case .defragment: self = .defragment
    case .moveLeader: self = .moveLeader
    case .memberList: self = .memberList
    case .memberAdd: self = .memberAdd
    case .memberRemove: self = .memberRemove
    case .memberUpdate: self = .memberUpdate
    case .memberPromote: self = .memberPromote
    case .lock: self = .lock
    case .unlock: self = .unlock
    case .campaign: self = .campaign
    case .proclaim: self = .proclaim
    case .leader: self = .leader
    case .observe: self = .observe
    case .resign: self = .resign
    default: return nil
    }
  }

  /// gRPC's names, as metrics and logs show them.
  package var service: String {
    switch self {
    case .range, .put, .deleteRange, .txn, .compact, .rangeStream: "etcdserverpb.KV"
    case .watch: "etcdserverpb.Watch"
    case .leaseGrant, .leaseRevoke, .leaseKeepAlive, .leaseTimeToLive, .leaseLeases: "etcdserverpb.Lease"
    case .status, .snapshot, .alarm, .hash, .hashKV, .defragment, .moveLeader: "etcdserverpb.Maintenance"
    case .memberList, .memberAdd, .memberRemove, .memberUpdate, .memberPromote: "etcdserverpb.Cluster"
    case .lock, .unlock: "v3lockpb.Lock"
    case .campaign, .proclaim, .leader, .observe, .resign: "v3electionpb.Election"
    case .health, .healthWatch: "grpc.health.v1.Health"
    case .reflect: "grpc.reflection.v1.ServerReflection"
    case .reflectAlpha: "grpc.reflection.v1alpha.ServerReflection"
    }
  }

  package var name: String {
    switch self {
    case .range: "Range"
    case .put: "Put"
    case .deleteRange: "DeleteRange"
    case .txn: "Txn"
    case .compact: "Compact"
    case .watch, .healthWatch: "Watch"
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
    case .defragment: "Defragment"
    case .moveLeader: "MoveLeader"
    case .memberList: "MemberList"
    case .memberAdd: "MemberAdd"
    case .memberRemove: "MemberRemove"
    case .memberUpdate: "MemberUpdate"
    case .memberPromote: "MemberPromote"
    case .lock: "Lock"
    case .unlock: "Unlock"
    case .campaign: "Campaign"
    case .proclaim: "Proclaim"
    case .leader: "Leader"
    case .observe: "Observe"
    case .resign: "Resign"
    case .reflect, .reflectAlpha: "ServerReflectionInfo"
    }
  }

  /// True where the request goes through the log and its answer comes later; a transaction that only reads, and the list
  /// of alarms, are the exceptions.
  package var isWrite: Bool {
    switch self {
    case .put, .deleteRange, .txn, .compact, .leaseGrant, .leaseRevoke, .alarm, .unlock, .proclaim, .resign: true
    default: false
    }
  }

  /// True where answers are a stream, of most of them requests too: a call lasts as long as its client likes.
  package var isStream: Bool {
    switch self {
    case .watch, .leaseKeepAlive, .observe, .healthWatch, .reflect, .reflectAlpha: true
    default: false
    }
  }

  /// True where another thread sends on the stream by itself, within a budget.
  package var hasSender: Bool { self == .watch || self == .observe }

  /// True where the one answer comes when others have done something: the address that it goes to must say so.
  package var isPatient: Bool { self == .lock || self == .campaign }

  /// True where another thread answers later.
  package var isDeferred: Bool {
    switch self {
    case .leaseKeepAlive, .leaseTimeToLive, .leaseLeases, .snapshot, .hash, .hashKV, .defragment, .lock, .campaign: true
    default: isWrite
    }
  }

  /// What etcd's metrics call the kind of the call.
  package var grpcType: String {
    switch self {
    case .watch, .leaseKeepAlive, .reflect, .reflectAlpha: "bidi_stream"
    case .observe, .healthWatch, .rangeStream, .snapshot: "server_stream"
    default: "unary"
    }
  }
}
