// How the answers of get, put and del are shown. JSON and fields are etcdctl 3.4's to the byte.

import NeedletailClient
import NeedletailRPC

struct KeyValueOutput {
  let format: OutputFormat
  /// Simple and table show bytes as \x..; the other formats have their own form for bytes.
  var hex = false
  var valueOnly = false
  var countOnly = false

  // MARK: The three answers

  func range(_ response: RangeResponse) {
    switch format {
    case .simple:
      if countOnly { return StandardOutput.write("\(response.count)\n") }
      for pair in response.kvs { simple(pair) }
    case .json:
      StandardOutput.write { out in
        json(response, &out)
        out.append("\n")
      }
    case .fields:
      fields(response.header)
      for pair in response.kvs { fields(pair, "") }
      StandardOutput.write("\"More\" : \(response.more)\n\"Count\" : \(response.count)\n")
    case .table:
      table(response)
    }
  }

  func put(_ response: PutResponse) throws(Failure) {
    switch format {
    case .simple:
      StandardOutput.write("OK\n")
      if let pair = response.prevKV { simple(pair) }
    case .json:
      StandardOutput.write { out in
        json(response, &out)
        out.append("\n")
      }
    case .fields:
      fields(response.header)
      if let pair = response.prevKV { fields(pair, "Prev") }
    case .table: throw KeyValueOutput.noTable
    }
  }

  func deleteRange(_ response: DeleteRangeResponse) throws(Failure) {
    switch format {
    case .simple:
      StandardOutput.write("\(response.deleted)\n")
      for pair in response.prevKVs { simple(pair) }
    case .json:
      StandardOutput.write { out in
        json(response, &out)
        out.append("\n")
      }
    case .fields:
      fields(response.header)
      StandardOutput.write("\"Deleted\" : \(response.deleted)\n")
      for pair in response.prevKVs { fields(pair, "Prev") }
    case .table: throw KeyValueOutput.noTable
    }
  }

  /// Each answer of the branch that ran, as its own command would show it.
  func txn(_ response: TxnResponse) throws(Failure) {
    switch format {
    case .simple:
      StandardOutput.write(response.succeeded ? "SUCCESS\n" : "FAILURE\n")
      for answer in response.responses {
        StandardOutput.write("\n")
        try show(answer)
      }
    case .json:
      StandardOutput.write { out in
        json(response, &out)
        out.append("\n")
      }
    case .fields:
      fields(response.header)
      StandardOutput.write("\"Succeeded\" : \(response.succeeded)\n")
      for answer in response.responses { try show(answer) }
    case .table: throw KeyValueOutput.noTable
    }
  }

  private func show(_ answer: TxnAnswer) throws(Failure) {
    switch answer {
    case .range(let response): range(response)
    case .put(let response): try put(response)
    case .deleteRange(let response): try deleteRange(response)
    case .txn(let response): try txn(response)
    case .unknown: StandardOutput.write("unexpected response\n")
    }
  }

  private func json(_ response: TxnResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { json(response.header, &$0) }
    object.boolean("succeeded", response.succeeded, &out)
    if !response.responses.isEmpty {
      object.member("responses", &out) { out in
        for (at, answer) in response.responses.enumerated() {
          out.append(at == 0 ? "[" : ",")
          json(answer, &out)
        }
        out.append("]")
      }
    }
    object.close(&out)
  }

  /// Go's encoder shows the oneof and its wrapper by their names.
  private func json(_ answer: TxnAnswer, _ out: inout OutBuffer) {
    out.append("{\"Response\":{")
    switch answer {
    case .range(let response):
      out.append("\"ResponseRange\":")
      json(response, &out)
    case .put(let response):
      out.append("\"ResponsePut\":")
      json(response, &out)
    case .deleteRange(let response):
      out.append("\"ResponseDeleteRange\":")
      json(response, &out)
    case .txn(let response):
      out.append("\"ResponseTxn\":")
      json(response, &out)
    case .unknown: break
    }
    out.append("}}")
  }

  private func json(_ response: RangeResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { json(response.header, &$0) }
    json("kvs", response.kvs, &object, &out)
    object.boolean("more", response.more, &out)
    object.number("count", response.count, &out)
    object.close(&out)
  }

