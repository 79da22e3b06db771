// The gRPC face: HTTP/2 streams in, the RPC table, the handlers that all faces share, messages and trailers out.
import CNeedletail
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Bytes decoded at a time: what they ask for is served before more are.
  private static var feedBytes: Int { 16 << 10 }

  @inline(never)
  mutating func beginGRPC(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let session = HTTP2Session.open(connection, http2) else {
      connection.pointee.finish()
      return bytes.count
    }
    connection.pointee.face = Kind.grpc
    connection.pointee.faceState = session.bits
    guard !connection.pointee.isOverLimit else {
      session.goAway(.enhanceYourCalm, "too many connections")
      session.pump()
      connection.pointee.finish()
      return bytes.count
    }
    return receiveGRPC(connection, bytes)
  }

  @inline(__always)
  func session(_ connection: ConnectionPointer) -> HTTP2Session? {
    connection.pointee.face == Kind.grpc ? HTTP2Session(bits: connection.pointee.faceState) : nil
  }

  @inline(never)
  mutating func receiveGRPC(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let session = session(connection) else { return bytes.count }
    session.pump()
    serveReady(session)
    var consumed = 0
    while connection.pointee.mayAnswer, consumed < bytes.count {
      let end = min(bytes.count, consumed + Faces.feedBytes)
      guard session.feed(UnsafeRawBufferPointer(rebasing: bytes[consumed..<end])) else {
        session.pump()
        connection.pointee.finish()
        return bytes.count
      }
      consumed = end
      session.pump()
      serveReady(session)
    }
    settle(session)
    return consumed
  }

  private mutating func serveReady(_ session: HTTP2Session) {
    while session.connection.pointee.mayAnswer, session.mayServe, let stream = session.nextReady() {
      serve(session, stream)
    }
  }

  /// What is to be done after anything was sent or received.
  mutating func settle(_ session: HTTP2Session) {
    while let stream = session.nextClosed() { forget(session, stream) }
    if _slowPath(session.producing > 0) {
      advanceAll(session)
      while let stream = session.nextClosed() { forget(session, stream) }
    }
    if _slowPath(session.tellsDrained) { session.connection.pointee.tellDrained() }
    if _slowPath(session.isOver) { session.connection.pointee.finish() }
  }

  /// The stream is over, whoever ended it.
  private mutating func forget(_ session: HTTP2Session, _ stream: HTTP2StreamPointer) {
    if _slowPath(stream.pointee.owner != nil) { disown(session, stream) }
    session.release(stream)
  }

  // MARK: - Calls

  private mutating func serve(_ session: HTTP2Session, _ stream: HTTP2StreamPointer) {
    let flags = stream.pointee.flags
    if _slowPath(flags.contains(.closed)) { return forget(session, stream) }
    if _slowPath(!flags.isDisjoint(with: [.answered, .ending])) { return }
    guard let rpc = GRPCRoutes.rpc(stream.pointee.route), session.isServable(stream) else {
      return refuse(session, stream)
    }
    if _slowPath(rpc.isStream) { return serveStream(session, stream, rpc) }
    // It was served when it was whole; what comes behind says nothing more.
    if _slowPath(stream.pointee.owner != nil || stream.pointee.flags.contains(.served)) { return }
    do throws(StatusError) {
      guard case .message(let packed, let isCompressed) = session.message(stream) else {
        throw session.hasRest(stream) ? GRPCFailure.cut : GRPCFailure.empty
      }
      let body = try unpacked(stream, packed, isCompressed)
      var call = Call(rpc, requestBytes: body.count, startedAt_ns: now_ns)
      call.body = body
      stream.pointee.flags.insert(.served)
      answer(session, stream, call)
      session.forgetInput(stream)
    } catch {
      session.end(stream, error.code.rawValue, error.message)
    }
  }

  /// The message itself; valid until the next is unpacked.
  @inline(__always)
  mutating func unpacked(
    _ stream: HTTP2StreamPointer, _ message: UnsafeRawBufferPointer, _ isCompressed: Bool
  ) throws(StatusError) -> UnsafeRawBufferPointer {
    let message = isCompressed ? try unpack(stream, message) : message
    http2.pointee.receivedBytes &+= message.count
    return message
  }

  @inline(never)
  private mutating func unpack(
    _ stream: HTTP2StreamPointer, _ message: UnsafeRawBufferPointer
  ) throws(StatusError) -> UnsafeRawBufferPointer {
    switch stream.pointee.encoding {
    case .identity: throw GRPCFailure.unexpectedCompression
    case .unknown: throw GRPCFailure.unknownCompression
    case .gzip: break
    }
    // Memory that grew large once isn't kept for ever.
    if unpackedMessage.capacity > 64 << 10 { unpackedMessage.free() }
    unpackedMessage.removeAll()
    let limit = context.http2.messageBytes
    do throws(Gunzip.Failure) { try Gunzip.unpack(message, limit: limit, into: &unpackedMessage) } catch {
      throw error == .tooLarge ? GRPCFailure.tooLargeUnpacked(limit) : GRPCFailure.badCompression
    }
    guard !unpackedMessage.isRefused else { throw StatusError.outOfMemory }
    return unpackedMessage.bytes
  }

  @inline(never)
  private mutating func disown(_ session: HTTP2Session, _ stream: HTTP2StreamPointer) {
    guard let entry = GRPCStream.removed(from: stream) else { return }
    if entry.pieces != nil { session.producing -= 1 }
    if case .range = entry.pieces { grpcRanges -= 1 }
    finish(entry, .cancelled, session.connection)
  }

  @inline(__always)
  private mutating func answer(_ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ call: Call) {
    let connection = session.connection
    cuts = session.cuts
    defer { cuts = nil }
    var at: Int?
    do throws(StatusError) {
      try chain.admit(call)
      if _slowPath(stream.pointee.deadline_ns != 0 && stream.pointee.deadline_ns <= nt_nanoseconds()) {
        throw StatusError.deadlineExceeded
      }
      if _slowPath(call.rpc == .rangeStream) { return try beginRange(session, stream, call, .pieces) }
      if _slowPath(call.rpc == .snapshot) { return beginSnapshot(session, stream, call) }
      // A range's answer goes out where it is written: its stream's head must be there before.
      if call.rpc == .range, !session.begin(stream) {
        return chain.finished(call, Outcome(code: .cancelled, answerBytes: 0), connection)
      }
      let start = session.openMessage()
      at = start
      if _slowPath(call.rpc == .health) {
        try checkHealth(call.body, into: &connection.pointee.output)
        guard session.closeMessage(stream, start, isLast: true) else { throw StatusError.outOfMemory }
        return chain.finished(call, Outcome(code: .ok, answerBytes: 2), connection)
      }
      let reply = address(session, stream, call)
      guard try answer(call.rpc, call.body, connection, reply) else {
        session.dropMessage(start)
        if _slowPath(call.rpc.isPatient) { GRPCStream(patient: reply, call).own(stream) }
        return
      }
      let size = connection.pointee.output.count - start
      guard session.closeMessage(stream, start, isLast: true) else { throw StatusError.outOfMemory }
      chain.finished(call, Outcome(code: .ok, answerBytes: size), connection)
    } catch {
      if let at { session.dropMessage(at) }
      fail(session, stream, call, error)
    }
  }

  @inline(never)
  private mutating func fail(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ call: Call, _ error: StatusError
  ) {
    var error = error
    if call.rpc == .range, error == KVServer.largeAnswer {
      do { return try beginRange(session, stream, call, .measured) } catch let refusal { error = refusal }
    }
    session.end(stream, error.code.rawValue, error.message)
    chain.finished(call, Outcome(code: error.code, answerBytes: error.message.utf8.count), session.connection)
  }

  /// What never becomes a call.
  @inline(never)
  private func refuse(_ session: HTTP2Session, _ stream: HTTP2StreamPointer) {
    switch session.refusal(stream) {
    case .http(let status): session.refuse(stream, status: status)
    case .error(let error): session.end(stream, error.code.rawValue, error.message)
    case .none:
      let error = GRPCRoutes.unknown(session.path(stream))
      session.end(stream, error.code.rawValue, error.message)
    }
  }

  func address(_ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ call: Call) -> ReplyAddress {
    let connection = session.connection
    return ReplyAddress(
      reactor: reactor, method: call.rpc.methodNumber, slot: connection.pointee.slot,
      generation: connection.pointee.generation, stream: UInt32(bitPattern: stream.pointee.id),
      requestBytes: UInt32(clamping: call.requestBytes), startedAt_ns: call.startedAt_ns)
  }

  // MARK: - Answers that come later

  mutating func completeGRPC(_ connection: ConnectionPointer, _ reply: UnsafeMutablePointer<Mail>) {
    guard let session = session(connection) else { return }
    let address = reply.pointee.address
    let status = reply.pointee.status
    if address.isStreamed {
      if let stream = session.stream(address.stream), let entry = GRPCStream.of(stream) {
        completeStreamed(session, stream, entry, reply)
      }
      return settle(session)
    }
    // A call that waited for others is over: it is not to be given up any more.
    if address.isPatient, let stream = session.stream(address.stream) { GRPCStream.of(stream)?.isFinished = true }
    if let stream = session.stream(address.stream), stream.pointee.flags.isDisjoint(with: [.answered, .ending]) {
      if status == 0 {
        let isSent = session.send(stream, isLast: true) { $0.append(reply.body) }
        if !isSent { session.end(stream, StatusError.outOfMemory.code.rawValue, StatusError.outOfMemory.message) }
      } else {
        session.end(stream, status, String(decoding: reply.body, as: UTF8.self))
      }
    }
    if let rpc = RPC(method: address.method) {
      let call = Call(rpc, requestBytes: Int(address.requestBytes), startedAt_ns: address.startedAt_ns)
      let code = StatusCode(rawValue: status) ?? .unknown
      chain.finished(call, Outcome(code: code, answerBytes: reply.body.count), connection)
    }
    settle(session)
  }

  // MARK: - The end of a connection

  func abandonedGRPC(_ connection: ConnectionPointer) {
    guard let session = session(connection) else { return }
    session.goAway(.enhanceYourCalm, "no progress for too long")
    session.pump()
  }

  mutating func closeGRPC(_ connection: ConnectionPointer) {
    guard let session = session(connection) else { return }
    var next = session.firstOpen
    while let stream = next {
      next = session.open(after: stream)
      if stream.pointee.owner != nil { disown(session, stream) }
    }
    while let stream = session.nextClosed() { forget(session, stream) }
    while let stream = session.nextReady() { if stream.pointee.flags.contains(.closed) { forget(session, stream) } }
    connection.pointee.faceState = 0
    session.close()
  }
}
