// The native face: frames in, interceptors, handlers, frames out. docs/protocol.md has every byte.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Answers the preface. False when the connection ends here.
  func greet(_ connection: ConnectionPointer, version: UInt8) -> Bool {
    guard version == Preface.version else {
      refuse(
        connection, .unimplemented,
        "protocol version \(version) is not spoken here; this server speaks \(Preface.version)")
      return false
    }
    guard !connection.pointee.isOverLimit else {
      refuse(connection, .resourceExhausted, "too many connections")
      return false
    }
    var hello = Hello()
    hello.serverVersion = Version.program
    hello.appendFrame(to: &connection.pointee.output)
    return true
  }

  /// Ends the connection with an error on stream 0.
  func refuse(_ connection: ConnectionPointer, _ code: StatusCode, _ message: String) {
    connection.pointee.output.appendErrorFrame(
      rawMethod: Method.hello.rawValue, stream: 0, code: code, message: message)
    connection.pointee.finish()
  }

  @inline(__always)
  mutating func receiveNative(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    if _slowPath(connection.pointee.isProducing) { return continuePieces(connection, bytes) }
    var parser = FrameParser(bytes, side: .server, bodyLimit: FrameLimits.requestBodyBytes)
    do throws(FrameError) {
      while connection.pointee.mayAnswer, let frame = try parser.next() { serve(connection, frame) }
    } catch {
      refuse(connection, error.code, error.description)
    }
    return parser.consumed
  }

  @inline(__always)
  private mutating func serve(_ connection: ConnectionPointer, _ frame: Frame) {
    guard let rpc = RPC(method: frame.header.rawMethod) else { return serveNoCall(connection, frame.header) }
    if _slowPath(rpc.isStream), serveStream(connection, frame, rpc) { return }
    var call = Call(rpc, requestBytes: frame.body.count, startedAt_ns: now_ns)
    call.body = frame.body
    let mark = connection.pointee.output.count
    do throws(StatusError) {
      try chain.admit(call)
      let isAnswered = try handle(rpc, connection, frame)
      if _slowPath(openTicket != 0) { settleTicket(isDeferred: !isAnswered) }
      if isAnswered {
        let size = connection.pointee.output.count &- mark
        chain.finished(call, Outcome(code: .ok, answerBytes: size), connection)
      }
    } catch {
      connection.pointee.output.truncate(to: mark)
      if openTicket != 0 { settleTicket(isDeferred: false) }
      fail(connection, call, frame, error)
    }
  }

  /// A method that is none of the table's.
  @inline(never)
  private func serveNoCall(_ connection: ConnectionPointer, _ header: FrameHeader) {
    if header.method == .cancel { return server.cancel(address(connection, header)) }
    connection.pointee.output.appendErrorFrame(
      rawMethod: header.rawMethod, stream: header.stream, code: .unimplemented,
      message: "unknown method \(header.rawMethod)")
  }

  @inline(never)
  private mutating func fail(
    _ connection: ConnectionPointer, _ call: Call, _ frame: Frame, _ failure: StatusError
  ) {
    var error = failure
    if call.rpc == .range, error == KVServer.largeAnswer {
      do { return try beginPieces(.measured, connection, frame) } catch let refusal { error = refusal }
    }
    let header = frame.header
    connection.pointee.output.appendErrorFrame(
      rawMethod: header.rawMethod, stream: header.stream, code: error.code, message: error.message)
    let outcome = Outcome(code: error.code, answerBytes: error.message.utf8.count + FrameHeader.byteCount)
    chain.finished(call, outcome, connection)
  }

  /// Appends the answer and gives true, or gives false when it comes later.
  @inline(__always)
  private mutating func handle(
    _ rpc: RPC, _ connection: ConnectionPointer, _ frame: Frame
  ) throws(StatusError) -> Bool {
    if rpc == .rangeStream {
      try beginPieces(.pieces, connection, frame)
      return false
    }
    let at = connection.pointee.output.openFrame()
    let reply = later(connection, frame.header, isPatient: rpc.isPatient)
    guard try answer(rpc, frame.body, connection, reply) else {
      // Taken back: the answer gets a frame of its own when it comes.
      connection.pointee.output.truncate(to: at)
      return false
    }
    if _slowPath(connection.pointee.output.isRefused) { throw StatusError.outOfMemory }
    closeFrame(connection, at, frame.header)
    return true
  }

  @inline(__always)
  private func closeFrame(_ connection: ConnectionPointer, _ at: Int, _ request: FrameHeader) {
    connection.pointee.output.closeFrame(
      at: at, rawMethod: request.rawMethod, flags: FrameFlags.answer | FrameFlags.endOfStream, stream: request.stream,
      status: 0)
  }

  func address(_ connection: ConnectionPointer, _ header: FrameHeader) -> ReplyAddress {
    ReplyAddress(
      reactor: reactor, method: header.rawMethod, slot: connection.pointee.slot,
      generation: connection.pointee.generation, stream: header.stream, requestBytes: header.length,
      startedAt_ns: now_ns)
  }

  /// The address of a call that may be answered later. Where the client gave it a time, it takes a ticket, which
  /// `settleTicket` takes back if the call is over at once.
  mutating func later(_ connection: ConnectionPointer, _ header: FrameHeader, isPatient: Bool = false) -> ReplyAddress {
    var reply = address(connection, header)
    reply.isPatient = isPatient
    guard header.status != 0 else { return reply }
    openTicket = deadlines.begin(reply, at_ns: now_ns &+ UInt64(header.status) &* 1_000_000)
    reply.ticket = openTicket
    return reply
  }

  mutating func settleTicket(isDeferred: Bool) {
    if !isDeferred { _ = deadlines.end(openTicket) }
    openTicket = 0
  }

  /// Appends a whole frame: behind the answer that is being made in pieces, if one is, since it can't stand within it. False
  /// where memory was refused: then there is none.
  @discardableResult
  func sendFrame(
    _ connection: ConnectionPointer, _ rawMethod: UInt16, _ flags: UInt16, _ stream: UInt32, status: UInt32 = 0,
    _ write: (inout OutBuffer) -> Void
  ) -> Bool {
    if connection.pointee.isProducing, let answer = pieces[connection.pointee.slot] {
      return answer.held.appendFrame(rawMethod, flags, stream, status, write)
    }
    return connection.pointee.output.appendFrame(rawMethod, flags, stream, status, write)
  }

  /// Sends a deferred answer.
  mutating func completeNative(
    _ connection: ConnectionPointer?, _ address: ReplyAddress, status: UInt32, _ body: UnsafeRawBufferPointer
  ) {
    if address.isStreamed {
      if let connection { completeStreamed(connection, address, status: status, body) }
      return
    }
    if let connection {
      let flags = FrameFlags.answer | FrameFlags.endOfStream
      let isSent = sendFrame(connection, address.method, flags, address.stream, status: status) { $0.append(body) }
      if !isSent {
        let error = StatusError.outOfMemory
        sendFrame(connection, address.method, flags, address.stream, status: error.code.rawValue) {
          $0.append(error.message)
        }
      }
    }
    guard let rpc = RPC(method: address.method) else { return }
    let call = Call(rpc, requestBytes: Int(address.requestBytes), startedAt_ns: address.startedAt_ns)
    let code = StatusCode(rawValue: status) ?? .unknown
    chain.finished(call, Outcome(code: code, answerBytes: body.count + FrameHeader.byteCount), connection)
  }
}

extension OutBuffer {
  fileprivate mutating func appendFrame(
    _ rawMethod: UInt16, _ flags: UInt16, _ stream: UInt32, _ status: UInt32, _ write: (inout OutBuffer) -> Void
  ) -> Bool {
    let at = openFrame()
    write(&self)
    guard !isRefused else {
      truncate(to: at)
      return false
    }
    closeFrame(at: at, rawMethod: rawMethod, flags: flags, stream: stream, status: status)
    return true
  }
}
