// Calls that are one request and one answer, whichever face they came by: the message in, the answer's message out.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Appends the answer's message to the connection's output and gives true; or gives false where it comes later, to the
  /// address given, and is counted as deferred. What an error leaves in the output is the caller's to cut off.
  @inline(__always)
  mutating func answer(
    _ rpc: RPC, _ body: UnsafeRawBufferPointer, _ connection: ConnectionPointer, _ reply: ReplyAddress
  ) throws(StatusError) -> Bool {
    guard _fastPath(rpc == .range) else { return try answerOther(rpc, body, connection, reply) }
    let request: RangeRequestView
    do { request = try RangeRequestView(body) } catch { throw malformedRange(error) }
    try server.range(view(), request, cuts: cuts, into: &connection.pointee.output)
    return true
  }

  @inline(never)
  private func malformedRange(_ error: ProtoError) -> StatusError { server.malformed("RangeRequest", error) }

  @inline(never)
  private mutating func answerOther(
    _ rpc: RPC, _ body: UnsafeRawBufferPointer, _ connection: ConnectionPointer, _ reply: ReplyAddress
  ) throws(StatusError) -> Bool {
    switch rpc {
    case .put: try server.put(body, reply: reply)
    case .deleteRange: try server.deleteRange(body, reply: reply)
    case .compact: try server.compact(body, reply: reply)
    case .leaseGrant: try server.grantLease(body, reply: reply)
    case .leaseRevoke: try server.revokeLease(body, reply: reply)
    case .leaseKeepAlive: try server.keepLeaseAlive(body, reply: reply)
    case .leaseTimeToLive: try server.leaseTimeToLive(body, reply: reply)
    case .leaseLeases: try server.listLeases(body, reply: reply)
    case .snapshot: try server.snapshot(body, reply: reply)
    case .hash: try server.hash(reply: reply)
    case .hashKV: try server.hashKV(body, reply: reply)
    case .txn:
      if try server.txn(body, pin: { view() }, reply: reply, into: &connection.pointee.output) { return true }
    case .alarm:
      if try server.alarm(body, pin: { view() }, reply: reply, into: &connection.pointee.output) { return true }
    case .status:
      status().encode(to: &connection.pointee.output)
      return true
    case .health:
      if let illness = illness() { throw StatusError(.unavailable, illness) }
      return true
    case .leader:
      try server.leader(body, view(), into: &connection.pointee.output)
      return true
    case .moveLeader, .memberList, .memberAdd, .memberRemove, .memberUpdate, .memberPromote:
      try server.cluster(rpc, body, into: &connection.pointee.output)
      return true
    case .unlock: try server.unlock(body, reply: reply)
    case .proclaim: try server.proclaim(body, reply: reply)
    case .resign: try server.resign(body, reply: reply)
    case .defragment: try server.defragment(reply: reply)
    case .lock, .campaign:
      try waitForOthers(rpc, body, connection, reply)
      return false
    case .range, .rangeStream, .watch, .observe, .healthWatch, .reflect, .reflectAlpha:
      throw StatusError(.internal, "needletail: \(rpc.name) is no call of one answer")
    }
    connection.pointee.deferAnswer()
    return false
  }

  /// What waits for what others do is counted apart.
  private func waitForOthers(
    _ rpc: RPC, _ body: UnsafeRawBufferPointer, _ connection: ConnectionPointer, _ reply: ReplyAddress
  ) throws(StatusError) {
    var reply = reply
    reply.isPatient = true
    guard connection.pointee.beginPatientCall() else { throw StatusError.tooManyRequests }
    do throws(StatusError) {
      if rpc == .lock { try server.lock(body, reply: reply) } else { try server.campaign(body, reply: reply) }
    } catch {
      connection.pointee.endPatientCall()
      throw error
    }
  }

  // MARK: - Maintenance

  private mutating func status() -> StatusResponse {
    let node = server.status
    let identity = server.store.identity
    var answer = StatusResponse()
    answer.header = ResponseHeader(
      clusterID: identity.clusterID, memberID: identity.memberID,
      revision: Int64(clamping: view().word(StoreWord.revision)), raftTerm: node.term.load(ordering: .relaxed))
    answer.version = Version.compatible
    answer.dbSize = Int64(clamping: context.figures.databaseBytes.load(ordering: .relaxed))
    answer.dbSizeInUse = Int64(clamping: context.figures.databaseLiveBytes.load(ordering: .relaxed))
    answer.leader = answer.header.memberID
    answer.raftIndex = node.committed.load(ordering: .relaxed)
    answer.raftTerm = node.term.load(ordering: .relaxed)
    answer.raftAppliedIndex = node.applied.load(ordering: .relaxed)
    if let illness = illness() { answer.errors = [illness] }
    answer.errors += node.alarms.list.map { AlarmMember($0).description }
    return answer
  }

  /// Why this server can't do all of its work now; nil while it can.
  func illness(excludingNoSpace: Bool = false) -> String? {
    if let failure = context.latch.failure { return failure }
    let node = server.status
    if node.isStopping.load(ordering: .relaxed) { return "etcdserver: server stopped" }
    if let damage = node.scrub.illness { return damage }
    let isFull = node.isLogFull.load(ordering: .relaxed) || node.isApplyStalled.load(ordering: .relaxed)
    return isFull && !excludingNoSpace ? "NOSPACE: no space left on the data directory's disk" : nil
  }
}
