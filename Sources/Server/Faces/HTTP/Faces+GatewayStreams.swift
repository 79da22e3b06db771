// Streams over the JSON gateway: the body is one request message after the other, the answer a line of JSON for each answer,
// {"result":{…}}. A watch lasts until its client goes, whether or not the body has ended; keep-alives until the last is
// answered.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Requests on streams are small; what is larger is none.
  private static var messageTextMax: Int { 64 << 10 }

  mutating func openStream(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    let call = Call(exchange.rpc, requestBytes: 0, startedAt_ns: exchange.startedAt_ns)
    do throws(StatusError) { try chain.admit(call) } catch {
      failGateway(connection, exchange, error, closing: true)
      return chain.finished(call, Outcome(code: error.code, answerBytes: 0), connection)
    }
    exchange.phase = .streaming
    if exchange.rpc.hasSender {
      exchange.answers = ResponseStream(address(connection, exchange, requestBytes: 0))
    }
    takeMessages(connection, exchange)
  }

  /// What comes while the stream is open: more of its body; behind that nothing, because the answer has no end to wait for.
  mutating func takeStreamed(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ bytes: UnsafeRawBufferPointer
  ) -> Int? {
    if let next = exchange.snapshot, exchange.waiting == 0 {
      continueSnapshot(connection, exchange, next)
      guard HTTPConnection.of(connection)?.exchange === exchange else { return 0 }
    }
    var taken = 0
    if !exchange.reader.isComplete {
      guard let count = readStreamed(connection, exchange, bytes) else { return bytes.count }
      taken = count
    }
    takeMessages(connection, exchange)
    // Over: what follows is the next request.
    if HTTPConnection.of(connection)?.exchange !== exchange || taken > 0 { return taken }
    if bytes.isEmpty || !exchange.reader.isComplete { return nil }
    // Requests behind a watch are never answered, behind others soon.
    if exchange.answers != nil { return bytes.count }
    connection.pointee.hold()
    return nil
  }

  private mutating func readStreamed(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ bytes: UnsafeRawBufferPointer
  ) -> Int? {
    let before = exchange.text.count
    do throws(HTTPBodyReader.Failure) {
      let taken = try exchange.reader.take(bytes, limit: Faces.messageTextMax, into: &exchange.text)
      gatewayBytes += exchange.text.count - before
      guard !exchange.text.isRefused else {
        failStream(connection, exchange, .outOfMemory)
        return nil
      }
      return taken
    } catch {
      gatewayBytes += exchange.text.count - before
      failStream(connection, exchange, StatusError(.invalidArgument, "malformed chunked encoding"))
      return nil
    }
  }

  /// Gives the whole messages that are there to the service.
  private mutating func takeMessages(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    do throws(StatusError) {
      while mayTake(connection, exchange), try takeMessage(connection, exchange) {}
    } catch {
      return failStream(connection, exchange, error)
    }
    endIfAnswered(connection, exchange)
  }

  private func mayTake(_ connection: ConnectionPointer, _ exchange: HTTPExchange) -> Bool {
    exchange.answers == nil ? exchange.waiting < 128 : connection.pointee.mayAnswer
  }

  /// False where there is no whole message.
  private mutating func takeMessage(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange
  ) throws(StatusError) -> Bool {
    var message = OutBuffer.refusable
    defer { message.free() }
    let outcome: JSONToProto.Outcome
    do { outcome = try JSONToProto.convert(exchange.text.bytes, exchange.route.request, into: &message) } catch {
      throw StatusError(.unknown, error.description)
    }
    switch outcome {
    case .nothing:
      dropBody(exchange)
      // No text stands for a message without fields, where there is but one.
      guard exchange.rpc == .observe || exchange.rpc == .snapshot, !exchange.isAsked, exchange.reader.isComplete else {
        return false
      }
    case .incomplete:
      if exchange.reader.isComplete { throw StatusError(.unknown, JSONError.truncated.description) }
      if exchange.text.count > Faces.messageTextMax { throw StatusError.requestTooLarge }
      return false
    case .message(let end):
      exchange.text.removeFirst(end)
      gatewayBytes -= end
    }
    guard !message.isRefused else { throw StatusError.outOfMemory }
    if exchange.isAsked { return true }
    if exchange.rpc == .snapshot {
      try askForSnapshot(connection, exchange, SnapshotRequest())
      return true
    }
    if let answers = exchange.answers, exchange.rpc == .observe {
      try server.observe(message.bytes, on: answers)
      exchange.isAsked = true
    } else if let answers = exchange.answers {
      try server.watch(message.bytes, on: answers, revision: view().word(StoreWord.revision))
    } else {
      var reply = address(connection, exchange, requestBytes: message.count)
      reply.isStreamed = true
      try server.keepLeaseAlive(message.bytes, reply: reply)
      exchange.waiting += 1
    }
    // Until it is looked at, the message counts: a client that sends without end is not read any further.
    connection.pointee.deferAnswer()
    return true
  }

  private mutating func endIfAnswered(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    guard exchange.answers == nil, exchange.reader.isComplete, exchange.text.isEmpty, exchange.waiting == 0 else {
      return
    }
    if !exchange.hasBegun { beginChunks(connection, exchange.manner) }
    endStream(connection, exchange)
    finished(exchange, .ok, connection)
  }

  mutating func endStream(_ connection: ConnectionPointer, _ exchange: HTTPExchange) {
    release(connection, exchange)
    var manner = exchange.manner
    // The rest of the body would be taken for a request.
    if !exchange.reader.isComplete { manner.keepsAlive = false }
    endChunks(connection, manner)
    if !manner.keepsAlive { connection.pointee.finish() }
  }

  /// Before the first answer an error is the answer; afterwards it is the last line.
  mutating func failStream(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ error: StatusError
  ) {
    endAnswers(exchange)
    if exchange.hasBegun {
      appendLine(connection, exchange) { text in
        let codes = "\"grpc_code\":\(error.code.rawValue),\"http_code\":\(error.code.httpCode)"
        text.append("{\"error\":{\(codes),\"message\":")
        JSONText.append(error.message, to: &text)
        text.append("}}\n")
      }
      endStream(connection, exchange)
    } else {
      var manner = exchange.manner
      if !exchange.reader.isComplete { manner.keepsAlive = false }
      release(connection, exchange)
      answerGateway(connection, manner, error)
    }
    finished(exchange, error.code, connection)
  }

  func endAnswers(_ exchange: HTTPExchange) {
    if let request = exchange.snapshot { server.finishSnapshot(request) }
    guard let answers = exchange.answers else { return }
    if exchange.rpc == .observe { server.endObserve(answers) } else { server.endWatch(answers) }
  }

  mutating func finished(_ exchange: HTTPExchange, _ code: StatusCode, _ connection: ConnectionPointer?) {
    let call = Call(exchange.rpc, requestBytes: 0, startedAt_ns: exchange.startedAt_ns)
    chain.finished(call, Outcome(code: code, answerBytes: 0), connection)
  }

  // MARK: - Answers

  private func appendLine(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ write: (inout OutBuffer) -> Void
  ) {
    var text = OutBuffer.refusable
    defer { text.free() }
    write(&text)
    // A gap that its client would not see.
    guard !text.isRefused else { return connection.pointee.breakOff() }
    if !exchange.hasBegun {
      exchange.hasBegun = true
      beginChunks(connection, exchange.manner, fields: Faces.gatewayFields)
    }
    appendChunk(connection, exchange.manner, text.bytes)
  }

  mutating func appendResult(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ message: UnsafeRawBufferPointer
  ) {
    appendLine(connection, exchange) { text in
      text.append("{\"result\":")
      let at = text.count
      do { try ProtoToJSON.convert(message, exchange.route.answer, into: &text) } catch {
        // Not of this server's making: nothing of it can be shown.
        text.truncate(to: at)
        text.append("{}")
      }
      text.append("}\n")
    }
  }

  /// A keep-alive's answer, or some bytes of a snapshot.
  mutating func completeStreamed(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ code: StatusCode, _ body: UnsafeRawBufferPointer
  ) {
    exchange.waiting -= 1
    guard code == .ok else {
      return failStream(connection, exchange, StatusError(code, String(decoding: body, as: UTF8.self)))
    }
    if exchange.rpc == .snapshot { return completeSnapshot(connection, exchange, body) }
    appendResult(connection, exchange, body)
    takeMessages(connection, exchange)
  }

  /// A watch's or an observer's answer; the last one of an observer is an error.
  mutating func deliverHTTP(_ item: StreamDelivery.Item, of delivery: StreamDelivery, _ connection: ConnectionPointer) {
    guard let exchange = HTTPConnection.of(connection)?.exchange, exchange.answers === item.stream,
      !connection.pointee.isFinishing
    else { return }
    var message = OutBuffer.refusable
    defer { message.free() }
    delivery.append(item, to: &message)
    guard !message.isRefused else { return connection.pointee.breakOff() }
    if let code = item.endCode {
      let text = String(decoding: message.bytes, as: UTF8.self)
      return failStream(connection, exchange, StatusError(code, text))
    }
    appendResult(connection, exchange, message.bytes)
    exchange.unsentBytes += item.byteCount
    connection.pointee.tellDrained()
  }

  mutating func drainedHTTP(_ connection: ConnectionPointer) {
    guard let exchange = HTTPConnection.of(connection)?.exchange else { return }
    guard let answers = exchange.answers, exchange.unsentBytes > 0 else { return }
    let isAwaited = answers.take(exchange.unsentBytes)
    exchange.unsentBytes = 0
    guard isAwaited else { return }
    if exchange.rpc == .observe { server.observeDrained(answers) } else { server.watchDrained(answers) }
  }
}
