// Answers of the HTTP face as bytes: heads as etcd's, bodies whole or in chunks.
import Glibc
import NeedletailBytes
import NeedletailRPC

extension Faces {
  static var plainText: String { "text/plain; charset=utf-8" }
  static var json: String { "application/json" }

  private static func reason(_ code: Int) -> String {
    switch code {
    case 200: "OK"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 412: "Precondition Failed"
    case 413: "Request Entity Too Large"
    case 421: "Misdirected Request"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    default: "Status \(code)"
    }
  }

  /// `length` nil: the body comes in chunks, or to one who takes none until the connection ends.
  private func head(
    _ manner: HTTPManner, _ code: Int, type: String?, length: Int?, fields: String, closing: Bool
  ) -> String {
    var head = "HTTP/1.1 \(code) \(Faces.reason(code))\r\n"
    if let origin = manner.allowedOrigin {
      head += "Access-Control-Allow-Headers: accept, content-type, authorization\r\n"
      head += "Access-Control-Allow-Methods: POST, GET, OPTIONS, PUT, DELETE\r\n"
      head += "Access-Control-Allow-Origin: \(origin)\r\n"
    }
    if let type { head += "Content-Type: \(type)\r\n" }
    if type == Faces.plainText { head += "X-Content-Type-Options: nosniff\r\n" }
    head += fields + "Date: \(HTTPDate.now())\r\n"
    if let length {
      head += "Content-Length: \(length)\r\n"
    } else if manner.takesChunks {
      head += "Transfer-Encoding: chunked\r\n"
    }
    return head + (closing ? "Connection: close\r\n\r\n" : "\r\n")
  }

  /// A whole answer. The connection ends behind it where the client wishes that, or the request's rest is unread.
  func answer(
    _ connection: ConnectionPointer, _ manner: HTTPManner, _ code: Int, _ body: UnsafeRawBufferPointer,
    type: String?, fields: String = ""
  ) {
    connection.pointee.output.append(
      head(manner, code, type: type, length: body.count, fields: fields, closing: !manner.keepsAlive))
    if !manner.isHead { connection.pointee.output.append(body) }
    if !manner.keepsAlive { connection.pointee.finish() }
  }

  func answer(
    _ connection: ConnectionPointer, _ manner: HTTPManner, _ code: Int, _ body: String,
    type: String? = Faces.plainText, fields: String = ""
  ) {
    var body = body
    body.withUTF8 { answer(connection, manner, code, UnsafeRawBufferPointer($0), type: type, fields: fields) }
  }

  // MARK: - In chunks

  func beginChunks(_ connection: ConnectionPointer, _ manner: HTTPManner, fields: String = "") {
    let closing = !manner.keepsAlive || !manner.takesChunks
    connection.pointee.output.append(
      head(manner, 200, type: Faces.json, length: nil, fields: fields, closing: closing))
  }

  func appendChunk(_ connection: ConnectionPointer, _ manner: HTTPManner, _ bytes: UnsafeRawBufferPointer) {
    guard !bytes.isEmpty else { return }
    if manner.takesChunks { connection.pointee.output.append(String(bytes.count, radix: 16) + "\r\n") }
    connection.pointee.output.append(bytes)
    if manner.takesChunks { connection.pointee.output.append("\r\n") }
  }

  func endChunks(_ connection: ConnectionPointer, _ manner: HTTPManner) {
    if manner.takesChunks { connection.pointee.output.append("0\r\n\r\n") }
    if !manner.keepsAlive || !manner.takesChunks { connection.pointee.finish() }
  }
}

/// Dates as HTTP has them: Sun, 06 Nov 1994 08:49:37 GMT.
enum HTTPDate {
  private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]

  static func now() -> String {
    var seconds = time(nil)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let day = days[Int(parts.tm_wday) % 7]
    let month = months[Int(parts.tm_mon) % 12]
    let clock = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
    return "\(day), \(two(parts.tm_mday)) \(month) \(parts.tm_year + 1900) \(clock) GMT"
  }
}
