// How a watch's responses are shown: etcdctl 3.4's forms, to the byte.

import NeedletailClient
import NeedletailRPC

struct WatchOutput {
  let format: OutputFormat
  var hex = false

  func show(_ response: WatchResponse) {
    switch format {
    case .json:
      StandardOutput.write { out in
        json(response, &out)
        out.append("\n")
      }
    case .fields:
      let pairs = KeyValueOutput(format: .fields)
      FieldLines.header(response.header)
      for event in response.events {
        StandardOutput.write("\"Type\" : \(WatchOutput.name(event.kind))\n")
        if let previous = event.prevKV { pairs.fields(previous, "Prev") }
        pairs.fields(event.kv, "")
      }
    default:
      let pairs = KeyValueOutput(format: .simple, hex: hex)
      for event in response.events {
        StandardOutput.write(WatchOutput.name(event.kind) + "\n")
        if let previous = event.prevKV { pairs.simple(previous) }
        pairs.simple(event.kv)
      }
    }
  }

  static func name(_ kind: WatchEvent.Kind) -> String { kind == .put ? "PUT" : "DELETE" }

  /// Go's encoder shows the client's own type: its fields by their names, zero or not.
  private func json(_ response: WatchResponse, _ out: inout OutBuffer) {
    // What etcd's client makes of a watch that was refused has no header.
    let isRefusal = response.created
    out.append("{\"Header\":")
    JSONMessages.header(isRefusal ? ResponseHeader() : response.header, &out)
    out.append(",\"Events\":")
    if isRefusal {
      out.append("null")
    } else {
      out.append("[")
      for (at, event) in response.events.enumerated() {
        if at > 0 { out.append(",") }
        json(event, &out)
      }
      out.append("]")
    }
    out.append(",\"CompactRevision\":\(response.compactRevision),\"Canceled\":\(response.canceled),\"Created\":false}")
  }

  private func json(_ event: WatchEvent, _ out: inout OutBuffer) {
    let pairs = KeyValueOutput(format: .json)
    var object = JSONObject()
    object.number("type", event.kind.rawValue, &out)
    object.member("kv", &out) { pairs.json(event.kv, &$0) }
    if let previous = event.prevKV { object.member("prev_kv", &out) { pairs.json(previous, &$0) } }
    object.close(&out)
  }
}
