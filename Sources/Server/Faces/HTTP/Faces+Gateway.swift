// The JSON gateway's calls of one message and one answer: JSON to a request's wire form, the same handlers as of every other
// face, and the answer's wire form back to JSON.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Base64 makes a message a third longer; there is room for white space and names besides.
  private var gatewayTextMax: Int { context.requestBytesMax * 2 + 64 << 10 }
  /// Bodies that one reactor holds unfinished, all connections together. Small ones are always taken.
  private static var gatewayBodiesMax: Int { 256 << 20 }
  private static var smallBody: Int { 64 << 10 }

  mutating func beginGateway(
    _ connection: ConnectionPointer, _ head: HTTPRequestHead, _ manner: HTTPManner, _ found: GatewayRoute.Found
  ) {
    var manner = manner
    let isPost = head.method.elementsEqual("POST".utf8)
    // What can't be read here, or is not wanted, is not waited for.
    func refuse(_ code: Int, _ text: String) {
      if head.hasBody { manner.keepsAlive = false }
      answer(connection, manner, code, text)
    }
    switch found {
    case .nothing: return refuse(404, "Not Found\n")
    case .unimplemented, .route:
      guard isPost else { return refuse(405, "Method Not Allowed\n") }
    }
    if head.hasUnknownCoding { return refuse(501, "the body's coding is not read here\n") }
    guard case .route(let route) = found else {
      if head.hasBody { manner.keepsAlive = false }
      return answerGateway(connection, manner, StatusError(.unimplemented, "this method is not served yet"))
    }
    if case .bytes(let count) = head.body, count > gatewayTextMax {
      manner.keepsAlive = false
      return answerGateway(connection, manner, StatusError.requestTooLarge)
    }
    let state = HTTPConnection.made(for: connection)
    state.lastNumber &+= 1
    let exchange = HTTPExchange(state.lastNumber, route, manner, head.body, startedAt_ns: now_ns)
    state.exchange = exchange
    if head.expectsContinue, !exchange.reader.isComplete {
      connection.pointee.output.append("HTTP/1.1 100 Continue\r\n\r\n")
    }
    switch route.style {
    case .stream: openStream(connection, exchange)
    case .unary:
      if exchange.reader.isComplete { serve(connection, exchange) } else { connection.pointee.isUnfinished = true }
    }
  }

  /// Takes what of the bytes is the body's; with its last byte the call begins.
  mutating func takeBody(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    guard let taken = read(connection, exchange, bytes, limit: gatewayTextMax) else { return bytes.count }
    if exchange.reader.isComplete {
      connection.pointee.isUnfinished = false
      serve(connection, exchange)
    }
    return taken
  }

  /// Appends the body's bytes to the exchange's text. Nil where they are none, or too many: the exchange is over.
  mutating func read(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ bytes: UnsafeRawBufferPointer, limit: Int
  ) -> Int? {
    let before = exchange.text.count
    do throws(HTTPBodyReader.Failure) {
      let taken = try exchange.reader.take(bytes, limit: limit, into: &exchange.text)
      gatewayBytes += exchange.text.count - before
      if exchange.text.isRefused {
        failGateway(connection, exchange, StatusError.outOfMemory, closing: true)
      } else if exchange.text.count > limit {
        failGateway(connection, exchange, StatusError.requestTooLarge, closing: true)
      } else if gatewayBytes > Faces.gatewayBodiesMax, exchange.text.count > Faces.smallBody {
        failGateway(connection, exchange, StatusError.tooManyRequests, closing: true)
      } else {
        return taken
      }
    } catch {
      gatewayBytes += exchange.text.count - before
      let what = error == .malformed ? "malformed chunked encoding" : "a line between chunks is too long"
      failGateway(connection, exchange, StatusError(.invalidArgument, what), closing: true)
    }
    return nil
  }

  /// Lets the text go.
  mutating func dropBody(_ exchange: HTTPExchange) {
    gatewayBytes -= exchange.text.count
    exchange.text.free()
  }

  // MARK: - Calls

  private mutating func serve(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    var message = OutBuffer.refusable
    var reply = OutBuffer.refusable
    defer {
      message.free()
      reply.free()
    }
    do throws(JSONError) {
      let outcome = try JSONToProto.convert(exchange.text.bytes, exchange.route.request, into: &message)
      if outcome == .incomplete { throw .truncated }
    } catch {
      return failGateway(connection, exchange, StatusError(.invalidArgument, error.description), closing: false)
    }
    if message.isRefused { return failGateway(connection, exchange, .outOfMemory, closing: false) }
    dropBody(exchange)
    var call = Call(exchange.rpc, requestBytes: message.count, startedAt_ns: exchange.startedAt_ns)
    call.body = message.bytes
    let mark = connection.pointee.output.count
    do throws(StatusError) {
      try chain.admit(call)
      let address = address(connection, exchange, requestBytes: message.count)
      exchange.phase = .waiting
      guard try answer(exchange.rpc, message.bytes, connection, address) else { return }
      let size = connection.pointee.output.count - mark
      try takeOutput(connection, from: mark, into: &reply)
      end(connection, exchange, reply.bytes)
      chain.finished(call, Outcome(code: .ok, answerBytes: size), connection)
    } catch {
      connection.pointee.output.truncate(to: mark)
      var refusal = error
      if exchange.rpc == .range, error == KVServer.largeAnswer {
        do { return try beginPieces(connection, exchange, message.bytes) } catch let why { refusal = why }
      }
      failGateway(connection, exchange, refusal, closing: false)
      chain.finished(call, Outcome(code: refusal.code, answerBytes: refusal.message.utf8.count), connection)
    }
  }

  /// The handlers write where the other faces send from; here it is translated first.
  private func takeOutput(
    _ connection: ConnectionPointer, from mark: Int, into message: inout OutBuffer
  ) throws(StatusError) {
    guard !connection.pointee.output.isRefused else { throw StatusError.outOfMemory }
    message.append(UnsafeRawBufferPointer(rebasing: connection.pointee.output.bytes[mark...]))
    connection.pointee.output.truncate(to: mark)
    guard !message.isRefused else { throw StatusError.outOfMemory }
  }

  func address(_ connection: ConnectionPointer, _ exchange: HTTPExchange, requestBytes: Int) -> ReplyAddress {
    ReplyAddress(
      reactor: reactor, method: exchange.rpc.methodNumber, slot: connection.pointee.slot,
      generation: connection.pointee.generation, stream: exchange.number,
      requestBytes: UInt32(clamping: requestBytes), startedAt_ns: exchange.startedAt_ns)
  }

  /// The exchange is over: what was held behind it may be decoded.
  mutating func release(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    dropBody(exchange)
    connection.pointee.isUnfinished = false
    connection.pointee.release()
    HTTPConnection.of(connection)?.exchange = nil
  }

  /// Answers with a message in its wire form.
  private mutating func end(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ message: UnsafeRawBufferPointer
  ) {
    var text = OutBuffer.refusable
    defer { text.free() }
    do {
      try ProtoToJSON.convert(message, exchange.route.answer, into: &text)
    } catch {
      return failGateway(connection, exchange, StatusError(.internal, "needletail: \(error)"), closing: false)
    }
    if text.isRefused { return failGateway(connection, exchange, .outOfMemory, closing: false) }
    let mark = connection.pointee.output.count
    answer(connection, exchange.manner, 200, text.bytes, type: Faces.json, fields: Faces.gatewayFields)
    guard !connection.pointee.output.isRefused else {
      connection.pointee.output.truncate(to: mark)
      return failGateway(connection, exchange, .outOfMemory, closing: false)
    }
    release(connection, exchange)
  }

  static var gatewayFields: String { "Grpc-Metadata-Content-Type: application/grpc\r\n" }

  /// Ends the exchange with an error in place of its answer.
  mutating func failGateway(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ error: StatusError, closing: Bool
  ) {
    var manner = exchange.manner
    if closing { manner.keepsAlive = false }
    release(connection, exchange)
    answerGateway(connection, manner, error)
  }

  /// etcd 3.4 and 3.5 have these three, 3.6 code, message and details.
  func answerGateway(_ connection: ConnectionPointer, _ manner: HTTPManner, _ error: StatusError, _ code: Int? = nil) {
    var text = OutBuffer()
    defer { text.free() }
    text.append("{\"error\":")
    JSONText.append(error.message, to: &text)
    text.append(",\"message\":")
    JSONText.append(error.message, to: &text)
    text.append(",\"code\":\(error.code.rawValue)}")
    answer(connection, manner, code ?? error.code.httpCode, text.bytes, type: Faces.json)
  }

  /// A deferred answer.
  mutating func completeHTTP(_ connection: ConnectionPointer, _ mail: UnsafeMutablePointer<Mail>) {
    let address = mail.pointee.address
    guard let exchange = HTTPConnection.of(connection)?.exchange, exchange.number == address.stream else { return }
    let code = StatusCode(rawValue: mail.pointee.status) ?? .unknown
    if address.isStreamed { return completeStreamed(connection, exchange, code, mail.body) }
    let call = Call(exchange.rpc, requestBytes: Int(address.requestBytes), startedAt_ns: address.startedAt_ns)
    if code == .ok {
      end(connection, exchange, mail.body)
    } else {
      let error = StatusError(code, String(decoding: mail.body, as: UTF8.self))
      failGateway(connection, exchange, error, closing: false)
    }
    chain.finished(call, Outcome(code: code, answerBytes: mail.body.count), connection)
  }
}

extension StatusCode {
  /// As the gateway of etcd 3.4 and 3.5 maps them; 3.6 has 400 for a failed precondition.
  var httpCode: Int {
    switch self {
    case .ok: 200
    case .invalidArgument, .outOfRange: 400
    case .unauthenticated: 401
    case .permissionDenied: 403
    case .notFound: 404
    case .cancelled: 408
    case .alreadyExists, .aborted: 409
    case .failedPrecondition: 412
    case .resourceExhausted: 429
    case .unknown, .internal, .dataLoss: 500
    case .unimplemented: 501
    case .unavailable: 503
    case .deadlineExceeded: 504
    }
  }
}
