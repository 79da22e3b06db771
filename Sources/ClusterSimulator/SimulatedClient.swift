// A client of the simulated cluster: one request at a time, to a member of its choice, noted in a history.

import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft
import NeedletailSimulator

/// What clients asked and were answered, in the format of docs/checker.md.
struct ClusterHistory {
  private(set) var text = "{:history :needletail, :version 1}\n"

  mutating func note(_ client: Int, _ time_ns: Int64, _ words: String) {
    text += "{:process \(client), :time \(time_ns), \(words)}\n"
  }
}

enum ClientRequest {
  case command(ClusterCommand)
  /// A linearizable read, of the present or of a past revision.
  case range(key: [UInt8], end: [UInt8], revision: Int64)
}

struct SimulatedClient {
  let number: Int
  /// The request under way.
  private(set) var id: UInt64?
  private(set) var request = ClientRequest.range(key: [], end: [], revision: 0)
  private(set) var answered = 0
  private var asked: UInt64 = 0

  init(_ number: Int) { self.number = number }

  private static let keys = (0..<6).map { Array("k\($0)".utf8) }

  /// Chooses the next request. `revision` is one that the store may be near.
  mutating func choose(_ random: inout SimulatedRandom, revision: Int64) -> UInt64 {
    asked += 1
    let id = asked << 8 | UInt64(number)
    let key = random.pick(SimulatedClient.keys)
    var value = Array("v\(number).\(asked)".utf8)
    // Now and then one of several sectors, so that a power cut can tear it.
    if random.chance(perMille: 100) { value += [UInt8](repeating: 0x2E, count: random.below(3000)) }
    switch random.below(100) {
    case 0..<40: request = .command(ClusterCommand(id: id, key: key, kind: .put(value: value)))
    case 40..<47:
      let end = random.chance(perMille: 200) ? Array("k9".utf8) : []
      request = .command(ClusterCommand(id: id, key: key, kind: .delete(end: end)))
    case 47..<60:
      let mod = random.chance(perMille: 300) ? 0 : max(0, revision - random.between(0...8))
      request = .command(
        ClusterCommand(
          id: id, key: key,
          kind: .transaction(
            mod: mod, value: value, otherwise: value + [0x65], otherKey: random.pick(SimulatedClient.keys))))
    case 60..<63:
      request = .command(ClusterCommand(id: id, kind: .compact(max(1, revision - random.between(0...20)))))
    case 63..<70: request = .range(key: key, end: [0], revision: max(1, revision - random.between(-1...20)))
    case 70..<76: request = .range(key: key, end: [0], revision: 0)
    default: request = .range(key: key, end: [], revision: 0)
    }
    self.id = id
    return id
  }

  mutating func finish(isAnswered: Bool) {
    id = nil
    if isAnswered { answered += 1 }
  }

  // MARK: Words of the history

  var requestWords: String {
    switch request {
    case .range(let key, let end, let revision):
      return ":type :invoke, :f :range, :key \(quoted(key))" + (end.isEmpty ? "" : ", :end \"\\x00\"")
        + (revision == 0 ? "" : ", :at \(revision)")
    case .command(let command):
      let key = quoted(command.key)
      switch command.kind {
      case .put(let value): return ":type :invoke, :f :put, :key \(key), :value \(quoted(value))"
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
    case .failure(let error): throw error
    case .success(let body):
      return try body.withUnsafeBytes { body in
        switch request {
        case .range: return try words(RangeResponse(body))
        case .command(let command):
          switch command.kind {
          case .put: return try words(PutResponse(body))
          case .delete: return try words(DeleteRangeResponse(body))
          case .transaction: return try words(TxnResponse(body))
          case .compact:
            let revision = try CompactionResponse(body).header.revision
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
