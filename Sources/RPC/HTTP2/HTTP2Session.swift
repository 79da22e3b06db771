// One connection's HTTP/2 session: nghttp2 over the connection's buffers.
//
// The idea that keeps it sound: nghttp2 calls back in the middle of its work, so callbacks only write down what came, in
// the session's own memory; the face serves what is ready after nghttp2 has returned. All of it is reached by pointer, and
// no Swift access to the memory is open while nghttp2 runs.
//
// What is sent goes straight into the connection's output: a message is written where its frames will be, with room for their
// heads (`FrameCuts`), and its DATA frames are put around it (`send`). What the client's windows do not take is held with its
// stream until they open.
import CNghttp2
import CNeedletail
import NeedletailBytes

package struct HTTP2SessionState {
  var handle: OpaquePointer?
  let connection: ConnectionPointer
  let pool: HTTP2PoolPointer
  /// Streams with something to serve, oldest first.
  var readyFirst: HTTP2StreamPointer?
  var readyLast: HTTP2StreamPointer?
  /// Streams that are over and not looked at yet.
  var closedFirst: HTTP2StreamPointer?
  var openFirst: HTTP2StreamPointer?
  var openCount = 0
  /// Of requests that are not served yet, of answers that wait for windows.
  var waitingBytes = 0
  var heldBytes = 0
  /// The same without streams whose senders have budgets of their own.
  var heldCallBytes = 0
  /// The face's: streams whose answers are made in pieces, and whether any waits to hear that its answers have left.
  var producing = 0
  var tellsDrained = false
  /// A message whose frames lie at their places in the output: the next one's head goes to `directAt`, and so many bytes of
  /// the message with its prefix are left, those of each frame behind its head.
  var direct: HTTP2StreamPointer?
  var directAt = 0
  var directCount = 0
  /// Of the message at the end of the output: where its frames are cut.
  var cuts = FrameCuts(start: 0)
  /// No request is taken any more.
  var isLeaving = false
  var budget = HTTP2Budget()
  /// The pool's list of sessions.
  var previous: UnsafeMutablePointer<HTTP2SessionState>?
  var next: UnsafeMutablePointer<HTTP2SessionState>?
}

