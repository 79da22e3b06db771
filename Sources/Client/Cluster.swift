// Calls about the servers themselves: who they are, and what they shall do for their files.

import NeedletailRPC

public typealias Member = NeedletailRPC.Member
public typealias MemberResponse = NeedletailRPC.MemberResponse

extension Client {
  /// The cluster's members.
  public func members() async throws(ClientError) -> MemberResponse {
    let body = try await call(.memberList, MemberRequest.list.encoded(), .read)
    return try decode(body) { bytes throws(ProtoError) in try MemberResponse(bytes) }
  }

  /// Has one server give free space back to the file system, beside reads and writes: `endpoint` is an index into those
  /// given to `init`.
  public func defragment(endpoint: Int) async throws(ClientError) {
    let body = try await call(.defragment, [], .write, endpoint)
    _ = try decode(body) { bytes throws(ProtoError) in try HeaderResponse(bytes) }
  }
}

extension BlockingClient {
  package func members() throws(ClientError) -> MemberResponse {
    let body = try call(.memberList, MemberRequest.list.encoded(), .read)
    return try decode(body) { bytes throws(ProtoError) in try MemberResponse(bytes) }
  }

  package func changeMember(_ method: Method, _ request: MemberRequest) throws(ClientError) -> MemberResponse {
    let body = try call(method, request.encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try MemberResponse(bytes, isAdd: method == .memberAdd) }
  }

  package func moveLeader(to id: UInt64) throws(ClientError) {
    var request = MemberRequest(.number)
    request.number = id
    let body = try call(.moveLeader, request.encoded(), .write)
    _ = try decode(body) { bytes throws(ProtoError) in try HeaderResponse(bytes) }
  }
}

extension MemberRequest {
  /// The list, as new as there is.
  fileprivate static var list: MemberRequest {
    var request = MemberRequest(.number)
    request.number = 1
    return request
  }
}
