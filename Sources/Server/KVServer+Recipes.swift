// Requests of the Lock and Election services: the recipe thread's to carry out, but for a look at who leads.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension KVServer {
  /// Waits for a lock. The answer comes through the reply sink when the lock is the caller's: `reply` is patient, and whoever
  /// holds its connection calls `cancel` or `connectionClosed` when nobody waits for it any more.
  package func lock(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: LockRequestView
    do { request = try LockRequestView(body) } catch { throw malformed("LockRequest", error) }
    try recipes.begin(.lock(name: [UInt8](request.name), lease: request.lease), reply: reply)
  }

  package func unlock(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: NameRequestView
    do { request = try NameRequestView(body) } catch { throw malformed("UnlockRequest", error) }
    try recipes.begin(.unlock(key: [UInt8](request.name)), reply: reply)
  }

  /// Waits for leadership, as `lock` does for a lock.
  package func campaign(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: CampaignRequestView
    do { request = try CampaignRequestView(body) } catch { throw malformed("CampaignRequest", error) }
    try recipes.begin(
      .campaign(name: [UInt8](request.name), lease: request.lease, value: [UInt8](request.value)), reply: reply)
  }

  package func proclaim(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request = try leaderKeyRequest("ProclaimRequest", body)
    try recipes.begin(.proclaim(request.leader, value: request.value), reply: reply)
  }

  package func resign(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    try recipes.begin(.resign(leaderKeyRequest("ResignRequest", body).leader), reply: reply)
  }

  private func leaderKeyRequest(
    _ name: String, _ body: UnsafeRawBufferPointer
  ) throws(StatusError) -> (leader: LeaderKey, value: [UInt8]) {
    let request: LeaderKeyRequest
    do { request = try LeaderKeyRequest(body) } catch { throw malformed(name, error) }
    guard let leader = request.leader else { throw StatusError.missingLeaderKey }
    return (leader, request.value)
  }

  /// Appends a LeaderResponse: the oldest key under the name.
  package func leader(
    _ body: UnsafeRawBufferPointer, _ view: SnapshotView, into out: inout OutBuffer
  ) throws(StatusError) {
    let request: NameRequestView
    do { request = try NameRequestView(body) } catch { throw malformed("LeaderRequest", error) }
    let (prefix, end) = QueuePlace.bounds([UInt8](request.name))
    var answer = LeaderResponse()
    answer.header = recipes.header(view)
    let oldest = try recipes.pairs(view, prefix, end) { query in
      query.target = .createRevision
      query.order = .ascend
      query.limit = 1
    }
    guard let pair = oldest.first else { throw StatusError.noElectionLeader }
    answer.kv = pair
    answer.encode(to: &out)
  }

  /// Follows an election: LeaderResponses come as deliveries for the stream, until it is ended by `endObserve` or by a
  /// delivery's `endCode`. The request is counted there as taken.
  package func observe(_ body: UnsafeRawBufferPointer, on stream: ResponseStream) throws(StatusError) {
    let request: NameRequestView
    do { request = try NameRequestView(body) } catch { throw malformed("LeaderRequest", error) }
    recipes.post(.observe(name: [UInt8](request.name), stream))
  }

  /// The stream is over: nothing more is wanted.
  package func endObserve(_ stream: ResponseStream) { recipes.post(.closed(stream)) }

  /// The stream's client has taken what the server waited for.
  package func observeDrained(_ stream: ResponseStream) { recipes.post(.drained(stream)) }

  /// Gives a waiting call up: it is answered with Canceled, unless its answer is on its way, and leaves its queue.
  package func cancel(_ reply: ReplyAddress) { recipes.post(.cancel(CallName(reply))) }

  /// A connection with patient calls is gone: they are given up.
  package func connectionClosed(reactor: UInt16, _ connection: ConnectionPointer) {
    recipes.post(
      .lost(
        CallName.Connection(
          reactor: reactor, slot: connection.pointee.slot, generation: connection.pointee.generation)))
  }

  /// Proposes a transaction of the server's own, which surely changes something.
  func change(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    var out = OutBuffer()
    defer { out.free() }
    let isAnswered = try recipes.withView { (view) throws(StatusError) in
      try txn(body, pin: { view }, reply: reply, into: &out)
    }
    if isAnswered { throw StatusError(.internal, "needletail: a change that changes nothing") }
  }
}
