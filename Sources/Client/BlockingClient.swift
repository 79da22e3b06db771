// The client for a program that has nothing else to do while it waits: no thread, no task, the caller turns the wheel.

import NeedletailRPC

/// Calls that wait for their answers. Not thread-safe.
package final class BlockingClient {
  package let endpoints: [Endpoint]
  /// How long a call may take in all; nil = as long as it takes.
  package var timeout: Duration?

  package let dispatcher: Dispatcher
  let dialTimeout: Duration

  package init(
    _ endpoints: [Endpoint], timeout: Duration? = .seconds(5), options: DispatcherOptions = DispatcherOptions()
  ) {
    self.endpoints = endpoints
    self.timeout = timeout
    dialTimeout = options.dialTimeout
    dispatcher = Dispatcher(endpoints, options)
  }

  package func range(_ request: RangeRequest) throws(ClientError) -> RangeResponse {
    let body = try call(.range, request.encoded(), .read)
    return try decode(body) { bytes throws(ProtoError) in try RangeResponse(bytes) }
  }

  package func put(_ request: PutRequest) throws(ClientError) -> PutResponse {
    let body = try call(.put, request.encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try PutResponse(bytes) }
  }

  package func deleteRange(_ request: DeleteRangeRequest) throws(ClientError) -> DeleteRangeResponse {
    let body = try call(.deleteRange, request.encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try DeleteRangeResponse(bytes) }
  }

  package func txn(_ request: TxnRequest) throws(ClientError) -> TxnResponse {
    let body = try call(.txn, request.encoded(), request.isReadOnly ? .read : .write)
    return try decode(body) { bytes throws(ProtoError) in try TxnResponse(bytes) }
  }

  package func compact(_ revision: Int64, physical: Bool) throws(ClientError) -> CompactionResponse {
    let body = try call(.compact, CompactionRequestView(revision, physical).encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try CompactionResponse(bytes) }
  }

  package func grantLease(ttl: Int64, id: Int64 = 0) throws(ClientError) -> LeaseResponse {
    try lease(.leaseGrant, .grant(id: id, ttl: ttl), .write)
  }

  /// Ends a lease and deletes its keys.
  @discardableResult
  package func revokeLease(_ id: Int64) throws(ClientError) -> LeaseResponse {
    try lease(.leaseRevoke, LeaseRequestView(id), .write)
  }

  /// Gives a lease all of its time again. The answer's TTL is 0 where there is no such lease.
  package func keepLeaseAlive(_ id: Int64) throws(ClientError) -> LeaseResponse {
    try lease(.leaseKeepAlive, LeaseRequestView(id), .read)
  }

  /// The answer's TTL is -1 where there is no such lease.
  package func leaseTimeToLive(_ id: Int64, keys: Bool = false) throws(ClientError) -> LeaseResponse {
    try lease(.leaseTimeToLive, LeaseRequestView(id, keys ? 1 : 0), .read)
  }

  package func listLeases() throws(ClientError) -> LeaseListResponse {
    let body = try call(.leaseLeases, [], .read)
    return try decode(body) { bytes throws(ProtoError) in try LeaseListResponse(bytes) }
  }

  private func lease(
    _ method: Method, _ request: LeaseRequestView, _ kind: Operation.Kind
  ) throws(ClientError) -> LeaseResponse {
    let body = try call(method, request.encoded(), kind)
    return try decode(body) { bytes throws(ProtoError) in try LeaseResponse(bytes) }
  }

  /// Asks every endpoint the same at once. Answers come in the endpoints' order, each with the time it took.
  package func askAll(
    _ method: Method, _ body: [UInt8] = []
  ) -> [(result: Result<[UInt8], ClientError>, took: Duration)] {
    let start = Instant.now
    var answers: [(result: Result<[UInt8], ClientError>, took: Duration)] = endpoints.map { _ in
      (.failure(.closed), .zero)
    }
    var left = endpoints.count
    for at in endpoints.indices {
      dispatcher.submit(
        Operation(method, body: body, kind: .read, endpoint: at, deadline: deadline) { result in
          answers[at] = (result, Instant.now - start)
          left -= 1
        })
    }
    while left > 0 { dispatcher.step(until: .never) }
    return answers
  }

  var deadline: Instant { timeout.map { Instant.now + $0 } ?? .never }

  func call(_ method: Method, _ body: [UInt8], _ kind: Operation.Kind) throws(ClientError) -> [UInt8] {
    var result: Result<[UInt8], ClientError>?
    dispatcher.submit(Operation(method, body: body, kind: kind, deadline: deadline) { result = $0 })
    while true {
      if let result { return try result.get() }
      dispatcher.step(until: .never)
    }
  }
}

/// Reads an answer's message; broken bytes are the server's fault.
package func decode<Message>(
  _ body: [UInt8], _ read: (UnsafeRawBufferPointer) throws(ProtoError) -> Message
) throws(ClientError) -> Message {
  do {
    return try body.withUnsafeBytes { bytes throws(ProtoError) in try read(bytes) }
  } catch {
    throw .protocolViolation("broken answer: \(error)")
  }
}
