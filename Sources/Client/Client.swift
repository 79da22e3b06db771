// The client for programs that use async/await. One thread turns the dispatcher's wheel; calls from any number of tasks
// are pipelined over its connections.
//
// The thread and the tasks meet in a mailbox behind a mutex; a pipe wakes the thread. Nothing else is shared.

import Glibc
import NeedletailRPC

/// A client of a Needletail cluster.
///
///     let client = Client(endpoints: [try Endpoint("127.0.0.1:2379")])
///     try await client.put("greeting", "hello")
///     let pair = try await client.get("greeting")
///
/// Calls may be made from any task, many at once. Requests go round-robin over the endpoints; reads are tried again
/// elsewhere when a server is unavailable, writes only when they were surely not executed.
public final class Client: Sendable {
  let driver: ClientDriver
  let timeout: Duration
  let dialTimeout: Duration
  let endpoints: [Endpoint]

  /// - Parameters:
  ///   - endpoints: at least one server.
  ///   - timeout: how long a call may take in all.
  ///   - dialTimeout: how long a server may take to accept a connection.
  public init(
    endpoints: [Endpoint], timeout: Duration = .seconds(5), dialTimeout: Duration = .seconds(2)
  ) throws(ClientError) {
    guard !endpoints.isEmpty else { throw .unreachable("no endpoints are given") }
    var options = DispatcherOptions()
    options.dialTimeout = dialTimeout
    self.timeout = timeout
    self.dialTimeout = dialTimeout
    self.endpoints = endpoints
    driver = try ClientDriver(endpoints, options)
  }

  deinit { driver.close() }

  /// Ends the client. Calls that are still on their way fail with `ClientError.closed`.
  public func close() { driver.close() }

  public func range(_ request: RangeRequest) async throws(ClientError) -> RangeResponse {
    let body = try await call(.range, request.encoded(), .read)
    return try decode(body) { bytes throws(ProtoError) in try RangeResponse(bytes) }
  }

  public func put(_ request: PutRequest) async throws(ClientError) -> PutResponse {
    let body = try await call(.put, request.encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try PutResponse(bytes) }
  }

  public func deleteRange(_ request: DeleteRangeRequest) async throws(ClientError) -> DeleteRangeResponse {
    let body = try await call(.deleteRange, request.encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try DeleteRangeResponse(bytes) }
  }

  public func txn(_ request: TxnRequest) async throws(ClientError) -> TxnResponse {
    let body = try await call(.txn, request.encoded(), request.isReadOnly ? .read : .write)
    return try decode(body) { bytes throws(ProtoError) in try TxnResponse(bytes) }
  }

  /// Gives up history below `revision`. `physical`: returns only when the space is free.
  @discardableResult
  public func compact(_ revision: Int64, physical: Bool = false) async throws(ClientError) -> CompactionResponse {
    let body = try await call(.compact, CompactionRequestView(revision, physical).encoded(), .write)
    return try decode(body) { bytes throws(ProtoError) in try CompactionResponse(bytes) }
  }

  // MARK: Leases. A TTL is in seconds; the server raises short ones to its least.

  public func grantLease(ttl: Int64, id: Int64 = 0) async throws(ClientError) -> LeaseResponse {
    try await lease(.leaseGrant, .grant(id: id, ttl: ttl), .write)
  }

  /// Ends a lease and deletes its keys.
  @discardableResult
  public func revokeLease(_ id: Int64) async throws(ClientError) -> LeaseResponse {
    try await lease(.leaseRevoke, LeaseRequestView(id), .write)
  }

  /// Gives a lease all of its time again. The answer's TTL is 0 where there is no such lease.
  public func keepLeaseAlive(_ id: Int64) async throws(ClientError) -> LeaseResponse {
    try await lease(.leaseKeepAlive, LeaseRequestView(id), .read)
  }

  /// The answer's TTL is -1 where there is no such lease.
  public func leaseTimeToLive(_ id: Int64, keys: Bool = false) async throws(ClientError) -> LeaseResponse {
    try await lease(.leaseTimeToLive, LeaseRequestView(id, keys ? 1 : 0), .read)
  }

  public func listLeases() async throws(ClientError) -> LeaseListResponse {
    let body = try await call(.leaseLeases, [], .read)
    return try decode(body) { bytes throws(ProtoError) in try LeaseListResponse(bytes) }
  }

  private func lease(
    _ method: Method, _ request: LeaseRequestView, _ kind: Operation.Kind
  ) async throws(ClientError) -> LeaseResponse {
    let body = try await call(method, request.encoded(), kind)
    return try decode(body) { bytes throws(ProtoError) in try LeaseResponse(bytes) }
  }

  /// The state of one server: `endpoint` is an index into those given to `init`, nil means any.
  public func status(endpoint: Int? = nil) async throws(ClientError) -> StatusResponse {
    let body = try await call(.status, [], .read, endpoint)
    return try decode(body) { bytes throws(ProtoError) in try StatusResponse(bytes) }
  }

  // MARK: Short forms for text keys

  /// The pair under `key`, or nil.
  public func get(_ key: String) async throws(ClientError) -> KeyValue? {
    try await range(RangeRequest(.key([UInt8](key.utf8)))).kvs.first
  }

  /// Returns the revision of the write.
  @discardableResult
  public func put(_ key: String, _ value: String) async throws(ClientError) -> Int64 {
    try await put(PutRequest(key: [UInt8](key.utf8), value: [UInt8](value.utf8))).header.revision
  }

