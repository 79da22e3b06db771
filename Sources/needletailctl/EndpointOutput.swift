// How servers' states are shown, in etcdctl 3.4's forms.

import NeedletailClient
import NeedletailRPC

struct EndpointStatus {
  let endpoint: String
  let status: StatusResponse

  var isLeader: Bool { status.leader == status.header.memberID }

  /// The items of a simple line and of a table's row.
  var items: [String] {
    [
      endpoint, String(status.header.memberID, radix: 16), status.version, SizeText.format(status.dbSize),
      "\(isLeader)", "\(status.isLearner)", "\(status.raftTerm)", "\(status.raftIndex)",
      "\(status.raftAppliedIndex)", status.errors.joined(separator: ", "),
    ]
  }
}

struct EndpointHealth {
  let endpoint: String
  let took: String
  /// Nil when it is healthy.
  let failure: String?
}

struct EndpointHash {
  let endpoint: String
  let answer: HashResponse
}

struct EndpointOutput {
  let format: OutputFormat

  func statuses(_ rows: [EndpointStatus]) {
    switch format {
    case .simple:
      for row in rows { StandardOutput.write(row.items.joined(separator: ", ") + "\n") }
    case .json:
      array(rows) { row, out in
        var object = JSONObject()
        object.member("Endpoint", &out) { JSONText.appendString(Array(row.endpoint.utf8), likeGo: true, to: &$0) }
        object.member("Status", &out) { json(row.status, &$0) }
        object.close(&out)
      }
    case .fields:
      for row in rows { fields(row) }
    case .table:
      var table = Table(headings: [
        "ENDPOINT", "ID", "VERSION", "DB SIZE", "IS LEADER", "IS LEARNER", "RAFT TERM", "RAFT INDEX",
        "RAFT APPLIED INDEX", "ERRORS",
      ])
      table.rows = rows.map(\.items)
      StandardOutput.write(table.text)
    }
  }

  func healths(_ rows: [EndpointHealth]) {
    switch format {
    case .simple:
      for row in rows {
        if let failure = row.failure {
          StandardError.write("\(row.endpoint) is unhealthy: failed to commit proposal: \(failure)\n")
        } else {
          StandardOutput.write("\(row.endpoint) is healthy: successfully committed proposal: took = \(row.took)\n")
        }
      }
    case .json:
      array(rows) { row, out in
        var object = JSONObject()
        object.member("endpoint", &out) { JSONText.appendString(Array(row.endpoint.utf8), likeGo: true, to: &$0) }
        object.member("health", &out) { $0.append("\(row.failure == nil)") }
        object.text("took", row.took, &out)
        object.text("error", row.failure ?? "", &out)
        object.close(&out)
      }
    case .fields:
      for row in rows {
        StandardOutput.write { out in
          out.append("\"Endpoint\" : ")
          out.appendQuoted(Array(row.endpoint.utf8))
          out.append("\n\"Health\" : \(row.failure == nil)\n\"Took\" : \(row.took)\n")
          out.append("\"Error\" : \(row.failure ?? "")\n\n")
        }
      }
    case .table:
      let table = Table(
        headings: ["ENDPOINT", "HEALTH", "TOOK", "ERROR"],
        rows: rows.map { [$0.endpoint, "\($0.failure == nil)", $0.took, $0.failure ?? ""] })
      StandardOutput.write(table.text)
    }
  }

  func hashes(_ rows: [EndpointHash]) {
    switch format {
    case .simple:
      for row in rows { StandardOutput.write("\(row.endpoint), \(row.answer.hash)\n") }
    case .json:
      guard !rows.isEmpty else { return StandardOutput.write("[]\n") }
      array(rows) { row, out in
        var object = JSONObject()
        object.member("Endpoint", &out) { JSONText.appendString(Array(row.endpoint.utf8), likeGo: true, to: &$0) }
        object.member("HashKV", &out) { out in
          var hash = JSONObject()
          hash.member("header", &out) { JSONMessages.header(row.answer.header, &$0) }
          hash.number("hash", UInt64(row.answer.hash), &out)
          hash.number("compact_revision", row.answer.compactRevision, &out)
          hash.number("hash_revision", row.answer.hashRevision, &out)
          hash.close(&out)
        }
        object.close(&out)
      }
    case .fields:
      for row in rows {
        FieldLines.header(row.answer.header)
        StandardOutput.write { out in
          out.append("\"Endpoint\" : ")
          out.appendQuoted(Array(row.endpoint.utf8))
          out.append("\n\"Hash\" : \(row.answer.hash)\n\n")
        }
      }
    case .table:
      let table = Table(
        headings: ["ENDPOINT", "HASH"], rows: rows.map { [$0.endpoint, "\($0.answer.hash)"] })
      StandardOutput.write(table.text)
    }
  }

  private func array<Row>(_ rows: [Row], _ body: (Row, inout OutBuffer) -> Void) {
    StandardOutput.write { out in
      // Go writes an empty list that was never filled as null.
      guard !rows.isEmpty else { return out.append("null\n") }
      for (at, row) in rows.enumerated() {
        out.append(at == 0 ? "[" : ",")
        body(row, &out)
      }
      out.append("]\n")
    }
  }

  private func json(_ status: StatusResponse, _ out: inout OutBuffer) {
    var object = JSONObject()
    object.member("header", &out) { JSONMessages.header(status.header, &$0) }
    object.text("version", status.version, &out)
    object.number("dbSize", status.dbSize, &out)
    object.number("leader", status.leader, &out)
    object.number("raftIndex", status.raftIndex, &out)
    object.number("raftTerm", status.raftTerm, &out)
    object.number("raftAppliedIndex", status.raftAppliedIndex, &out)
    if !status.errors.isEmpty {
      object.member("errors", &out) { out in
        for (at, text) in status.errors.enumerated() {
          out.append(at == 0 ? "[" : ",")
          JSONText.appendString(Array(text.utf8), likeGo: true, to: &out)
        }
        out.append("]")
      }
    }
    object.number("dbSizeInUse", status.dbSizeInUse, &out)
    object.boolean("isLearner", status.isLearner, &out)
    object.close(&out)
  }

  private func fields(_ row: EndpointStatus) {
    FieldLines.header(row.status.header)
    let status = row.status
    StandardOutput.write { out in
      out.append("\"Version\" : ")
      out.appendQuoted(Array(status.version.utf8))
      out.append("\n\"DBSize\" : \(status.dbSize)\n\"Leader\" : \(status.leader)\n")
      out.append("\"IsLearner\" : \(status.isLearner)\n\"RaftIndex\" : \(status.raftIndex)\n")
      out.append("\"RaftTerm\" : \(status.raftTerm)\n\"RaftAppliedIndex\" : \(status.raftAppliedIndex)\n")
      out.append("\"Errors\" : [\(status.errors.joined(separator: " "))]\n\"Endpoint\" : ")
      out.appendQuoted(Array(row.endpoint.utf8))
      out.append("\n\n")
    }
  }
}
