// Requests of the Cluster service, and of Maintenance what concerns members: of one member, as etcd answers them with one.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// What the member is told of itself.
package struct MemberOptions: Sendable {
  package var name = "default"
  package var peerURLs = ["http://localhost:2380"]
  package var clientURLs = ["http://localhost:2379"]

  package init() {}
}

extension KVServer {
  private static let unsupported = StatusError(
    .unimplemented, "needletail: this server has no peers: its membership can't be changed")

  /// Appends the answer to a request of the Cluster service, or to MoveLeader. The list is always the newest there is.
  package func cluster(
    _ rpc: RPC, _ body: UnsafeRawBufferPointer, into out: inout OutBuffer
  ) throws(StatusError) {
    let form: MemberRequest.Form =
      switch rpc {
      case .memberAdd: .urls
      case .memberUpdate: .numberAndURLs
      default: .number
      }
    let request: MemberRequest
    do { request = try MemberRequest(form, body) } catch { throw malformed(rpc.name + "Request", error) }
    switch rpc {
    case .memberList: return members().encode(to: &out)
    case .memberAdd: throw refusal(adding: request)
    case .moveLeader:
      // Whoever leads already need not be moved to: as etcd, the answer is empty.
      guard request.number == store.identity.memberID else { throw StatusError.badLeaderTransferee }
      return HeaderResponse().encode(to: &out)
    default: break
    }
    guard request.number == store.identity.memberID else { throw StatusError.memberNotFound }
    switch rpc {
    case .memberRemove: throw StatusError.notEnoughStarted
    case .memberPromote: throw StatusError.memberNotLearner
    default:
      guard request.peerURLs == member.peerURLs else { throw KVServer.unsupported }
      members().encode(to: &out)
    }
  }

  private func members() -> MemberResponse {
    var one = Member()
    one.id = store.identity.memberID
    one.name = member.name
    one.peerURLs = member.peerURLs
    one.clientURLs = member.clientURLs
    var answer = MemberResponse()
    // A cluster's answers say nothing of the store's revision.
    answer.header = ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID,
      raftTerm: status.term.load(ordering: .relaxed))
    answer.members = [one]
    return answer
  }

  private func refusal(adding request: MemberRequest) -> StatusError {
    guard !request.peerURLs.isEmpty, request.peerURLs.allSatisfy(KVServer.isPeerURL) else {
      return StatusError.badMemberURLs
    }
    if request.peerURLs.contains(where: member.peerURLs.contains) { return StatusError.peerURLExists }
    return KVServer.unsupported
  }

  /// etcd's rule for URLs of peers: http or https, a host and a port, and no path.
  static func isPeerURL(_ text: String) -> Bool {
    guard let scheme = ["http://", "https://"].first(where: text.hasPrefix) else { return false }
    let address = text.dropFirst(scheme.count)
    guard let colon = address.lastIndex(of: ":"), colon != address.startIndex else { return false }
    let port = address[address.index(after: colon)...]
    return !address.contains("/") && UInt16(port) != nil
  }
}