/// A trivial handle; `close` once.
package struct HTTP2Session {
  let state: UnsafeMutablePointer<HTTP2SessionState>

  @inline(__always)
  package init?(bits: UInt64) {
    guard let state = UnsafeMutablePointer<HTTP2SessionState>(bitPattern: UInt(bits)) else { return nil }
    self.state = state
  }

  init(_ state: UnsafeMutablePointer<HTTP2SessionState>) { self.state = state }

  /// To keep in a connection's record.
  package var bits: UInt64 { UInt64(UInt(bitPattern: state)) }

  package var connection: ConnectionPointer { state.pointee.connection }
  package var openCount: Int { state.pointee.openCount }
  package var producing: Int {
    get { state.pointee.producing }
    nonmutating set { state.pointee.producing = newValue }
  }
  package var tellsDrained: Bool {
    get { state.pointee.tellsDrained }
    nonmutating set { state.pointee.tellsDrained = newValue }
  }
  /// For who writes a message: where its frames are cut.
  @inline(__always)
  package var cuts: UnsafeMutablePointer<FrameCuts>? { withUnsafeMutablePointer(to: &state.pointee.cuts) { $0 } }
  private var handle: OpaquePointer? { state.pointee.handle }
  private var limits: HTTP2Limits { state.pointee.pool.pointee.limits }

  /// A server's session on the connection, its SETTINGS on their way. Nil where memory is gone.
  package static func open(_ connection: ConnectionPointer, _ pool: HTTP2PoolPointer) -> HTTP2Session? {
    let state = UnsafeMutablePointer<HTTP2SessionState>.allocate(capacity: 1)
    state.initialize(to: HTTP2SessionState(handle: nil, connection: connection, pool: pool))
    var made: OpaquePointer?
    guard nghttp2_session_server_new2(&made, pool.pointee.callbacks, state, pool.pointee.options) == 0 else {
      state.deallocate()
      return nil
    }
    state.pointee.handle = made
    state.pointee.budget.heard_ms = pool.pointee.now_ms
    state.pointee.next = pool.pointee.firstSession
    pool.pointee.firstSession?.pointee.previous = state
    pool.pointee.firstSession = state
    let session = HTTP2Session(state)
    let limits = pool.pointee.limits
    let settings = [
      (NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.streams),
      (NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, UInt32(limits.streamWindow)),
      (NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(limits.headerListBytes)),
      // No tree of priorities to keep.
      (NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
    ].map { nghttp2_settings_entry(settings_id: Int32(bitPattern: $0.0.rawValue), value: $0.1) }
    nghttp2_submit_settings(made, 0, settings, settings.count)
    nghttp2_session_set_local_window_size(made, 0, 0, limits.connectionWindow)
    return session
  }

  /// Frees the session and its open streams. Those that were closed or ready have been taken, and none has an owner.
  package func close() {
    nghttp2_session_del(handle)
    let pool = state.pointee.pool
    assert(state.pointee.closedFirst == nil && state.pointee.readyFirst == nil)
    while let stream = state.pointee.openFirst {
      assert(stream.pointee.owner == nil)
      unlink(stream)
      release(stream)
    }
    assert(state.pointee.waitingBytes == 0 && state.pointee.heldBytes == 0)
    if let previous = state.pointee.previous { previous.pointee.next = state.pointee.next }
    if let next = state.pointee.next { next.pointee.previous = state.pointee.previous }
    if pool.pointee.firstSession == state { pool.pointee.firstSession = state.pointee.next }
    state.deinitialize(count: 1)
    state.deallocate()
  }

  // MARK: What comes

  /// Takes received bytes in. False where the session can't go on; what it has to say about that is sent by `pump`.
  package func feed(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress else { return true }
    state.pointee.budget.heard_ms = state.pointee.pool.pointee.now_ms
    let taken = nghttp2_session_mem_recv(handle, start.assumingMemoryBound(to: UInt8.self), bytes.count)
    if _slowPath(state.pointee.budget.isSpent) { return leave(.enhanceYourCalm, state.pointee.budget.why) }
    if _fastPath(taken == bytes.count) { return true }
    // It was flooded, or the bytes are no HTTP/2 from the beginning.
    return leave(taken == Int(NGHTTP2_ERR_FLOODED.rawValue) ? .enhanceYourCalm : .protocolError, "")
  }

  private func leave(_ code: HTTP2Error, _ why: StaticString) -> Bool {
    goAway(code, why)
    return false
  }

  /// Whether requests may be served: the client takes its answers.
  package var mayServe: Bool { state.pointee.heldCallBytes < limits.heldBytes }

  /// The next stream with something to serve.
  @inline(__always)
  package func nextReady() -> HTTP2StreamPointer? {
    guard let stream = state.pointee.readyFirst else { return nil }
    state.pointee.readyFirst = stream.pointee.next
    if stream.pointee.next == nil { state.pointee.readyLast = nil }
    stream.pointee.next = nil
    stream.pointee.flags.remove(.queued)
    return stream
  }

  /// Serves it again later.
  package func putBack(_ stream: HTTP2StreamPointer) {
    guard !stream.pointee.flags.contains(.queued), !stream.pointee.flags.contains(.closed) else { return }
    enqueue(stream)
  }

  func enqueue(_ stream: HTTP2StreamPointer) {
    if stream.pointee.flags.contains(.queued) { return }
    stream.pointee.flags.insert(.queued)
    stream.pointee.next = nil
    if let last = state.pointee.readyLast { last.pointee.next = stream } else { state.pointee.readyFirst = stream }
    state.pointee.readyLast = stream
  }

  /// The next stream that is over; the caller releases it.
  @inline(__always)
  package func nextClosed() -> HTTP2StreamPointer? {
    guard let stream = state.pointee.closedFirst else { return nil }
    state.pointee.closedFirst = stream.pointee.next
    stream.pointee.next = nil
    return stream
  }

  /// Gives a closed stream's record back.
  package func release(_ stream: HTTP2StreamPointer) {
    forgetInput(stream)
    count(held: -stream.pointee.heldBytes, stream)
    state.pointee.pool.pointee.giveBack(stream)
  }

  /// The open stream with this number.
  package func stream(_ id: UInt32) -> HTTP2StreamPointer? {
    guard let known = nghttp2_session_get_stream_user_data(handle, Int32(bitPattern: id)) else { return nil }
    return known.assumingMemoryBound(to: HTTP2Stream.self)
  }

  func count(held bytes: Int, _ stream: HTTP2StreamPointer) {
    state.pointee.heldBytes += bytes
    if !stream.pointee.route.hasBudget { state.pointee.heldCallBytes += bytes }
  }

  /// The open streams one by one. A look through them ends early where the stream it came to has closed meanwhile.
  package var firstOpen: HTTP2StreamPointer? { state.pointee.openFirst }
  package func open(after stream: HTTP2StreamPointer) -> HTTP2StreamPointer? { stream.pointee.nextOpen }

  /// The reactor's next session.
  package var following: HTTP2Session? { state.pointee.next.map { HTTP2Session($0) } }

  // MARK: Streams' lists

  func link(_ stream: HTTP2StreamPointer) {
    stream.pointee.previousOpen = nil
    stream.pointee.nextOpen = state.pointee.openFirst
    state.pointee.openFirst?.pointee.previousOpen = stream
    state.pointee.openFirst = stream
    state.pointee.openCount += 1
  }

  func unlink(_ stream: HTTP2StreamPointer) {
    if let previous = stream.pointee.previousOpen {
      previous.pointee.nextOpen = stream.pointee.nextOpen
    } else {
      state.pointee.openFirst = stream.pointee.nextOpen
    }
    stream.pointee.nextOpen?.pointee.previousOpen = stream.pointee.previousOpen
    stream.pointee.previousOpen = nil
    stream.pointee.nextOpen = nil
    state.pointee.openCount -= 1
  }

  /// HTTP/2 is done with it.
  func closed(_ stream: HTTP2StreamPointer) {
    unlink(stream)
    stream.pointee.flags.insert(.closed)
    if state.pointee.direct == stream { dropDirect() }
    // One that waits to be served is found closed then.
    if stream.pointee.flags.contains(.queued) { return }
    stream.pointee.next = state.pointee.closedFirst
    state.pointee.closedFirst = stream
  }

  // MARK: Requests

  package enum Message {
    /// None is whole.
    case none
    case message(UnsafeRawBufferPointer, isCompressed: Bool)
  }

  /// The oldest message that is whole, in place; `took` ends it.
  @inline(__always)
  package func message(_ stream: HTTP2StreamPointer) -> Message {
    let count = stream.pointee.waitingBytes
    guard count >= GRPCPrefix.byteCount, let start = stream.pointee.input.start else { return .none }
    let prefix = start + stream.pointee.inputStart
    let length = GRPCPrefix.length(prefix)
    guard count &- GRPCPrefix.byteCount >= length else { return .none }
    let body = UnsafeRawBufferPointer(start: prefix + GRPCPrefix.byteCount, count: length)
    return .message(body, isCompressed: prefix.load(as: UInt8.self) != 0)
  }

  /// Whether bytes have come that are no whole message.
  package func hasRest(_ stream: HTTP2StreamPointer) -> Bool { stream.pointee.waitingBytes > 0 }

  /// The message of `count` bytes has been served. A stream that ended with it has forgotten it, and is not counted twice.
  package func took(_ stream: HTTP2StreamPointer, _ count: Int) {
    guard stream.pointee.waitingBytes > 0 else { return }
    stream.pointee.inputStart += count + GRPCPrefix.byteCount
    state.pointee.waitingBytes -= count + GRPCPrefix.byteCount
    state.pointee.pool.pointee.waitingBytes -= count + GRPCPrefix.byteCount
    if stream.pointee.waitingBytes == 0 {
      stream.pointee.inputStart = 0
      stream.pointee.input.removeAll()
    }
    consume(stream)
  }

  /// What has come of a request is not wanted, or served: its memory is let go.
  package func forgetInput(_ stream: HTTP2StreamPointer) {
    state.pointee.waitingBytes -= stream.pointee.waitingBytes
    state.pointee.pool.pointee.waitingBytes -= stream.pointee.waitingBytes
    stream.pointee.inputStart = 0
    stream.pointee.input.removeAll()
    if _slowPath(stream.pointee.input.capacity > 4 << 10) { stream.pointee.input.free() }
  }

  /// Lets the client of a stream that goes on send more.
  func consume(_ stream: HTTP2StreamPointer) {
    let count = stream.pointee.unconsumed
    stream.pointee.unconsumed = 0
    guard count > 0, stream.pointee.flags.isDisjoint(with: [.clientEnded, .closed]) else { return }
    nghttp2_session_consume_stream(handle, stream.pointee.id, count)
  }

  /// The path of a request that leads nowhere.
  package func path(_ stream: HTTP2StreamPointer) -> String {
    String(decoding: stream.pointee.path.bytes, as: UTF8.self)
  }

  // MARK: The end

  /// Tells the client that no further request is taken; those that were are still answered.
  package func goAway(_ code: HTTP2Error, _ why: StaticString) {
    guard !state.pointee.isLeaving || code != .none else { return }
    state.pointee.isLeaving = true
    let last = nghttp2_session_get_last_proc_stream_id(handle)
    nghttp2_submit_goaway(handle, 0, last, code.rawValue, why.utf8Start, why.utf8CodeUnitCount)
  }

  /// Gives up requests and answers that stand still, and clients that are not there any more.
  package func lookAtClock() {
    let now = state.pointee.pool.pointee.now_ms
    var next = firstOpen
    while let stream = next {
      next = open(after: stream)
      let isUnfinished = !stream.pointee.flags.contains(.clientEnded) && !stream.pointee.route.isStream
      guard isUnfinished || stream.pointee.heldBytes > 0 || stream.pointee.flags.contains(.ending) else { continue }
      if now > stream.pointee.active_ms + limits.stall_ms { reset(stream, .cancel) }
    }
    if state.pointee.budget.pinged_ms != 0 {
      if now > state.pointee.budget.pinged_ms + limits.keepAliveAnswer_ms { connection.pointee.finish() }
    } else if now > state.pointee.budget.heard_ms + limits.keepAlive_ms {
      state.pointee.budget.pinged_ms = now
      nghttp2_submit_ping(handle, 0, nil)
    }
  }

  package func reset(_ stream: HTTP2StreamPointer, _ code: HTTP2Error) {
    nghttp2_submit_rst_stream(handle, 0, stream.pointee.id, code.rawValue)
  }

  /// Nothing more comes or goes.
  package var isOver: Bool {
    nghttp2_session_want_read(handle) == 0 && nghttp2_session_want_write(handle) == 0
  }
}

/// HTTP/2's error codes, as far as they are sent.
package enum HTTP2Error: UInt32 {
  case none = 0
  case protocolError = 1
  case internalError = 2
  case cancel = 8
  case enhanceYourCalm = 11
}
