// What nghttp2 tells: written down in the session's memory, and nothing else done. No allocation but records from the pool
// and buffers that grow.
import CNghttp2
import Glibc
import NeedletailBytes

private typealias State = UnsafeMutablePointer<HTTP2SessionState>

private func stream(_ handle: OpaquePointer?, _ id: Int32) -> HTTP2StreamPointer? {
  nghttp2_session_get_stream_user_data(handle, id)?.assumingMemoryBound(to: HTTP2Stream.self)
}

enum HTTP2Callbacks {
  static func set(_ callbacks: OpaquePointer) {
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { handle, frame, user in
      guard let frame, let state = user?.assumingMemoryBound(to: HTTP2SessionState.self) else { return 0 }
      return nt_h2_is_request(frame) == 0 ? 0 : HTTP2Callbacks.began(state, handle, nt_h2_stream(frame))
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) { handle, frame, name, length, value, count, _, user in
      guard let frame, let name, let value, let stream = stream(handle, nt_h2_stream(frame)),
        let state = user?.assumingMemoryBound(to: HTTP2SessionState.self)
      else { return 0 }
      return HTTP2Callbacks.field(
        state, stream, UnsafeRawBufferPointer(start: name, count: length),
        UnsafeRawBufferPointer(start: value, count: count))
    }
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) { handle, _, id, bytes, count, user in
      guard let bytes, let state = user?.assumingMemoryBound(to: HTTP2SessionState.self) else { return 0 }
      HTTP2Callbacks.data(state, handle, id, UnsafeRawBufferPointer(start: bytes, count: count))
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { handle, frame, user in
      guard let frame, let state = user?.assumingMemoryBound(to: HTTP2SessionState.self) else { return 0 }
      HTTP2Callbacks.frame(state, handle, frame)
      return 0
    }
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { handle, id, _, user in
      guard let state = user?.assumingMemoryBound(to: HTTP2SessionState.self), let stream = stream(handle, id) else {
        return 0
      }
      HTTP2Session(state).closed(stream)
      return 0
    }
    // A client that has not sent its last is told that nobody listens: behind the answer, since nghttp2 sends nothing more
    // on a stream once its end was ordered.
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { handle, frame, _ in
      guard let frame, UInt32(nt_h2_type(frame)) == NGHTTP2_HEADERS.rawValue, nt_h2_flags(frame) & 1 != 0,
        let stream = stream(handle, nt_h2_stream(frame)), !stream.pointee.flags.contains(.clientEnded)
      else { return 0 }
      nghttp2_submit_rst_stream(handle, 0, stream.pointee.id, HTTP2Error.none.rawValue)
      return 0
    }
    nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, _, head, count, source, user in
      guard let head, let source = nt_h2_source(source),
        let state = user?.assumingMemoryBound(to: HTTP2SessionState.self)
      else { return Int32(NGHTTP2_ERR_CALLBACK_FAILURE.rawValue) }
      HTTP2Session(state).put(source.assumingMemoryBound(to: HTTP2Stream.self), head, count)
      return 0
    }
  }

  // MARK: A request's head

  private static func began(_ state: State, _ handle: OpaquePointer?, _ id: Int32) -> Int32 {
    let stream = state.pointee.pool.pointee.take(id: id)
    stream.pointee.active_ms = state.pointee.pool.pointee.now_ms
    guard nghttp2_session_set_stream_user_data(handle, id, stream) == 0 else {
      state.pointee.pool.pointee.giveBack(stream)
      return Int32(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
    }
    HTTP2Session(state).link(stream)
    return 0
  }

  private static func field(
    _ state: State, _ stream: HTTP2StreamPointer, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) -> Int32 {
    // Fields behind the data say nothing to a server.
    if stream.pointee.flags.contains(.hasHead) { return 0 }
    stream.pointee.headerBytes += name.count + value.count + 32
    if stream.pointee.headerBytes > state.pointee.pool.pointee.limits.headerListBytes {
      stream.pointee.flags.insert(.headTooLarge)
      return 0
    }
    switch name.count {
    case 5 where name.equals(":path"): path(state, stream, value)
    case 7 where name.equals(":method"): if value.equals("POST") { stream.pointee.flags.insert(.isPost) }
    case 12 where name.equals("content-type"): contentType(stream, value)
    case 12 where name.equals("grpc-timeout"):
      if let timeout = GRPCTimeout.nanoseconds(value) {
        stream.pointee.timeout_ns = timeout
      } else {
        stream.pointee.flags.insert(.badTimeout)
      }
    case 13 where name.equals("grpc-encoding"):
      stream.pointee.encoding = value.equals("gzip") ? .gzip : value.equals("identity") ? .identity : .unknown
    default: break
    }
    return 0
  }

  private static func path(_ state: State, _ stream: HTTP2StreamPointer, _ value: UnsafeRawBufferPointer) {
    guard let start = value.baseAddress else { return }
    stream.pointee.route = state.pointee.pool.pointee.routes.find(start, value.count)
    if stream.pointee.route.number == 0 { stream.pointee.path.append(value) }
  }

  /// "application/grpc", and what may follow: a kind of message, or parameters.
  private static func contentType(_ stream: HTTP2StreamPointer, _ value: UnsafeRawBufferPointer) {
    let count = 16
    guard value.count >= count, UnsafeRawBufferPointer(rebasing: value[..<count]).equals("application/grpc") else {
      return
    }
    guard value.count == count || value[count] == UInt8(ascii: "+") || value[count] == UInt8(ascii: ";") else { return }
    stream.pointee.flags.insert(.isGRPC)
  }

  // MARK: A request's data

  private static func data(_ state: State, _ handle: OpaquePointer?, _ id: Int32, _ bytes: UnsafeRawBufferPointer) {
    // The connection's window is for what is on its way; what waits here has limits of its own.
    nghttp2_session_consume_connection(handle, bytes.count)
    guard let stream = stream(handle, id) else { return }
    let session = HTTP2Session(state)
    stream.pointee.unconsumed += bytes.count
    stream.pointee.active_ms = state.pointee.pool.pointee.now_ms
    // Nobody wants it any more.
    guard stream.pointee.flags.isDisjoint(with: [.answered, .ending, .messageTooLarge, .tooMuchWaiting]) else {
      return session.consume(stream)
    }
    let pool = state.pointee.pool
    let limits = pool.pointee.limits
    let hasRoom =
      state.pointee.waitingBytes + bytes.count <= limits.waitingBytes
      && pool.pointee.waitingBytes + bytes.count <= limits.allWaitingBytes
    let before = stream.pointee.input.count
    if hasRoom { stream.pointee.input.append(bytes) }
    guard hasRoom, !stream.pointee.input.isRefused else {
      stream.pointee.input.truncate(to: before)
      stream.pointee.flags.insert(.tooMuchWaiting)
      session.forgetInput(stream)
      return session.enqueue(stream)
    }
    state.pointee.waitingBytes += bytes.count
    pool.pointee.waitingBytes += bytes.count
    if stream.pointee.waitingBytes >= GRPCPrefix.byteCount, let start = stream.pointee.input.start,
      GRPCPrefix.length(start + stream.pointee.inputStart) > limits.messageBytes
    {
      stream.pointee.flags.insert(.messageTooLarge)
      return session.enqueue(stream)
    }
    if stream.pointee.needsMore {
      session.consume(stream)
    } else if stream.pointee.route.isStream {
      session.enqueue(stream)
    }
  }

  private static func frame(_ state: State, _ handle: OpaquePointer?, _ frame: UnsafePointer<nghttp2_frame>) {
    let isMarked = nt_h2_flags(frame) & 1 != 0
    switch UInt32(nt_h2_type(frame)) {
    case NGHTTP2_HEADERS.rawValue, NGHTTP2_DATA.rawValue:
      guard let stream = stream(handle, nt_h2_stream(frame)) else { return }
      if !stream.pointee.flags.contains(.hasHead), stream.pointee.timeout_ns > 0 {
        stream.pointee.deadline_ns = state.pointee.pool.pointee.now_ns &+ stream.pointee.timeout_ns
      }
      stream.pointee.flags.insert(isMarked ? [.hasHead, .clientEnded] : .hasHead)
      if isMarked || stream.pointee.flags.contains(.headTooLarge) { HTTP2Session(state).enqueue(stream) }
    case NGHTTP2_PING.rawValue:
      if isMarked {
        state.pointee.budget.pinged_ms = 0
      } else {
        let pool = state.pointee.pool
        state.pointee.budget.ping(
          pool.pointee.now_ms, hasStreams: state.pointee.openCount > 0, pool.pointee.limits)
      }
    case NGHTTP2_SETTINGS.rawValue where !isMarked:
      // From here on it is known to speak HTTP/2.
      state.pointee.connection.pointee.greet()
      state.pointee.budget.settings(state.pointee.pool.pointee.now_ms, state.pointee.pool.pointee.limits)
    case NGHTTP2_RST_STREAM.rawValue:
      state.pointee.budget.reset(state.pointee.pool.pointee.now_ms, state.pointee.pool.pointee.limits)
    default: break
    }
  }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  func equals(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount, let start = baseAddress else { return false }
    return memcmp(start, text.utf8Start, count) == 0
  }
}
