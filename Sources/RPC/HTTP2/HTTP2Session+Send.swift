// How answers leave.
import CNghttp2
import Glibc
import NeedletailBytes

/// The bytes in front of a frame's payload.
private let frameHeadSize = 9

private let read: nghttp2_data_source_read_callback = { handle, id, _, room, flags, source, user in
  guard let flags, let source = nt_h2_source(source), let state = user?.assumingMemoryBound(to: HTTP2SessionState.self)
  else { return Int(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
  return HTTP2Session(state).give(source.assumingMemoryBound(to: HTTP2Stream.self), room, flags)
}

extension HTTP2Session {
  private var handle: OpaquePointer? { state.pointee.handle }

  /// Moves what may be sent into the connection's output, as far as the connection's backlog allows; the rest when that
  /// has drained. False where the session is broken.
  @discardableResult
  package func pump() -> Bool {
    let connection = state.pointee.connection
    while true {
      if _slowPath(!connection.pointee.hasRoom) {
        connection.pointee.pauseUntilDrained()
        return true
      }
      var bytes: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(handle, &bytes)
      guard count > 0, let bytes else { return count == 0 }
      connection.pointee.output.append(UnsafeRawPointer(bytes), count)
    }
  }

  // MARK: Answers

  /// Sends the answer's head, which the first message needs. False where the stream has gone. What nghttp2 had to say
  /// before has been pumped.
  package func begin(_ stream: HTTP2StreamPointer) -> Bool {
    guard stream.pointee.flags.isDisjoint(with: [.begun, .closed]) else {
      return !stream.pointee.flags.contains(.closed)
    }
    let pool = state.pointee.pool
    guard nt_h2_submit_answer(handle, stream.pointee.id, pool.pointee.head, 2, stream, read) == 0 else { return false }
    stream.pointee.flags.insert(.begun)
    // Its frame must be in the output before any of its data: another frame may come first, but no data does, since what
    // could be sent has been.
    while true {
      var bytes: UnsafePointer<UInt8>?
      let count = nghttp2_session_mem_send(handle, &bytes)
      guard count > 0, let bytes else { return false }
      state.pointee.connection.pointee.output.append(UnsafeRawPointer(bytes), count)
      if isHead(bytes, count, of: stream.pointee.id) { return true }
    }
  }

  private func isHead(_ frame: UnsafePointer<UInt8>, _ count: Int, of id: Int32) -> Bool {
    guard count >= frameHeadSize, UInt32(frame[3]) == NGHTTP2_HEADERS.rawValue else { return false }
    let raw = UnsafeRawPointer(frame).loadUnaligned(fromByteOffset: 5, as: UInt32.self)
    return UInt32(bigEndian: raw) == UInt32(bitPattern: id)
  }

  /// Makes room for a message's heads at the end of the output and returns where; the message is appended next, then
  /// `closeMessage` sends it, or `dropMessage` forgets it.
  @inline(__always)
  package func openMessage() -> Int {
    let size = frameHeadSize + GRPCPrefix.byteCount
    let connection = state.pointee.connection
    let at = connection.pointee.output.count
    _ = connection.pointee.output.reserve(size)
    connection.pointee.output.advance(size)
    return at
  }

  package func dropMessage(_ at: Int) { state.pointee.connection.pointee.output.truncate(to: at) }

  /// Sends what was appended since `openMessage` as a message of the stream; with `isLast`, and a good end.
  package func closeMessage(_ stream: HTTP2StreamPointer, _ at: Int, isLast: Bool) {
    let connection = state.pointee.connection
    let size = connection.pointee.output.count &- at &- frameHeadSize
    guard let start = connection.pointee.output.start, !stream.pointee.flags.contains(.closed) else {
      return dropMessage(at)
    }
    GRPCPrefix.store(size &- GRPCPrefix.byteCount, to: start + at + frameHeadSize)
    state.pointee.pool.pointee.sentBytes &+= size &- GRPCPrefix.byteCount
    stream.pointee.active_ms = state.pointee.pool.pointee.now_ms
    if isLast { stream.pointee.flags.insert(.ending) }
    if _slowPath(!stream.pointee.flags.contains(.begun)) {
      hold(stream, at, size)
      guard begin(stream) else { return }
    } else if state.pointee.heldBytes > 0 || size > 16_384 {
      hold(stream, at, size)
    } else {
      state.pointee.direct = stream
      state.pointee.directAt = at
      state.pointee.directCount = size
    }
    resume(stream)
    pump()
    // The windows are shut: nghttp2 did not even ask.
    if _slowPath(state.pointee.direct != nil) { spill() }
  }

  /// Sends a message that lies elsewhere.
  package func send(_ stream: HTTP2StreamPointer, isLast: Bool, _ write: (inout OutBuffer) -> Void) {
    guard begin(stream) else { return }
    let at = openMessage()
    write(&state.pointee.connection.pointee.output)
    closeMessage(stream, at, isLast: isLast)
  }

  /// Appends bytes of a message whose head the face wrote itself: of one that is made in pieces. They wait for the windows.
  /// With `begins` a message's prefix is the first of them.
  package func hold(_ stream: HTTP2StreamPointer, begins: Bool, _ write: (inout OutBuffer) -> Void) {
    let before = stream.pointee.held.count
    write(&stream.pointee.held)
    let made = stream.pointee.held.count - before
    if made > 0 { state.pointee.pool.pointee.sentBytes += begins ? made - GRPCPrefix.byteCount : made }
    count(held: made, stream)
    resume(stream)
  }

  /// Ends the answer: trailers behind what is held, or an answer that is nothing but its end.
  package func end(_ stream: HTTP2StreamPointer, _ code: UInt32, _ message: String) {
    guard stream.pointee.flags.isDisjoint(with: [.closed, .ending]) else { return }
    stream.pointee.flags.formUnion([.ending, .answered])
    stream.pointee.code = code
    stream.pointee.text.removeAll()
    GRPCText.encode(message, into: &stream.pointee.text)
    forgetInput(stream)
    if stream.pointee.flags.contains(.begun) { resume(stream) } else { submitEnd(stream, isWhole: true) }
    pump()
  }

  /// As HTTP and not as gRPC says it: for those who don't speak that.
  package func refuse(_ stream: HTTP2StreamPointer, status: StaticString) {
    stream.pointee.flags.formUnion([.ending, .answered])
    forgetInput(stream)
    var field = HTTP2Field.status.with(status)
    nt_h2_submit_end(handle, stream.pointee.id, &field, 1)
    pump()
  }

  // MARK: nghttp2's questions

  /// How much of the stream's data there is for a frame of at most `room` bytes.
  fileprivate func give(_ stream: HTTP2StreamPointer, _ room: Int, _ flags: UnsafeMutablePointer<UInt32>) -> Int {
    var count = 0
    if state.pointee.direct == stream {
      if state.pointee.directCount <= room { count = state.pointee.directCount } else { spill() }
    }
    if count == 0 { count = min(room, stream.pointee.heldBytes) }
    let isEnd =
      stream.pointee.flags.contains(.ending)
      && (state.pointee.direct == stream || count == stream.pointee.heldBytes)
    if count == 0, !isEnd {
      stream.pointee.flags.insert(.waits)
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
    if isEnd {
      flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue | NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
      submitEnd(stream, isWhole: false)
    }
    return count
  }

  /// Puts a DATA frame into the output: its head before the message that lies there, or both.
  func put(_ stream: HTTP2StreamPointer, _ head: UnsafePointer<UInt8>, _ count: Int) {
    let connection = state.pointee.connection
    state.pointee.budget.hasSent = true
    stream.pointee.active_ms = state.pointee.pool.pointee.now_ms
    if state.pointee.direct == stream, let start = connection.pointee.output.start {
      memcpy(start + state.pointee.directAt, head, frameHeadSize)
      state.pointee.direct = nil
      return
    }
    guard let held = stream.pointee.held.start else { return }
    connection.pointee.output.append(UnsafeRawPointer(head), frameHeadSize)
    connection.pointee.output.append(UnsafeRawPointer(held + stream.pointee.heldStart), count)
    stream.pointee.heldStart += count
    self.count(held: -count, stream)
    if stream.pointee.heldBytes == 0 {
      stream.pointee.heldStart = 0
      stream.pointee.held.removeAll()
      if stream.pointee.held.capacity > 64 << 10 { stream.pointee.held.free() }
    } else if stream.pointee.heldStart > 256 << 10, stream.pointee.heldStart > stream.pointee.heldBytes {
      stream.pointee.held.removeFirst(stream.pointee.heldStart)
      stream.pointee.heldStart = 0
    }
  }

  private func resume(_ stream: HTTP2StreamPointer) {
    guard stream.pointee.flags.contains(.waits) else { return }
    stream.pointee.flags.remove(.waits)
    nghttp2_session_resume_data(handle, stream.pointee.id)
  }

  /// Takes the message at the end of the output to where it can wait.
  private func hold(_ stream: HTTP2StreamPointer, _ at: Int, _ size: Int) {
    let connection = state.pointee.connection
    let bytes = UnsafeRawBufferPointer(rebasing: connection.pointee.output.bytes[(at + frameHeadSize)...])
    assert(bytes.count == size)
    stream.pointee.held.append(bytes)
    count(held: size, stream)
    connection.pointee.output.truncate(to: at)
  }

  /// The same for one that was to go out where it lies. Nothing is behind it: nghttp2 had nothing else to send.
  private func spill() {
    guard let stream = state.pointee.direct else { return }
    state.pointee.direct = nil
    let end = state.pointee.directAt + frameHeadSize + state.pointee.directCount
    assert(end == state.pointee.connection.pointee.output.count)
    guard end == state.pointee.connection.pointee.output.count else { return }
    hold(stream, state.pointee.directAt, state.pointee.directCount)
  }

  /// The fields that end an answer; `isWhole`: they are all of it.
  private func submitEnd(_ stream: HTTP2StreamPointer, isWhole: Bool) {
    let pool = state.pointee.pool
    state.pointee.budget.hasSent = true
    let id = stream.pointee.id
    if stream.pointee.code == 0, !isWhole {
      nghttp2_submit_trailer(handle, id, pool.pointee.goodEnd, 1)
    } else {
      let fields = pool.pointee.fields
      var count = 0
      if isWhole {
        fields[0] = pool.pointee.head[0]
        fields[1] = pool.pointee.head[1]
        count = 2
      }
      fields[count] = pool.pointee.statusField(stream.pointee.code)
      count += 1
      if !stream.pointee.text.isEmpty {
        let text = stream.pointee.text.bytes
        fields[count] = HTTP2Field.grpcMessage.with(text.baseAddress, text.count, isConstant: false)
        count += 1
      }
      if isWhole {
        nt_h2_submit_end(handle, id, fields, count)
      } else {
        nghttp2_submit_trailer(handle, id, fields, count)
      }
    }
  }
}
