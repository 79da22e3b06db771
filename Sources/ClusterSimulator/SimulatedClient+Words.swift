// What a client asked and was answered, in the words of a history (docs/checker.md).

import NeedletailMVCC
import NeedletailRPC

extension SimulatedClient {
  var requestWords: String {
    switch request {
    case .range(let key, let end, let revision):
      return ":type :invoke, :f :range, :key \(quoted(key))" + (end.isEmpty ? "" : ", :end \"\\x00\"")
        + (revision == 0 ? "" : ", :at \(revision)")
    case .keepAlive(let lease): return ":type :invoke, :f :keepalive, :lease \(lease)"
    case .leaseKeys(let lease): return ":type :invoke, :f :ttl, :lease \(lease)"
    case .command(let command):
      let key = quoted(command.key)
      switch command.kind {
      case .put(let value, let lease):
        return ":type :invoke, :f :put, :key \(key), :value \(quoted(value))" + (lease == 0 ? "" : ", :lease \(lease)")
      case .grant(let lease, let ttl): return ":type :invoke, :f :grant, :lease \(lease), :ttl \(ttl)"
      case .revoke(let lease): return ":type :invoke, :f :revoke, :lease \(lease)"
      case .delete(let end):
        return ":type :invoke, :f :delete, :key \(key)" + (end.isEmpty ? "" : ", :end \(quoted(end))")
      case .transaction(let mod, let value, let otherwise, let otherKey):
        let other = quoted(otherKey)
        return ":type :invoke, :f :txn, :if [[:mod \(key) := \(mod)]], "
          + ":then [[:put \(key) \(quoted(value))] [:range \(other)]], "
          + ":else [[:range \(key)] [:put \(other) \(quoted(otherwise))]]"
      case .compact(let revision): return ":type :invoke, :f :compact, :at \(revision)"
      }
    }
  }

  func answerWords(_ answer: Result<[UInt8], MVCCError>) throws -> (words: String, revision: Int64) {
    switch answer {
    case .failure(.compacted): return (":type :fail, :error :compacted", 0)
    case .failure(.futureRevision): return (":type :fail, :error :future-revision", 0)
    case .failure(.leaseNotFound): return (":type :fail, :error :lease-not-found", 0)
    case .failure(.leaseExists): return (":type :fail, :error :lease-exists", 0)
    case .failure(let error): throw error
    case .success(let body):
      return try body.withUnsafeBytes { body in
        switch request {
        case .range: return try words(RangeResponse(body))
        case .keepAlive: return (":type :ok, :ttl \(try LeaseResponse(body).ttl)", 0)
        case .leaseKeys:
          let answer = try LeaseResponse(body)
          let keys = answer.ttl < 0 ? "" : ", :keys [\(answer.keys.map(quoted).joined(separator: " "))]"
          return (":type :ok, :ttl \(answer.ttl)\(keys)", 0)
        case .command(let command):
          switch command.kind {
          case .put: return try words(PutResponse(body))
          case .delete: return try words(DeleteRangeResponse(body))
          case .transaction: return try words(TxnResponse(body))
          case .compact:
            let revision = try CompactionResponse(body).header.revision
            return (":type :ok, :revision \(revision)", revision)
          case .grant, .revoke:
            let revision = try LeaseResponse(body).header.revision
            return (":type :ok, :revision \(revision)", revision)
          }
        }
      }
    }
  }

  private func words(_ answer: RangeResponse) -> (String, Int64) {
    (
      ":type :ok, :revision \(answer.header.revision), :count \(answer.count), :kvs \(list(answer.kvs))",
      answer.header.revision
    )
  }

  private func words(_ answer: PutResponse) -> (String, Int64) {
    (
      ":type :ok, :revision \(answer.header.revision), :prev \(answer.prevKV.map(pair) ?? "nil")",
      answer.header.revision
    )
  }

  private func words(_ answer: DeleteRangeResponse) -> (String, Int64) {
    (
      ":type :ok, :revision \(answer.header.revision), :deleted \(answer.deleted), :prev \(list(answer.prevKVs))",
      answer.header.revision
    )
  }

  private func words(_ answer: TxnResponse) -> (String, Int64) {
    let results = answer.responses.map { part in
      switch part {
      case .range(let range): "[:range \(range.count) \(list(range.kvs))]"
      case .put: "[:put]"
      case .deleteRange(let deletion): "[:delete \(deletion.deleted)]"
      case .txn, .unknown: "[:nested]"
      }
    }
    return (
      ":type :ok, :revision \(answer.header.revision), :succeeded \(answer.succeeded), "
        + ":results [\(results.joined(separator: " "))]", answer.header.revision
    )
  }

  private func list(_ pairs: [KeyValue]) -> String { "[\(pairs.map(pair).joined(separator: " "))]" }

  private func pair(_ pair: KeyValue) -> String {
    "[\(quoted(pair.key)) \(quoted(pair.value)) \(pair.createRevision) \(pair.modRevision) \(pair.version) \(pair.lease)]"
  }

  /// Keys and values here are letters and digits.
  private func quoted(_ text: [UInt8]) -> String { "\"\(String(decoding: text, as: UTF8.self))\"" }
}
