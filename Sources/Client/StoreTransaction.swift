// Transactions written as plain code: reads first, all as of one revision; then the writes go through as one step, if nothing
// that was read has changed; else all of it runs again.

import NeedletailRPC

/// One attempt. Used by the closure that it was made for, and not beyond it.
public final class StoreTransaction {
  private let client: Client
  /// What was read: the pair, or nil where there was none.
  private var reads: [[UInt8]: KeyValue?] = [:]
  /// Values to put, nil = delete.
  private var writes: [[UInt8]: [UInt8]?] = [:]
  private var order: [[UInt8]] = []
  private var revision: Int64 = 0

  init(_ client: Client) { self.client = client }

  /// The value under `key` as of the transaction's revision, its own writes included.
  public func get(_ key: [UInt8]) async throws(ClientError) -> [UInt8]? {
    if let written = writes[key] { return written }
    if let read = reads[key] { return read?.value }
    var request = RangeRequest(.key(key))
    request.revision = revision
    let answer = try await client.range(request)
    if revision == 0 { revision = answer.header.revision }
    reads[key] = .some(answer.kvs.first)
    return answer.kvs.first?.value
  }

  public func put(_ key: [UInt8], _ value: [UInt8]) { note(key, value) }
  public func delete(_ key: [UInt8]) { note(key, nil) }

  private func note(_ key: [UInt8], _ value: [UInt8]?) {
    if writes.updateValue(value, forKey: key) == nil { order.append(key) }
  }

  /// The answer where it went through; nil where something read has changed since.
  fileprivate func commit() async throws(ClientError) -> TxnResponse? {
    // As of one revision they were read: they hold together as they are.
    if writes.isEmpty { return TxnResponse() }
    var comparisons = reads.map { key, pair in Compare(.key(key), .equal, .modRevision(pair?.modRevision ?? 0)) }
    if revision != 0 {
      // What is written unread must not be newer than what was read.
      for key in order where reads[key] == nil {
        comparisons.append(Compare(.key(key), .less, .modRevision(revision + 1)))
      }
    }
    let operations = order.map { key -> TxnOperation in
      if case .some(.some(let value)) = writes[key] { return .put(PutRequest(key: key, value: value)) }
      return .deleteRange(DeleteRangeRequest(.key(key)))
    }
    let answer = try await client.txn(TxnRequest(if: comparisons, then: operations))
    return answer.succeeded ? answer : nil
  }
}

extension Client {
  /// Runs `body` until its reads and writes go through as one step: serializable, as of one snapshot. `body` may run many
  /// times; what it does beside reading and writing here must bear that. A key's limit of operations is the server's for
  /// one transaction.
  public func transaction<R>(_ body: (StoreTransaction) async throws -> R) async throws -> R {
    while true {
      let attempt = StoreTransaction(self)
      do {
        let result = try await body(attempt)
        if try await attempt.commit() != nil { return result }
      } catch ClientError.server(let status) where status.message.hasSuffix("required revision has been compacted") {
        // The snapshot is gone: a new one.
      }
      try Task.checkCancellation()
    }
  }
}
