// The HTTP/1.1 face, as small as health checks and scrapers need: GET and HEAD, no bodies, kept alive.
import NeedletailBytes
import NeedletailRPC

extension Faces {
  private static var headLimit: Int { 16 << 10 }

  mutating func receiveHTTP(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    var consumed = 0
    while connection.pointee.mayAnswer, !connection.pointee.isFinishing, consumed < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[consumed...])
      switch HTTPRequestHead.parse(rest, limit: Faces.headLimit) {
      case .incomplete:
        return consumed
      case .tooLarge:
        appendHTTP(
          connection, 431, "Request Header Fields Too Large", "the request head is larger than 16 KiB\n",
          closing: true)
        return bytes.count
      case .malformed:
        appendHTTP(connection, 400, "Bad Request", "malformed request\n", closing: true)
        return bytes.count
      case .head(let head):
        consumed += head.byteCount
        connection.pointee.greet()
        answer(connection, head)
      }
    }
    return consumed
  }

  private mutating func answer(_ connection: ConnectionPointer, _ head: HTTPRequestHead) {
    let isHead = head.method.elementsEqual("HEAD".utf8)
    let closing = !head.keepsAlive || head.hasBody
    if connection.pointee.isOverLimit {
      return appendHTTP(connection, 503, "Service Unavailable", "too many connections\n", closing: true)
    }
    guard isHead || head.method.elementsEqual("GET".utf8) else {
      return appendHTTP(
        connection, 405, "Method Not Allowed", "only GET and HEAD\n", closing: closing, fields: "Allow: GET, HEAD\r\n")
    }
    if head.path.elementsEqual("/health".utf8) {
      health(connection, head, isHead: isHead, closing: closing)
    } else if head.path.elementsEqual("/version".utf8) {
      let body = "{\"etcdserver\":\"\(Version.compatible)\",\"etcdcluster\":\"\(Version.cluster)\"}"
      appendHTTP(connection, 200, "OK", body, type: "application/json", closing: closing, isHead: isHead)
    } else if head.path.elementsEqual("/metrics".utf8) {
      appendHTTP(
        connection, 200, "OK", context.metrics.render(), type: "text/plain; version=0.0.4; charset=utf-8",
        closing: closing, isHead: isHead)
    } else {
      appendHTTP(connection, 404, "Not Found", "404 page not found\n", closing: closing, isHead: isHead)
    }
  }

  private mutating func health(_ connection: ConnectionPointer, _ head: HTTPRequestHead, isHead: Bool, closing: Bool) {
    let parameters = String(decoding: head.query, as: UTF8.self).split(separator: "&")
    let excluded = Set(parameters.filter { $0.hasPrefix("exclude=") }.map { $0.dropFirst("exclude=".count) })
    let alarm = server.status.alarms.list.first { !excluded.contains($0.kind.name[...]) }
    let illness = illness(excludingNoSpace: excluded.contains("NOSPACE")) ?? alarm.map { "ALARM \($0.kind.name)" }
    let body = "{\"health\":\"\(illness == nil)\",\"reason\":\"\(illness.map(jsonEscaped) ?? "")\"}"
    let (code, reason) = illness == nil ? (200, "OK") : (503, "Service Unavailable")
    appendHTTP(connection, code, reason, body, type: "application/json", closing: closing, isHead: isHead)
  }

  private func jsonEscaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": escaped += "\\\""
      case "\\": escaped += "\\\\"
      case _ where scalar.value < 0x20: escaped += " "
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }

  func appendHTTP(
    _ connection: ConnectionPointer, _ code: Int, _ reason: String, _ body: String,
    type: String = "text/plain; charset=utf-8", closing: Bool, isHead: Bool = false, fields: String = ""
  ) {
    let head =
      "HTTP/1.1 \(code) \(reason)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n\(fields)"
      + (closing ? "Connection: close\r\n\r\n" : "\r\n")
    connection.pointee.output.append(head)
    if !isHead { connection.pointee.output.append(body) }
    if closing { connection.pointee.finish() }
  }
}
