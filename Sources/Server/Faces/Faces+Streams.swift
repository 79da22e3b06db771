// Streams of the native face: a call whose client sends frames until one says that it is the last, and whose answers are
// frames until one says so. What the messages mean is the services' matter; framing, ends and flow control are here.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  /// Serves a frame of a stream, or of a method that opens one. False: it is a call like any other, because its only frame
  /// is its last.
  @inline(never)
  mutating func serveStream(_ connection: ConnectionPointer, _ frame: Frame, _ rpc: RPC) -> Bool {
    let id = frame.header.stream
    if let entry = NativeStreams.of(connection)?.entries[id] {
      continueStream(connection, frame, rpc, entry)
      return true
    }
    if rpc == .leaseKeepAlive, frame.header.isEndOfStream { return false }
    let call = Call(rpc, requestBytes: frame.body.count, startedAt_ns: now_ns)
    let streams = NativeStreams.made(for: connection)
    let answers = rpc != .leaseKeepAlive ? ResponseStream(address(connection, frame.header)) : nil
    let entry = NativeStreams.Entry(rpc, startedAt_ns: now_ns, answers: answers)
    streams.entries[id] = entry
    do throws(StatusError) {
      try chain.admit(call)
      guard streams.entries.count <= Int(FrameLimits.streams) else { throw StatusError.tooManyRequests }
    } catch {
      failStream(connection, frame.header, entry, error)
      return true
    }
    continueStream(connection, frame, rpc, entry)
    return true
  }

  private mutating func continueStream(
    _ connection: ConnectionPointer, _ frame: Frame, _ rpc: RPC, _ entry: NativeStreams.Entry
  ) {
    if frame.header.isEndOfStream { entry.hasClientEnded = true }
    if entry.hasFailed {
      if entry.hasClientEnded { NativeStreams.of(connection)?.entries[frame.header.stream] = nil }
      return
    }
    // The last frame may carry a message or not.
    if !frame.header.isEndOfStream || frame.body.count > 0 {
      do throws(StatusError) {
        guard rpc == entry.rpc else {
          throw StatusError(.invalidArgument, "needletail: the stream is another method's")
        }
        guard frame.body.count <= context.requestBytesMax else { throw StatusError.requestTooLarge }
        try take(connection, frame, entry)
      } catch {
        return failStream(connection, frame.header, entry, error)
      }
    }
    if entry.hasClientEnded { endIfAnswered(connection, frame.header.stream, entry) }
  }

  private mutating func take(
    _ connection: ConnectionPointer, _ frame: Frame, _ entry: NativeStreams.Entry
  ) throws(StatusError) {
    if let answers = entry.answers, entry.rpc == .observe {
      guard !entry.hasBegun else {
        throw StatusError(.invalidArgument, "needletail: Observe takes one message")
      }
      try server.observe(frame.body, on: answers)
      entry.hasBegun = true
    } else if let answers = entry.answers {
      try server.watch(frame.body, on: answers, revision: view().word(StoreWord.revision))
    } else {
      var reply = address(connection, frame.header)
      reply.isStreamed = true
      try server.keepLeaseAlive(frame.body, reply: reply)
      entry.waiting += 1
    }
    // Until it is looked at, the message counts: a client that sends without end is not read any further.
    connection.pointee.deferAnswer()
  }

  /// The client has sent its last: once all is answered, so do we. A watch is over at once.
  private mutating func endIfAnswered(_ connection: ConnectionPointer, _ id: UInt32, _ entry: NativeStreams.Entry) {
    guard entry.waiting == 0 else { return }
    NativeStreams.of(connection)?.entries[id] = nil
    endAnswers(entry)
    sendFrame(connection, entry.rpc.methodNumber, FrameFlags.answer | FrameFlags.endOfStream, id) { _ in }
    finished(entry, .ok, connection)
  }

  private mutating func failStream(
    _ connection: ConnectionPointer, _ header: FrameHeader, _ entry: NativeStreams.Entry, _ error: StatusError
  ) {
    entry.hasFailed = true
    if entry.hasClientEnded { NativeStreams.of(connection)?.entries[header.stream] = nil }
    endAnswers(entry)
    connection.pointee.output.appendErrorFrame(
      rawMethod: header.rawMethod, stream: header.stream, code: error.code, message: error.message)
    finished(entry, error.code, connection)
  }

  private func endAnswers(_ entry: NativeStreams.Entry) {
    guard let answers = entry.answers else { return }
    if entry.rpc == .observe { server.endObserve(answers) } else { server.endWatch(answers) }
  }

  private mutating func finished(_ entry: NativeStreams.Entry, _ code: StatusCode, _ connection: ConnectionPointer?) {
    let call = Call(entry.rpc, requestBytes: 0, startedAt_ns: entry.startedAt_ns)
    chain.finished(call, Outcome(code: code, answerBytes: 0), connection)
  }

  /// Sends a stream's answer that came by itself.
  mutating func completeStreamed(
    _ connection: ConnectionPointer, _ address: ReplyAddress, status: UInt32, _ body: UnsafeRawBufferPointer
  ) {
    let id = address.stream
    guard let entry = NativeStreams.of(connection)?.entries[id], !entry.hasFailed else { return }
    entry.waiting -= 1
    let flags = status == 0 ? FrameFlags.answer : FrameFlags.answer | FrameFlags.endOfStream
    let isSent = sendFrame(connection, address.method, flags, id, status: status) { $0.append(body) }
    if !isSent { connection.pointee.breakOff() }
    if status != 0 {
      entry.hasFailed = true
      if entry.hasClientEnded { NativeStreams.of(connection)?.entries[id] = nil }
      finished(entry, StatusCode(rawValue: status) ?? .unknown, connection)
    } else if entry.hasClientEnded {
      endIfAnswered(connection, id, entry)
    }
  }

  // MARK: - Deliveries

  package mutating func delivered(_ object: AnyObject, _ table: inout ConnectionTable) {
    guard let delivery = object as? StreamDelivery else { return }
    // Mostly one item after the other is for the same stream.
    var last: ResponseStream?
    var connection: ConnectionPointer?
    var entry: NativeStreams.Entry?
    for item in delivery.items {
      server.delivered(item)
      if item.stream !== last {
        let address = item.stream.address
        last = item.stream
        connection = table.find(slot: address.slot, generation: address.generation)
        entry = connection.flatMap { NativeStreams.of($0)?.entries[address.stream] }
        if entry?.answers !== last { entry = nil }
        if let connection { table.touch(connection) }
      }
      guard let connection else { continue }
      connection.pointee.deferredAnswers -= item.requestsTaken
      if let session = session(connection) {
        if item.hasMessage, !connection.pointee.isFinishing { deliver(item, of: delivery, session) }
        settle(session)
        continue
      }
      if connection.pointee.face == Kind.http {
        if item.hasMessage { deliverHTTP(item, of: delivery, connection) }
        continue
      }
      guard item.hasMessage, let entry, !entry.hasFailed, !connection.pointee.isFinishing else { continue }
      let address = item.stream.address
      let flags = item.endCode == nil ? FrameFlags.answer : FrameFlags.answer | FrameFlags.endOfStream
      let status = (item.endCode ?? .ok).rawValue
      let isSent = sendFrame(connection, address.method, flags, address.stream, status: status) {
        delivery.append(item, to: &$0)
      }
      // A gap that its client would not see.
      if !isSent { connection.pointee.breakOff() }
      if let code = item.endCode {
        entry.hasFailed = true
        if entry.hasClientEnded { NativeStreams.of(connection)?.entries[address.stream] = nil }
        finished(entry, code, connection)
      }
      entry.unsentBytes += item.byteCount
      connection.pointee.tellDrained()
    }
  }

  package mutating func drained(_ connection: ConnectionPointer) {
    if connection.pointee.face == Kind.http { return drainedHTTP(connection) }
    if connection.pointee.face == Kind.grpc { return drainedGRPC(connection) }
    // What is held behind an answer in pieces has not left.
    guard !connection.pointee.isProducing, let streams = NativeStreams.of(connection) else { return }
    for entry in streams.entries.values where entry.unsentBytes > 0 {
      guard let answers = entry.answers else { continue }
      let isAwaited = answers.take(entry.unsentBytes)
      entry.unsentBytes = 0
      guard isAwaited else { continue }
      if entry.rpc == .observe { server.observeDrained(answers) } else { server.watchDrained(answers) }
    }
  }

  mutating func closeStreams(_ connection: ConnectionPointer) {
    guard let streams = NativeStreams.removed(from: connection) else { return }
    for entry in streams.entries.values where !entry.hasFailed {
      endAnswers(entry)
      finished(entry, .cancelled, connection)
    }
  }
}
