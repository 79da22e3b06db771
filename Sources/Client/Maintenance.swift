// Calls of the Maintenance service: alarms and hashes.

import NeedletailRPC

public typealias AlarmMember = NeedletailRPC.AlarmMember
public typealias AlarmResponse = NeedletailRPC.AlarmResponse
public typealias HashResponse = NeedletailRPC.HashResponse

extension Client {
  /// The alarms that are raised.
  public func alarms() async throws(ClientError) -> AlarmResponse { try await alarm(.get, AlarmMember(), .read) }

  /// Takes an alarm back. The answer is empty where it was not raised.
  @discardableResult
  public func disarm(_ alarm: AlarmMember) async throws(ClientError) -> AlarmResponse {
    try await self.alarm(.deactivate, alarm, .write)
  }

  private func alarm(
    _ action: AlarmRequestView.Action, _ member: AlarmMember, _ kind: Operation.Kind
  ) async throws(ClientError) -> AlarmResponse {
    let body = try await call(.alarm, AlarmRequestView(action, member).encoded(), kind)
    return try decode(body) { bytes throws(ProtoError) in try AlarmResponse(bytes) }
  }

  /// One server's hash of all pairs and events at a revision, 0 = the newest: `endpoint` is an index into those given to
  /// `init`. Takes as long as reading the store does.
  public func hashKV(revision: Int64 = 0, endpoint: Int) async throws(ClientError) -> HashResponse {
    let body = try await call(.hashKV, HashKVRequestView(revision).encoded(), .read, endpoint)
    return try decode(body) { bytes throws(ProtoError) in try HashResponse(bytes) }
  }
}

extension BlockingClient {
  package func alarms() throws(ClientError) -> AlarmResponse { try alarm(.get, AlarmMember(), .read) }

  package func disarm(_ alarm: AlarmMember) throws(ClientError) -> AlarmResponse {
    try self.alarm(.deactivate, alarm, .write)
  }

  private func alarm(
    _ action: AlarmRequestView.Action, _ member: AlarmMember, _ kind: Operation.Kind
  ) throws(ClientError) -> AlarmResponse {
    let body = try call(.alarm, AlarmRequestView(action, member).encoded(), kind)
    return try decode(body) { bytes throws(ProtoError) in try AlarmResponse(bytes) }
  }
}
