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
    guard let rpc = RPC(method: frame.header.rawMethod) else {
      connection.pointee.output.appendErrorFrame(
        rawMethod: frame.header.rawMethod, stream: frame.header.stream, code: .unimplemented,
        message: "unknown method \(frame.header.rawMethod)")
      return
    }
    if _slowPath(rpc.isStream), serveStream(connection, frame, rpc) { return }
    var call = Call(rpc, requestBytes: frame.body.count, startedAt_ns: now_ns)
    call.body = frame.body
    let mark = connection.pointee.output.count
    do throws(StatusError) {
      try chain.admit(call)
      if try handle(rpc, connection, frame) {
        let size = connection.pointee.output.count &- mark
        chain.finished(call, Outcome(code: .ok, answerBytes: size), connection)
      }
    } catch {
      connection.pointee.output.truncate(to: mark)
      fail(connection, call, frame, error)
    }
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
    switch rpc {
    case .range:
      let request: RangeRequestView
      do { request = try RangeRequestView(frame.body) } catch { throw malformed("RangeRequest", error) }
      let at = connection.pointee.output.openFrame()
      try server.range(view(), request, into: &connection.pointee.output)
      closeFrame(connection, at, frame.header)
      return true
    case .put:
      try server.put(frame.body, reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .deleteRange:
      try server.deleteRange(frame.body, reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .leaseGrant, .leaseRevoke, .leaseKeepAlive, .leaseTimeToLive, .leaseLeases:
      try handleLease(rpc, connection, frame)
      connection.pointee.deferAnswer()
      return false
    case .compact:
      try server.compact(frame.body, reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .watch:
      throw StatusError(.internal, "needletail: a watch is a stream")
    case .txn:
      return try handleMixed(.txn, connection, frame)
    case .snapshot:
      try server.snapshot(frame.body, reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .rangeStream:
      try beginPieces(.pieces, connection, frame)
      return false
    case .alarm:
      return try handleMixed(.alarm, connection, frame)
    case .hash:
      try server.hash(reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .hashKV:
      try server.hashKV(frame.body, reply: address(connection, frame.header))
      connection.pointee.deferAnswer()
      return false
    case .status:
      let at = connection.pointee.output.openFrame()
      status().encode(to: &connection.pointee.output)
      closeFrame(connection, at, frame.header)
      return true
    case .health:
      if let illness = illness() { throw StatusError(.unavailable, illness) }
      let at = connection.pointee.output.openFrame()
      closeFrame(connection, at, frame.header)
      return true
    }
  }

  /// Calls that are answered here where they only read, and through the log where they change something.
  @inline(never)
  private mutating func handleMixed(
    _ rpc: RPC, _ connection: ConnectionPointer, _ frame: Frame
  ) throws(StatusError) -> Bool {
    let at = connection.pointee.output.openFrame()
    let reply = address(connection, frame.header)
    let isAnswered =
      rpc == .alarm
      ? try server.alarm(frame.body, pin: { view() }, reply: reply, into: &connection.pointee.output)
      : try server.txn(frame.body, pin: { view() }, reply: reply, into: &connection.pointee.output)
    guard isAnswered else {
      // Taken back: the answer gets a frame of its own when it comes.
      connection.pointee.output.truncate(to: at)
      connection.pointee.deferAnswer()
      return false
    }
    closeFrame(connection, at, frame.header)
    return true
  }

  @inline(never)
  private func handleLease(_ rpc: RPC, _ connection: ConnectionPointer, _ frame: Frame) throws(StatusError) {
    let reply = address(connection, frame.header)
    switch rpc {
    case .leaseGrant: try server.grantLease(frame.body, reply: reply)
    case .leaseRevoke: try server.revokeLease(frame.body, reply: reply)
    case .leaseKeepAlive: try server.keepLeaseAlive(frame.body, reply: reply)
    case .leaseTimeToLive: try server.leaseTimeToLive(frame.body, reply: reply)
    default: try server.listLeases(frame.body, reply: reply)
    }
  }

  @inline(never)
  private func malformed(_ message: String, _ error: ProtoError) -> StatusError {
    StatusError(.invalidArgument, "needletail: malformed \(message): \(error)")
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

  /// Appends a whole frame: behind the answer that is being made in pieces, if one is, since it can't stand within it.
  func sendFrame(
    _ connection: ConnectionPointer, _ rawMethod: UInt16, _ flags: UInt16, _ stream: UInt32, status: UInt32 = 0,
    _ write: (inout OutBuffer) -> Void
  ) {
    if connection.pointee.isProducing, let answer = pieces[connection.pointee.slot] {
      return answer.held.appendFrame(rawMethod, flags, stream, status, write)
    }
    connection.pointee.output.appendFrame(rawMethod, flags, stream, status, write)
  }

  /// Sends a deferred answer.
  mutating func completeNative(_ connection: ConnectionPointer?, _ reply: UnsafeMutablePointer<Mail>) {
    let address = reply.pointee.address
    let status = reply.pointee.status
    if address.isStreamed {
      if let connection { completeStreamed(connection, reply) }
      return
    }
    if let connection {
      let flags = FrameFlags.answer | FrameFlags.endOfStream
      sendFrame(connection, address.method, flags, address.stream, status: status) { $0.append(reply.body) }
    }
    guard let rpc = RPC(method: address.method) else { return }
    let call = Call(rpc, requestBytes: Int(address.requestBytes), startedAt_ns: address.startedAt_ns)
    let code = StatusCode(rawValue: status) ?? .unknown
    chain.finished(call, Outcome(code: code, answerBytes: reply.body.count + FrameHeader.byteCount), connection)
  }

  // MARK: - Maintenance

  private mutating func status() -> StatusResponse {
    let node = server.status
    let identity = server.store.identity
    var answer = StatusResponse()
    answer.header = ResponseHeader(
      clusterID: identity.clusterID, memberID: identity.memberID,
      revision: Int64(clamping: view().word(StoreWord.revision)), raftTerm: node.term.load(ordering: .relaxed))
    answer.version = Version.compatible
    answer.dbSize = Int64(clamping: context.figures.databaseBytes.load(ordering: .relaxed))
    answer.dbSizeInUse = Int64(clamping: context.figures.databaseLiveBytes.load(ordering: .relaxed))
    answer.leader = answer.header.memberID
    answer.raftIndex = node.committed.load(ordering: .relaxed)
    answer.raftTerm = node.term.load(ordering: .relaxed)
    answer.raftAppliedIndex = node.applied.load(ordering: .relaxed)
    if let illness = illness() { answer.errors = [illness] }
    answer.errors += node.alarms.list.map { AlarmMember($0).description }
    return answer
  }

  /// Why this server can't do all of its work now; nil while it can.
  func illness(excludingNoSpace: Bool = false) -> String? {
    if let failure = context.latch.failure { return failure }
    let node = server.status
    if node.isStopping.load(ordering: .relaxed) { return "etcdserver: server stopped" }
    if let damage = node.scrub.illness { return damage }
    let isFull = node.isLogFull.load(ordering: .relaxed) || node.isApplyStalled.load(ordering: .relaxed)
    return isFull && !excludingNoSpace ? "NOSPACE: no space left on the data directory's disk" : nil
  }
}

extension OutBuffer {
  fileprivate mutating func appendFrame(
    _ rawMethod: UInt16, _ flags: UInt16, _ stream: UInt32, _ status: UInt32, _ write: (inout OutBuffer) -> Void
  ) {
    let at = openFrame()
    write(&self)
    closeFrame(at: at, rawMethod: rawMethod, flags: flags, stream: stream, status: status)
  }
}
