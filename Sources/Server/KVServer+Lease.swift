// Requests of the Lease service: grants and revocations are proposed, the rest is the lease thread's to answer.
import NeedletailMVCC
import NeedletailRPC

extension KVServer {
  /// Chooses the id, where the client leaves it open, and raises the TTL to the least there is; then proposes.
  package func grantLease(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request = try leaseRequest("LeaseGrantRequest", body)
    // In etcd's order: what an alarm refuses is not looked at.
    guard try admit(Quota.leaseCost, reply: reply) else { return }
    guard request.first <= StoreWriter.leaseTTLMax else { throw StatusError(MVCCError.leaseTTLTooLarge) }
    let id = request.second == 0 ? Int64.random(in: 1...Int64.max) : request.second
    let chosen = LeaseRequestView.grant(id: id, ttl: max(request.first, leases.options.ttlMin)).encoded()
    let refusal: StatusError? = chosen.withUnsafeBytes { body in
      do throws(StatusError) {
        try propose(.leaseGrant, body, reply)
        return nil
      } catch {
        return error
      }
    }
    if let refusal { throw refusal }
  }

  package func revokeLease(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    _ = try leaseRequest("LeaseRevokeRequest", body)
    _ = try admit(0, reply: reply)
    try propose(.leaseRevoke, body, reply)
  }

  package func keepLeaseAlive(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    try ask(.keepAlive, try leaseRequest("LeaseKeepAliveRequest", body), reply)
  }

  package func leaseTimeToLive(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    try ask(.timeToLive, try leaseRequest("LeaseTimeToLiveRequest", body), reply)
  }

  package func listLeases(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    try ask(.list, try leaseRequest("LeaseLeasesRequest", body), reply)
  }

  private func ask(
    _ event: LeaseThread.Event, _ request: LeaseRequestView, _ reply: ReplyAddress
  ) throws(StatusError) {
    guard leases.post(event, request.first, request.second, reply: reply) else { throw StatusError.tooManyRequests }
  }

  private func leaseRequest(_ name: String, _ body: UnsafeRawBufferPointer) throws(StatusError) -> LeaseRequestView {
    do { return try LeaseRequestView(body) } catch { throw malformed(name, error) }
  }
}
