// The HTTP/1.1 face: heads and bodies cut from what comes in, however it is cut, and requests given to the pages or to the
// JSON gateway. One request of a connection is under way at a time; what is sent behind it waits.
import NeedletailBytes
import NeedletailRPC

extension Faces {
  private static var headLimit: Int { 16 << 10 }

  mutating func receiveHTTP(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    var consumed = 0
    // Once without bytes: messages of a stream may wait that came before.
    repeat {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[consumed...])
      if let exchange = HTTPConnection.of(connection)?.exchange {
        guard let taken = continueExchange(connection, exchange, rest) else { return consumed }
        consumed += taken
      } else {
        guard connection.pointee.mayAnswer, !rest.isEmpty else { return consumed }
        guard let taken = takeHead(connection, rest) else { return consumed }
        consumed += taken
      }
    } while consumed < bytes.count && !connection.pointee.isFinishing
    return connection.pointee.isFinishing ? bytes.count : consumed
  }

  /// Goes on with the request under way. Nil where it takes nothing more now.
  private mutating func continueExchange(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ rest: UnsafeRawBufferPointer
  ) -> Int? {
    switch exchange.phase {
    case .body: return rest.isEmpty ? nil : takeBody(connection, exchange, rest)
    case .streaming: return takeStreamed(connection, exchange, rest)
    case .pieces(let pieces):
      advanceGateway(connection, exchange, pieces)
      return connection.pointee.isProducing ? nil : 0
    case .waiting:
      // The next request: it waits where it came in, and nothing more is read.
      if !rest.isEmpty { connection.pointee.hold() }
      return nil
    }
  }

  /// Cuts one head off and begins its request. Nil where it is not whole.
  private mutating func takeHead(_ connection: ConnectionPointer, _ rest: UnsafeRawBufferPointer) -> Int? {
    switch HTTPRequestHead.parse(rest, limit: Faces.headLimit) {
    case .incomplete: return nil
    case .tooLarge:
      refuseHTTP(connection, 431, "the request head is larger than 16 KiB\n")
      return rest.count
    case .malformed:
      refuseHTTP(connection, 400, "malformed request\n")
      return rest.count
    case .head(let head):
      connection.pointee.greet()
      begin(connection, head)
      return head.byteCount
    }
  }

  private mutating func begin(_ connection: ConnectionPointer, _ head: HTTPRequestHead) {
    var manner = manner(of: head)
    let gateway = GatewayRoute.find(head.path)
    // A page's request has no body to speak of: whoever sends one finds the connection closed behind the answer.
    if head.hasBody, gateway == nil || !head.method.elementsEqual("POST".utf8) { manner.keepsAlive = false }
    if connection.pointee.isOverLimit { return refuseHTTP(connection, 503, "too many connections\n") }
    guard isServed(head.host) else {
      manner.keepsAlive = false
      return answer(connection, manner, 421, "the request is for a host that --host-whitelist does not name\n")
    }
    let role = context.http.roles.role(of: connection)
    if head.method.elementsEqual("OPTIONS".utf8), role != .calls {
      return answer(connection, manner, 200, "", type: nil)
    }
    switch role {
    case .calls: return answer(connection, manner, 404, "404 page not found\n")
    case .metrics: return page(connection, head, manner, isMetricsOnly: true)
    case .everything, .http: break
    }
    guard let gateway else { return page(connection, head, manner, isMetricsOnly: false) }
    beginGateway(connection, head, manner, gateway)
  }

  private func manner(of head: HTTPRequestHead) -> HTTPManner {
    var manner = HTTPManner()
    manner.keepsAlive = head.keepsAlive
    manner.isHead = head.method.elementsEqual("HEAD".utf8)
    manner.takesChunks = head.minorVersion >= 1
    if let origins = context.http.origins {
      let origin = String(decoding: head.origin, as: UTF8.self)
      if origins.contains(origin) { manner.allowedOrigin = origin }
    } else {
      manner.allowedOrigin = "*"
    }
    return manner
  }

  /// The host's name without its port.
  private func isServed(_ host: UnsafeRawBufferPointer) -> Bool {
    guard let hosts = context.http.hosts else { return true }
    var name = String(decoding: host, as: UTF8.self).lowercased()[...]
    if name.hasPrefix("["), let end = name.firstIndex(of: "]") {
      name = name[name.index(after: name.startIndex)..<end]
    } else if let colon = name.lastIndex(of: ":") {
      name = name[..<colon]
    }
    return hosts.contains(String(name))
  }

  /// The connection's last word: the request can't be read any further.
  func refuseHTTP(_ connection: ConnectionPointer, _ code: Int, _ text: String) {
    var manner = HTTPManner()
    manner.keepsAlive = false
    answer(connection, manner, code, text)
  }

  mutating func closeHTTP(_ connection: ConnectionPointer) {
    guard let exchange = HTTPConnection.removed(from: connection)?.exchange else { return }
    dropBody(exchange)
    switch exchange.phase {
    case .streaming:
      endAnswers(exchange)
      finished(exchange, .cancelled, connection)
    case .pieces: gatewayPieces -= 1
    case .body, .waiting: break
    }
  }

  mutating func abandonHTTP(_ connection: ConnectionPointer, _ reason: AbandonReason) {
    guard let exchange = HTTPConnection.of(connection)?.exchange else {
      return refuseHTTP(connection, 408, "the request was not finished\n")
    }
    // In the middle of an answer nothing can be said.
    guard case .body = exchange.phase else { return connection.pointee.finish() }
    switch reason {
    case .truncated: failGateway(connection, exchange, StatusError(.invalidArgument, "unexpected EOF"), closing: true)
    case .stalled, .greetingTimeout: refuseHTTP(connection, 408, "the request was not finished\n")
    }
  }
}