  /// Whether the key was there.
  @discardableResult
  public func delete(_ key: String) async throws(ClientError) -> Bool {
    try await deleteRange(DeleteRangeRequest(.key([UInt8](key.utf8)))).deleted > 0
  }

  func call(
    _ method: Method, _ body: [UInt8], _ kind: Operation.Kind, _ endpoint: Int? = nil
  ) async throws(ClientError) -> [UInt8] {
    if let endpoint, !driver.endpointIndices.contains(endpoint) {
      throw .unreachable("there is no endpoint number \(endpoint)")
    }
    let call = PendingCall()
    let deadline = Instant.now + timeout
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        driver.submit(call, method, body, kind, endpoint, deadline, continuation)
      }
    } onCancel: {
      driver.cancel(call)
    }
    return try result.get()
  }
}

/// Names a call between the task that makes it and the thread that carries it out.
///
/// Unchecked: `operation` is touched by the driver's thread alone, or under its mutex before that thread saw the call.
final class PendingCall: @unchecked Sendable {
  var operation: Operation?
  var isCancelled = false
}

/// What the client's thread turns: calls, watches, leases.
final class ClientLoop {
  let dispatcher: Dispatcher
  let watches: WatchSession
  let leases: LeaseKeeper

  init(_ dispatcher: Dispatcher) {
    self.dispatcher = dispatcher
    watches = WatchSession(dispatcher)
    leases = LeaseKeeper(dispatcher)
  }
}

/// The thread and its mailbox.
///
/// Unchecked: `mailbox` and the flags are touched only under `mutex`; the dispatcher only by the thread (and by no one
/// before it starts). The thread holds the driver, so that memory outlives it; `close` lets it end.
final class ClientDriver: @unchecked Sendable {
  let endpointIndices: Range<Int>
  private let loop: ClientLoop
  private var dispatcher: Dispatcher { loop.dispatcher }
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  /// The pipe's ends: a byte in it means that the mailbox has changed.
  private let wakeRead: Int32
  private let wakeWrite: Int32
  private var submitted: [PendingCall] = []
  private var cancelled: [PendingCall] = []
  private var jobs: [@Sendable (ClientLoop) -> Void] = []
  private var isClosed = false

  init(_ endpoints: [Endpoint], _ options: DispatcherOptions) throws(ClientError) {
    endpointIndices = endpoints.indices
    loop = ClientLoop(Dispatcher(endpoints, options))
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    var ends: [Int32] = [-1, -1]
    let failure = pipe(&ends) == 0 ? 0 : errno
    wakeRead = ends[0]
    wakeWrite = ends[1]
    guard failure == 0 else { throw .unreachable("pipe: \(ClientError.systemText(failure))") }
    for end in ends {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(self)
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<ClientDriver>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, box.toOpaque())
    guard code == 0 else {
      box.release()
      throw .unreachable("thread: \(ClientError.systemText(code))")
    }
    pthread_detach(thread)
  }

  deinit {
    if wakeRead >= 0 {
      Glibc.close(wakeRead)
      Glibc.close(wakeWrite)
    }
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  func submit(
    _ call: PendingCall, _ method: Method, _ body: [UInt8], _ kind: Operation.Kind, _ endpoint: Int?,
    _ deadline: Instant, _ continuation: CheckedContinuation<Result<[UInt8], ClientError>, Never>
  ) {
    let operation = Operation(method, body: body, kind: kind, endpoint: endpoint, deadline: deadline) {
      continuation.resume(returning: $0)
    }
    let refusal: ClientError? = locked {
      if isClosed { return .closed }
      // Cancelled before it was submitted: the handler ran first.
      if call.isCancelled { return .cancelled }
      call.operation = operation
      submitted.append(call)
      return nil
    }
    if let refusal { operation.finish(.failure(refusal)) } else { ring() }
  }

  /// Has the thread run `job`. False after the client's end.
  @discardableResult
  func run(_ job: @escaping @Sendable (ClientLoop) -> Void) -> Bool {
    let isTaken = locked {
      if !isClosed { jobs.append(job) }
      return !isClosed
    }
    ring()
    return isTaken
  }

  func cancel(_ call: PendingCall) {
    locked {
      call.isCancelled = true
      cancelled.append(call)
    }
    ring()
  }

  func close() {
    locked { isClosed = true }
    ring()
  }

  private func run() {
    var bell = [UInt8](repeating: 0, count: 64)
    while true {
      let (calls, dropped, work, closed) = locked {
        defer {
          submitted = []
          cancelled = []
          jobs = []
        }
        return (submitted, cancelled, jobs, isClosed)
      }
      for job in work { job(loop) }
      for call in calls { if let operation = call.operation { dispatcher.submit(operation) } }
      // A finished operation finishes no second time; the dispatcher forgets it when it meets it.
      for call in dropped { call.operation?.finish(.failure(.cancelled)) }
      if closed { return dispatcher.shutDown(.closed) }
      let next = loop.leases.turn()
      dispatcher.step(until: next, wake: wakeRead)
      // One read empties it mostly; bytes left over wake the thread once more, which does no harm.
      _ = read(wakeRead, &bell, bell.count)
    }
  }

  private func ring() {
    var byte: UInt8 = 1
    // A full pipe takes no more, and needs none: the thread has not looked yet.
    _ = write(wakeWrite, &byte, 1)
  }

  private func locked<R>(_ body: () -> R) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }
}
