// How answers about leases are shown: etcdctl 3.4's forms, to the byte.

import NeedletailClient
import NeedletailRPC

struct LeaseOutput {
  let format: OutputFormat

  static func hex(_ id: Int64) -> String {
    let digits = String(UInt64(bitPattern: id), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  func granted(_ answer: LeaseResponse) {
    switch format {
    case .json:
      object(answer.header) { object, out in
        LeaseOutput.number("ID", answer.id, &object, &out)
        LeaseOutput.number("TTL", answer.ttl, &object, &out)
        object.member("Error", &out) { $0.append("\"\"") }
      }
    case .fields: fields(answer.header, [("ID", answer.id), ("TTL", answer.ttl)])
    default:
      StandardOutput.write("lease \(LeaseOutput.hex(answer.id)) granted with TTL(\(answer.ttl)s)\n")
    }
  }

  func revoked(_ id: Int64, _ answer: LeaseResponse) {
    switch format {
    case .json:
      StandardOutput.write { out in
        var object = JSONObject()
        object.member("header", &out) { JSONMessages.header(answer.header, &$0) }
        object.close(&out)
        out.append("\n")
      }
    case .fields: fields(answer.header, [])
    default: StandardOutput.write("lease \(LeaseOutput.hex(id)) revoked\n")
    }
  }

  func keptAlive(_ answer: LeaseResponse) {
    switch format {
    case .json:
      object(answer.header) { object, out in
        LeaseOutput.number("ID", answer.id, &object, &out)
        LeaseOutput.number("TTL", answer.ttl, &object, &out)
      }
    case .fields: fields(answer.header, [("ID", answer.id), ("TTL", answer.ttl)])
    default:
      StandardOutput.write("lease \(LeaseOutput.hex(answer.id)) keepalived with TTL(\(answer.ttl))\n")
    }
  }

  func timeToLive(_ answer: LeaseResponse, keys: Bool) {
    switch format {
    case .json:
      object(answer.header) { object, out in
        LeaseOutput.number("id", answer.id, &object, &out)
        LeaseOutput.number("ttl", answer.ttl, &object, &out)
        LeaseOutput.number("granted-ttl", answer.grantedTTL, &object, &out)
        object.member("keys", &out) { LeaseOutput.keys(answer.keys, &$0) }
      }
    case .fields:
      fields(answer.header, [("ID", answer.id), ("TTL", answer.ttl), ("GrantedTTL", answer.grantedTTL)])
      for key in answer.keys {
        StandardOutput.write { out in
          out.append("\"Key\" : ")
          out.appendQuoted(key)
          out.append("\n")
        }
      }
    default:
      let name = LeaseOutput.hex(answer.id)
      guard answer.ttl > 0 || answer.grantedTTL > 0 else {
        return StandardOutput.write("lease \(name) already expired\n")
      }
      StandardOutput.write { out in
        out.append("lease \(name) granted with TTL(\(answer.grantedTTL)s), remaining(\(answer.ttl)s)")
        if keys {
          out.append(", attached keys([")
          for (at, key) in answer.keys.enumerated() {
            if at > 0 { out.append(" ") }
            key.withUnsafeBytes { out.append($0) }
          }
          out.append("])")
        }
        out.append("\n")
      }
    }
  }

  func list(_ answer: LeaseListResponse) {
    switch format {
    case .json:
      object(answer.header) { object, out in
        object.member("leases", &out) { out in
          out.append("[" + answer.ids.map { "{\"id\":\($0)}" }.joined(separator: ",") + "]")
        }
      }
    case .fields: fields(answer.header, answer.ids.map { ("ID", $0) })
    default:
      StandardOutput.write("found \(answer.ids.count) leases\n")
      for id in answer.ids { StandardOutput.write(LeaseOutput.hex(id) + "\n") }
    }
  }

  // MARK: Pieces

  /// The header's fields stand beside the answer's own; zero is shown.
  private func object(_ header: ResponseHeader, _ body: (inout JSONObject, inout OutBuffer) -> Void) {
    StandardOutput.write { out in
      var object = JSONObject()
      object.number("cluster_id", header.clusterID, &out)
      object.number("member_id", header.memberID, &out)
      object.number("revision", header.revision, &out)
      object.number("raft_term", header.raftTerm, &out)
      body(&object, &out)
      object.close(&out)
      out.append("\n")
    }
  }

  private static func number(_ name: String, _ value: Int64, _ object: inout JSONObject, _ out: inout OutBuffer) {
    object.member(name, &out) { $0.append(String(value)) }
  }

  /// Go shows no keys as null.
  private static func keys(_ keys: [[UInt8]], _ out: inout OutBuffer) {
    guard !keys.isEmpty else { return out.append("null") }
    for (at, key) in keys.enumerated() {
      out.append(at == 0 ? "[\"" : ",\"")
      Base64.encode(key, into: &out)
      out.append("\"")
    }
    out.append("]")
  }

  private func fields(_ header: ResponseHeader, _ numbers: [(String, Int64)]) {
    FieldLines.header(header)
    for (name, value) in numbers { StandardOutput.write("\"\(name)\" : \(value)\n") }
  }
}
