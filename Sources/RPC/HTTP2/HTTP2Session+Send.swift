// How answers leave.
import CNghttp2
import Glibc
import NeedletailBytes

private var frameHeadSize: Int { FrameCuts.headSize }

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

  /// False where nghttp2 has nothing more to send.
  private func sendNext() -> Bool {
    var bytes: UnsafePointer<UInt8>?
    let count = nghttp2_session_mem_send(handle, &bytes)
    guard count > 0, let bytes else { return false }
    state.pointee.connection.pointee.output.append(UnsafeRawPointer(bytes), count)
    return true
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
    state.pointee.cuts = FrameCuts(start: at &+ frameHeadSize)
    return at
  }

  package func dropMessage(_ at: Int) { state.pointee.connection.pointee.output.truncate(to: at) }

  /// Sends what was appended since `openMessage` as a message of the stream; with `isLast`, and a good end. False where memory
  /// was refused: then it is forgotten, and nothing of it is sent.
  package func closeMessage(_ stream: HTTP2StreamPointer, _ at: Int, isLast: Bool) -> Bool {
    let connection = state.pointee.connection
    if _slowPath(connection.pointee.output.count > state.pointee.cuts.next) {
      state.pointee.cuts.cut(&connection.pointee.output)
    }
    guard let start = connection.pointee.output.start, !stream.pointee.flags.contains(.closed) else {
      let isRefused = connection.pointee.output.isRefused
      dropMessage(at)
      return !isRefused
    }
    let whole = connection.pointee.output.count &- at
    let size = whole &- FrameCuts.headBytes(in: whole)
    GRPCPrefix.store(size &- GRPCPrefix.byteCount, to: start + at + frameHeadSize)
    state.pointee.pool.pointee.sentBytes &+= size &- GRPCPrefix.byteCount
    stream.pointee.active_ms = state.pointee.pool.pointee.now_ms
    let hasBegun = stream.pointee.flags.contains(.begun)
    if _slowPath(!hasBegun || state.pointee.heldBytes > 0) {
      guard hold(stream, at, size) else { return false }
      if isLast { stream.pointee.flags.insert(.ending) }
      guard hasBegun || begin(stream) else { return true }
    } else {
      if isLast { stream.pointee.flags.insert(.ending) }
      state.pointee.direct = stream
      state.pointee.directAt = at
      state.pointee.directCount = size
    }
    resume(stream)
    // Its frames are in the output already, however full that is.
    while state.pointee.direct != nil, sendNext() {}
    pump()
    // The windows are shut: nghttp2 did not even ask.
    if _slowPath(state.pointee.direct != nil), !spill() { reset(stream, .internalError) }
    return true
  }

  /// Sends a message that lies elsewhere. False as of `closeMessage`.
  package func send(_ stream: HTTP2StreamPointer, isLast: Bool, _ write: (inout OutBuffer) -> Void) -> Bool {
    guard begin(stream) else { return true }
    let at = openMessage()
    write(&state.pointee.connection.pointee.output)
    return closeMessage(stream, at, isLast: isLast)
  }

  /// Appends bytes of a message whose head the face wrote itself: of one that is made in pieces. They wait for the windows.
  /// With `begins` a message's prefix is the first of them. False where memory was refused: then none are held.
  package func hold(_ stream: HTTP2StreamPointer, begins: Bool, _ write: (inout OutBuffer) -> Void) -> Bool {
    let before = stream.pointee.held.count
    write(&stream.pointee.held)
    guard !stream.pointee.held.isRefused else {
      stream.pointee.held.truncate(to: before)
      return false
    }
    let made = stream.pointee.held.count - before
    if made > 0 { state.pointee.pool.pointee.sentBytes += begins ? made - GRPCPrefix.byteCount : made }
    count(held: made, stream)
    resume(stream)
    return true
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
      let frame = min(state.pointee.directCount, FrameCuts.frameSize)
      if frame <= room {
        count = frame
      } else if !spill() {
        // nghttp2 resets the stream.
        return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
      }
    }
    if count == 0 { count = min(room, stream.pointee.heldBytes) }
    let isEnd =
      stream.pointee.flags.contains(.ending)
      && count == (state.pointee.direct == stream ? state.pointee.directCount : stream.pointee.heldBytes)
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
    if state.pointee.direct == stream {
      if let start = connection.pointee.output.start { memcpy(start + state.pointee.directAt, head, frameHeadSize) }
      state.pointee.directAt += frameHeadSize + count
      state.pointee.directCount -= count
      if state.pointee.directCount == 0 { state.pointee.direct = nil }
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

  /// Takes the message at `at`, `size` bytes in frames, from the output to where it can wait. False where memory was refused.
  private func hold(_ stream: HTTP2StreamPointer, _ at: Int, _ size: Int) -> Bool {
    let connection = state.pointee.connection
    let before = stream.pointee.held.count
    var from = at
    var left = size
    while left > 0, let start = connection.pointee.output.start {
      let count = min(left, FrameCuts.frameSize)
      stream.pointee.held.append(start + from + frameHeadSize, count)
      from += frameHeadSize + count
      left -= count
    }
    connection.pointee.output.remove(from - at, at: at)
    guard left == 0, !stream.pointee.held.isRefused else {
      stream.pointee.held.truncate(to: before)
      return false
    }
    count(held: size, stream)
    return true
  }

  /// The same for what is left of one that was to go out where it lies; frames that were sent meanwhile may be behind it. False
  /// where memory was refused: within a message nothing can be said, and its stream is all that can end.
  private func spill() -> Bool {
    guard let stream = state.pointee.direct else { return true }
    state.pointee.direct = nil
    return hold(stream, state.pointee.directAt, state.pointee.directCount)
  }

  /// Its stream is over before it has left: what is left of it in the output is no frame.
  func dropDirect() {
    let frames = (state.pointee.directCount + FrameCuts.frameSize - 1) / FrameCuts.frameSize
    let size = state.pointee.directCount + frames * frameHeadSize
    state.pointee.direct = nil
    let connection = state.pointee.connection
    if !connection.pointee.output.isRefused { connection.pointee.output.remove(size, at: state.pointee.directAt) }
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
