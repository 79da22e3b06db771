// A lock that one session of many holds, by etcd's recipe: `needletailctl lock` and etcd's clients honour each other's.

import NeedletailRPC

public struct Lock: Sendable {
  private let candidacy: Candidacy

  /// The key that stands for holding the lock. Writes that must not happen without the lock compare its create revision.
  public var key: [UInt8] { candidacy.key }
  public var revision: Int64 { candidacy.revision }

  /// Waits until the lock named `name` is the session's. A task that is cancelled gives its place up.
  public static func acquire(_ name: String, _ session: Session) async throws(ClientError) -> Lock {
    Lock(candidacy: try await Candidacy.win(session, name: Array(name.utf8), value: []))
  }

  public func release() async throws(ClientError) { try await candidacy.leave() }
}

/// One leader of many candidates, by etcd's recipe.
public struct Election: Sendable {
  private let candidacy: Candidacy

  public var key: [UInt8] { candidacy.key }
  public var revision: Int64 { candidacy.revision }

  /// Waits until the session leads the election named `name`, with `value` to show. A task that is cancelled gives up.
  public static func campaign(_ name: String, value: [UInt8], _ session: Session) async throws(ClientError) -> Election
  {
    Election(candidacy: try await Candidacy.win(session, name: Array(name.utf8), value: value))
  }

  /// Shows another value, as long as the session leads.
  public func proclaim(_ value: [UInt8]) async throws(ClientError) {
    var put = PutRequest(key: key, value: value)
    put.lease = candidacy.session.lease
    let answer = try await candidacy.session.client.txn(
      TxnRequest(if: [Compare(.key(key), .equal, .createRevision(revision))], then: [.put(put)]))
    guard answer.succeeded else { throw .server(StatusError(.failedPrecondition, "election: not leader")) }
  }

  public func resign() async throws(ClientError) { try await candidacy.leave() }

  /// The leader's pair, or nil where there is none.
  public static func leader(_ name: String, _ client: Client) async throws(ClientError) -> RangeResponse {
    var request = RangeRequest(.prefix(Array(name.utf8) + [UInt8(ascii: "/")]))
    request.sortTarget = .create
    request.sortOrder = .ascend
    request.limit = 1
    return try await client.range(request)
  }

  /// The leader's pair now, and each that comes after it: another leader, or another value of the same. `kvs` holds one.
  public static func observe(_ name: String, _ client: Client) -> AsyncThrowingStream<RangeResponse, any Error> {
    AsyncThrowingStream { continuation in
      let task = Task {
        do {
          while !Task.isCancelled { try await follow(name, client) { continuation.yield($0) } }
          continuation.finish()
        } catch {
          continuation.finish(throwing: error)
        }
      }
      continuation.onTermination = { _ in task.cancel() }
    }
  }

  /// Tells of one leader until it goes.
  private static func follow(
    _ name: String, _ client: Client, _ tell: (RangeResponse) -> Void
  ) async throws {
    let answer = try await leader(name, client)
    guard let pair = answer.kvs.first else {
      var anybody = WatchRequest(.prefix(Array(name.utf8) + [UInt8(ascii: "/")]))
      anybody.startRevision = answer.header.revision + 1
      anybody.skipsDeletes = true
      return try await client.waitForEvent(anybody)
    }
    var shown = RangeResponse()
    shown.header = answer.header
    shown.kvs = [pair]
    tell(shown)
    var watch = WatchRequest(.key(pair.key))
    watch.startRevision = answer.header.revision + 1
    do {
      for try await response in client.watch(watch) {
        for event in response.events {
          if event.kind == .delete { return }
          shown.header = response.header
          shown.kvs = [event.kv]
          tell(shown)
        }
      }
    } catch ClientError.compacted {
      return
    }
  }
}
