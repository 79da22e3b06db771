// A lease that is kept alive as long as its owner lives: what locks and elections hang their keys on.

import NeedletailRPC

/// When the process ends, or loses all servers for the length of the TTL, the lease ends, and its keys with it.
public final class Session: Sendable {
  public let client: Client
  public let lease: Int64
  private let kept: SessionLease

  /// - Parameter ttl: seconds that the keys stay when this process is gone.
  public init(_ client: Client, ttl: Int64 = 60) async throws(ClientError) {
    self.client = client
    let granted = try await client.grantLease(ttl: ttl)
    lease = granted.id
    kept = SessionLease()
    let kept = kept
    let isTaken = client.driver.run { loop in
      kept.keeper = loop.leases
      kept.lease = loop.leases.keep(granted.id, ttl: granted.ttl) { _ in
      } ended: { _ in
        kept.finish()
      }
    }
    if !isTaken { kept.finish() }
  }

  /// Returns when the lease is over: then somebody else may hold what this session held. At most one task waits.
  public func waitUntilOver() async { for await _ in kept.over {} }

  /// Ends the lease and deletes its keys.
  public func close() async throws(ClientError) {
    let kept = kept
    _ = client.driver.run { _ in
      if let lease = kept.lease { kept.keeper?.drop(lease) }
      kept.finish()
    }
    try await client.revokeLease(lease)
  }

  deinit {
    let kept = kept
    // Nobody keeps it any more: it runs out.
    _ = client.driver.run { _ in if let lease = kept.lease { kept.keeper?.drop(lease) } }
  }
}

/// What the client's thread knows of a session. Unchecked: that thread alone touches the variables.
private final class SessionLease: @unchecked Sendable {
  var lease: LeaseKeeper.Kept?
  weak var keeper: LeaseKeeper?
  let over: AsyncStream<Never>
  private let end: AsyncStream<Never>.Continuation

  init() { (over, end) = AsyncStream.makeStream() }

  func finish() { end.finish() }
}

/// A key under a name, held by a session: the oldest of them has what the name stands for. etcd's recipe and names.
struct Candidacy: Sendable {
  let session: Session
  let prefix: [UInt8]
  let key: [UInt8]
  /// The revision at which the key came to be.
  let revision: Int64

  /// Enters the queue and waits for its front. A task that is cancelled gives its place up; so it must know its place, and
  /// entering goes on to its end without regard to the cancellation.
  static func win(
    _ session: Session, name: [UInt8], value: [UInt8]
  ) async throws(ClientError) -> Candidacy {
    let entering = Task.detached { () async -> Result<Candidacy, ClientError> in
      do throws(ClientError) {
        return .success(try await Candidacy(session, name: name, value: value))
      } catch {
        return .failure(error)
      }
    }
    let candidacy = try await entering.value.get()
    do {
      try await candidacy.waitForTurn()
    } catch {
      // The task may be over; leaving must not be.
      await Task.detached { _ = try? await candidacy.leave() }.value
      throw error
    }
    return candidacy
  }

  /// Enters the queue, or finds itself in it.
  private init(_ session: Session, name: [UInt8], value: [UInt8]) async throws(ClientError) {
    self.session = session
    prefix = name + [UInt8(ascii: "/")]
    // As Go prints it: a sign and the magnitude.
    key = prefix + Array(String(session.lease, radix: 16).utf8)
    var put = PutRequest(key: key, value: value)
    put.lease = session.lease
    let answer = try await session.client.txn(
      TxnRequest(
        if: [Compare(.key(key), .equal, .createRevision(0))], then: [.put(put)], else: [.range(RangeRequest(.key(key)))]
      ))
    if !answer.succeeded, case .range(let found)? = answer.responses.first, let pair = found.kvs.first {
      revision = pair.createRevision
      if pair.value != value { _ = try await session.client.put(put) }
    } else {
      revision = answer.header.revision
    }
  }

  /// Waits until nobody who came before is left. Only the last of those is watched: when it goes, one waiter wakes.
  func waitForTurn() async throws(ClientError) {
    while true {
      var request = RangeRequest(.prefix(prefix))
      request.maxCreateRevision = revision - 1
      request.sortTarget = .create
      request.sortOrder = .descend
      request.limit = 1
      let answer = try await session.client.range(request)
      guard let before = answer.kvs.first else { break }
      var watch = WatchRequest(.key(before.key))
      watch.startRevision = answer.header.revision + 1
      watch.skipsPuts = true
      try await session.client.waitForEvent(watch)
    }
    // A session that ran out meanwhile has lost its place.
    guard try await session.client.range(RangeRequest(.key(key))).kvs.first?.createRevision == revision else {
      throw .server(StatusError(.failedPrecondition, "mutex: session is expired"))
    }
  }

  /// Gives the place up, if it is still this one.
  func leave() async throws(ClientError) {
    _ = try await session.client.txn(
      TxnRequest(
        if: [Compare(.key(key), .equal, .createRevision(revision))], then: [.deleteRange(DeleteRangeRequest(.key(key)))]
      ))
  }
}

extension Client {
  /// Returns at the watch's first event, or when events may have been missed because they are compacted: look anew.
  func waitForEvent(_ request: WatchRequest) async throws(ClientError) {
    do {
      for try await response in watch(request) where !response.events.isEmpty { return }
    } catch ClientError.compacted {
      return
    } catch let error as ClientError {
      throw error
    } catch {
      throw .cancelled
    }
    throw .cancelled
  }
}
