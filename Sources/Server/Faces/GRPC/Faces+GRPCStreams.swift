// Streams over gRPC: watches and keep-alives, whose messages are served one by one, and what the clock says of any stream.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Serves the messages of a stream that have come, and its end.
  @inline(never)
  mutating func serveStream(_ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ rpc: RPC) {
    let connection = session.connection
    do throws(StatusError) {
      let entry: GRPCStream
      if let open = GRPCStream.of(stream) { entry = open } else { entry = try openStream(session, stream, rpc) }
      while case .message(let packed, let isCompressed) = session.message(stream) {
        guard connection.pointee.mayAnswer, session.mayServe else { return session.putBack(stream) }
        try take(session, stream, entry, try unpacked(stream, packed, isCompressed))
        session.took(stream, packed.count)
      }
      guard stream.pointee.flags.contains(.clientEnded) else { return }
      guard !session.hasRest(stream) else { throw GRPCFailure.cut }
      // An observer's client says nothing more, and hears on; so does who watches health.
      if rpc == .observe || rpc == .healthWatch {
        guard entry.hasBegun else { throw GRPCFailure.empty }
      } else if entry.waiting == 0 {
        endStream(session, stream, entry, nil)
      }
    } catch {
      guard let entry = GRPCStream.of(stream) else {
        return session.end(stream, error.code.rawValue, error.message)
      }
      endStream(session, stream, entry, error)
    }
  }

  private mutating func openStream(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ rpc: RPC
  ) throws(StatusError) -> GRPCStream {
    let call = Call(rpc, requestBytes: 0, startedAt_ns: now_ns)
    let answers = rpc.hasSender ? ResponseStream(address(session, stream, call)) : nil
    let entry = GRPCStream(rpc, startedAt_ns: now_ns, answers: answers)
    entry.own(stream)
    try chain.admit(call)
    return entry
  }

  private mutating func take(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ body: UnsafeRawBufferPointer
  ) throws(StatusError) {
    guard body.count <= context.requestBytesMax else { throw StatusError.requestTooLarge }
    switch entry.rpc {
    case .healthWatch: return try watchHealth(session, stream, entry, body)
    case .reflect, .reflectAlpha: return try reflect(session, stream, body)
    default: break
    }
    if let answers = entry.answers, entry.rpc == .observe {
      guard !entry.hasBegun else { return }
      try server.observe(body, on: answers)
      entry.hasBegun = true
    } else if let answers = entry.answers {
      try server.watch(body, on: answers, revision: view().word(StoreWord.revision))
    } else {
      var reply = address(session, stream, Call(entry.rpc, requestBytes: body.count, startedAt_ns: now_ns))
      reply.isStreamed = true
      try server.keepLeaseAlive(body, reply: reply)
      entry.waiting += 1
    }
    // Until it is looked at, the message counts: a client that sends without end is not read any further.
    session.connection.pointee.deferAnswer()
  }

  /// Ends the stream, well where there is no error.
  mutating func endStream(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ error: StatusError?
  ) {
    session.end(stream, (error?.code ?? .ok).rawValue, error?.message ?? "")
    finish(entry, error?.code ?? .ok, session.connection)
  }

  /// Nothing more is wanted of those who answer on it.
  mutating func finish(_ entry: GRPCStream, _ code: StatusCode, _ connection: ConnectionPointer?) {
    guard !entry.isFinished else { return }
    entry.isFinished = true
    // It is counted when its answer comes, which it now does.
    if let patient = entry.patient { return server.cancel(patient) }
    if let answers = entry.answers {
      if entry.rpc == .observe { server.endObserve(answers) } else { server.endWatch(answers) }
    }
    if entry.pieces != nil { letGo(entry) }
    let call = Call(entry.rpc, requestBytes: 0, startedAt_ns: entry.startedAt_ns)
    chain.finished(call, Outcome(code: code, answerBytes: 0), connection)
  }

  /// An answer to one message of a stream.
  mutating func completeStreamed(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ reply: UnsafeMutablePointer<Mail>
  ) {
    guard !entry.isFinished else { return }
    if entry.rpc == .snapshot { return completeSnapshot(session, stream, entry, reply) }
    entry.waiting -= 1
    let status = reply.pointee.status
    guard status == 0 else {
      let error = StatusError(
        StatusCode(rawValue: status) ?? .unknown, String(decoding: reply.body, as: UTF8.self))
      return endStream(session, stream, entry, error)
    }
    guard session.send(stream, isLast: false, { $0.append(reply.body) }) else {
      return endStream(session, stream, entry, .outOfMemory)
    }
    if stream.pointee.flags.contains(.clientEnded), entry.waiting == 0, !session.hasRest(stream) {
      endStream(session, stream, entry, nil)
    }
  }

  // MARK: - Deliveries

  /// Sends a message of a watch.
  mutating func deliver(_ item: StreamDelivery.Item, of delivery: StreamDelivery, _ session: HTTP2Session) {
    guard let stream = session.stream(item.stream.address.stream), let entry = GRPCStream.of(stream),
      entry.answers === item.stream, !entry.isFinished
    else { return }
    if let code = item.endCode {
      var text = OutBuffer()
      defer { text.free() }
      delivery.append(item, to: &text)
      session.end(stream, code.rawValue, String(decoding: text.bytes, as: UTF8.self))
      entry.isFinished = true
      let call = Call(entry.rpc, requestBytes: 0, startedAt_ns: entry.startedAt_ns)
      return chain.finished(call, Outcome(code: code, answerBytes: 0), session.connection)
    }
    guard session.send(stream, isLast: false, { delivery.append(item, to: &$0) }) else {
      return endStream(session, stream, entry, .outOfMemory)
    }
    entry.unsentBytes += item.byteCount
    session.tellsDrained = true
  }

  /// What streams have sent has left, but for what waits for their windows.
  mutating func drainedGRPC(_ connection: ConnectionPointer) {
    guard let session = session(connection), session.tellsDrained else { return }
    session.tellsDrained = false
    var next = session.firstOpen
    while let stream = next {
      next = session.open(after: stream)
      guard let entry = GRPCStream.of(stream), let answers = entry.answers, entry.unsentBytes > 0 else { continue }
      let left = max(0, entry.unsentBytes - stream.pointee.heldBytes)
      entry.unsentBytes -= left
      if entry.unsentBytes > 0 { session.tellsDrained = true }
      guard left > 0, answers.take(left) else { continue }
      if entry.rpc == .observe { server.observeDrained(answers) } else { server.watchDrained(answers) }
    }
  }

  // MARK: - The clock

  /// Deadlines, requests and answers that make no progress, clients that are gone.
  mutating func lookAtSessions(_ table: inout ConnectionTable) {
    nextLook_ns = now_ns + 200_000_000
    let status = servingStatus
    var next = HTTP2Pool.firstSession(http2)
    while let session = next {
      next = session.following
      look(session, status)
      table.touch(session.connection)
    }
  }

  private mutating func look(_ session: HTTP2Session, _ status: ServingStatus) {
    var next = session.firstOpen
    while let stream = next {
      next = session.open(after: stream)
      guard stream.pointee.flags.isDisjoint(with: [.answered, .ending]) else { continue }
      if stream.pointee.deadline_ns != 0, stream.pointee.deadline_ns <= now_ns {
        give(up: stream, StatusError.deadlineExceeded, session)
      } else if stream.pointee.owner != nil, let entry = GRPCStream.of(stream) {
        show(status, session, stream, entry)
      }
    }
    session.lookAtClock()
    session.pump()
    settle(session)
  }

  private mutating func give(up stream: HTTP2StreamPointer, _ error: StatusError, _ session: HTTP2Session) {
    if let entry = GRPCStream.of(stream), entry.patient == nil { return endStream(session, stream, entry, error) }
    // A call that waits for its answer is counted when that comes.
    session.end(stream, error.code.rawValue, error.message)
  }

  /// The server stops: calls are finished, streams that last are told to go elsewhere.
  package mutating func stopping(_ connection: ConnectionPointer) -> Bool {
    guard let session = session(connection) else { return false }
    session.goAway(.none, "")
    var next = session.firstOpen
    while let stream = next {
      next = session.open(after: stream)
      guard let entry = GRPCStream.of(stream), entry.rpc.isStream, !entry.isFinished else { continue }
      show(.notServing, session, stream, entry)
      endStream(session, stream, entry, .stopped)
    }
    session.pump()
    settle(session)
    return !connection.pointee.isFinishing
  }
}
