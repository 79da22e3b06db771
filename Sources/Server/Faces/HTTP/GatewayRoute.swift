// The paths of the JSON gateway and what stands behind each: etcd's, from the annotations of its services.
import NeedletailRPC

struct GatewayRoute: Sendable {
  enum Style: Sendable {
    case unary
    /// Messages both ways, until the client has sent its last and all are answered; of a watch or an observer, who sends
    /// one, until the client goes; of a snapshot until its end.
    case stream
  }

  let path: String
  let rpc: RPC
  let request: MessageShape
  let answer: MessageShape
  let style: Style

  private init?(_ path: String, _ rpc: RPC, _ message: String, _ style: Style = .unary) {
    let table = MessageTable.services
    guard let request = table.message(message + "Request"), let answer = table.message(message + "Response") else {
      return nil
    }
    self.path = path
    self.rpc = rpc
    self.request = request
    self.answer = answer
    self.style = style
  }

  /// By the path behind the version.
  private static let table: [String: GatewayRoute] = {
    var table: [String: GatewayRoute] = [:]
    for route in served.compactMap({ $0 }) { table[route.path] = route }
    return table
  }()

  private static let served: [GatewayRoute?] = [
    GatewayRoute("kv/range", .range, "Range"),
    GatewayRoute("kv/put", .put, "Put"),
    GatewayRoute("kv/deleterange", .deleteRange, "DeleteRange"),
    GatewayRoute("kv/txn", .txn, "Txn"),
    GatewayRoute("kv/compaction", .compact, "Compaction"),
    GatewayRoute("watch", .watch, "Watch", .stream),
    GatewayRoute("lease/grant", .leaseGrant, "LeaseGrant"),
    GatewayRoute("lease/revoke", .leaseRevoke, "LeaseRevoke"),
    GatewayRoute("kv/lease/revoke", .leaseRevoke, "LeaseRevoke"),
    GatewayRoute("lease/keepalive", .leaseKeepAlive, "LeaseKeepAlive", .stream),
    GatewayRoute("lease/timetolive", .leaseTimeToLive, "LeaseTimeToLive"),
    GatewayRoute("kv/lease/timetolive", .leaseTimeToLive, "LeaseTimeToLive"),
    GatewayRoute("lease/leases", .leaseLeases, "LeaseLeases"),
    GatewayRoute("kv/lease/leases", .leaseLeases, "LeaseLeases"),
    GatewayRoute("maintenance/status", .status, "Status"),
    GatewayRoute("maintenance/alarm", .alarm, "Alarm"),
    GatewayRoute("maintenance/hash", .hash, "Hash"),
    GatewayRoute("maintenance/hashkv", .hashKV, "HashKV"),
    GatewayRoute("maintenance/defragment", .defragment, "Defragment"),
    GatewayRoute("maintenance/snapshot", .snapshot, "Snapshot", .stream),
    GatewayRoute("maintenance/transfer-leadership", .moveLeader, "MoveLeader"),
    GatewayRoute("cluster/member/list", .memberList, "MemberList"),
    GatewayRoute("cluster/member/add", .memberAdd, "MemberAdd"),
    GatewayRoute("cluster/member/remove", .memberRemove, "MemberRemove"),
    GatewayRoute("cluster/member/update", .memberUpdate, "MemberUpdate"),
    GatewayRoute("cluster/member/promote", .memberPromote, "MemberPromote"),
    GatewayRoute("lock/lock", .lock, "Lock"),
    GatewayRoute("lock/unlock", .unlock, "Unlock"),
    GatewayRoute("election/campaign", .campaign, "Campaign"),
    GatewayRoute("election/proclaim", .proclaim, "Proclaim"),
    GatewayRoute("election/leader", .leader, "Leader"),
    GatewayRoute("election/observe", .observe, "Leader", .stream),
    GatewayRoute("election/resign", .resign, "Resign"),
  ]

  /// What etcd has and this server does not serve yet.
  private static let missing: Set<String> = [
    "maintenance/downgrade", "auth/enable", "auth/disable", "auth/status", "auth/authenticate",
    "auth/user/add", "auth/user/get", "auth/user/list", "auth/user/delete", "auth/user/changepw", "auth/user/grant",
    "auth/user/revoke", "auth/role/add", "auth/role/get", "auth/role/list", "auth/role/delete", "auth/role/grant",
    "auth/role/revoke",
  ]

  enum Found {
    case route(GatewayRoute)
    case unimplemented
    case nothing
  }

  /// Nil where the path is not the gateway's at all. The older versions have the same calls.
  static func find(_ path: UnsafeRawBufferPointer) -> Found? {
    for prefix in ["/v3/", "/v3beta/", "/v3alpha/"] where path.starts(with: prefix.utf8) {
      let name = String(decoding: path.dropFirst(prefix.utf8.count), as: UTF8.self)
      if let route = table[name] { return .route(route) }
      return missing.contains(name) ? .unimplemented : .nothing
    }
    return nil
  }
}