  private func json(_ response: PutResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { json(response.header, &$0) }
    if let pair = response.prevKV { object.member("prev_kv", &out) { json(pair, &$0) } }
    object.close(&out)
  }

  private func json(_ response: DeleteRangeResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { json(response.header, &$0) }
    object.number("deleted", response.deleted, &out)
    json("prev_kvs", response.prevKVs, &object, &out)
    object.close(&out)
  }

  /// What etcdctl says too; to be known before anything is sent.
  static let noTable = Failure.message("table not supported as output format")

  // MARK: Pieces

  func simple(_ pair: KeyValue) {
    StandardOutput.write { out in
      if !valueOnly { line(pair.key, &out) }
      line(pair.value, &out)
    }
  }

  private func line(_ bytes: [UInt8], _ out: inout OutBuffer) {
    if hex { out.appendHex(bytes) } else { bytes.withUnsafeBytes { out.append($0) } }
    out.append("\n")
  }

  private func json(_ header: ResponseHeader, _ out: inout OutBuffer) { JSONMessages.header(header, &out) }

  func json(_ pair: KeyValue, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.bytes("key", pair.key, &out)
    object.number("create_revision", pair.createRevision, &out)
    object.number("mod_revision", pair.modRevision, &out)
    object.number("version", pair.version, &out)
    object.bytes("value", pair.value, &out)
    object.number("lease", pair.lease, &out)
    object.close(&out)
  }

  private func json(_ name: String, _ pairs: [KeyValue], _ object: inout JSONObject, _ out: inout OutBuffer) {
    guard !pairs.isEmpty else { return }
    object.member(name, &out) { out in
      for (at, pair) in pairs.enumerated() {
        out.append(at == 0 ? "[" : ",")
        json(pair, &out)
      }
      out.append("]")
    }
  }

  private func fields(_ header: ResponseHeader) { FieldLines.header(header) }

  func fields(_ pair: KeyValue, _ prefix: String) {
    StandardOutput.write { out in
      out.append("\"\(prefix)Key\" : ")
      out.appendQuoted(pair.key)
      out.append("\n\"\(prefix)CreateRevision\" : \(pair.createRevision)\n")
      out.append("\"\(prefix)ModRevision\" : \(pair.modRevision)\n\"\(prefix)Version\" : \(pair.version)\n")
      out.append("\"\(prefix)Value\" : ")
      out.appendQuoted(pair.value)
      out.append("\n\"\(prefix)Lease\" : \(pair.lease)\n")
    }
  }

  private func table(_ response: RangeResponse) {
    if countOnly {
      return StandardOutput.write(Table(headings: ["COUNT"], rows: [["\(response.count)"]]).text)
    }
    var table = Table(headings: ["KEY", "VALUE", "CREATE REVISION", "MOD REVISION", "VERSION", "LEASE"])
    for pair in response.kvs {
      table.rows.append([
        cell(pair.key), cell(pair.value), "\(pair.createRevision)", "\(pair.modRevision)", "\(pair.version)",
        String(pair.lease, radix: 16),
      ])
    }
    StandardOutput.write(table.text)
  }

  /// Bytes on one line: escapes for what would break the table.
  private func cell(_ bytes: [UInt8]) -> String {
    var text = OutBuffer()
    defer { text.free() }
    if hex { text.appendHex(bytes) } else { text.appendQuotedContents(bytes) }
    return String(decoding: text.bytes, as: UTF8.self)
  }
}

/// JSON of messages that several commands show.
enum JSONMessages {
  static func header(_ header: ResponseHeader, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.number("cluster_id", header.clusterID, &out)
    object.number("member_id", header.memberID, &out)
    object.number("revision", header.revision, &out)
    object.number("raft_term", header.raftTerm, &out)
    object.close(&out)
  }
}

/// Lines of the fields format that several commands show.
enum FieldLines {
  static func header(_ header: ResponseHeader) {
    StandardOutput.write(
      """
      "ClusterID" : \(header.clusterID)
      "MemberID" : \(header.memberID)
      "Revision" : \(header.revision)
      "RaftTerm" : \(header.raftTerm)

      """)
  }
}
