// What the HTTP/2 sessions of one reactor share: nghttp2's callbacks and options, constant header fields, free records.
import CNghttp2
import NeedletailBytes

package typealias HTTP2PoolPointer = UnsafeMutablePointer<HTTP2Pool>

package struct HTTP2Pool {
  package let limits: HTTP2Limits
  let routes: HTTP2Routes
  let callbacks: OpaquePointer
  let options: OpaquePointer
  /// The fields of an answer's head, and of a good end.
  let head: UnsafeMutablePointer<nghttp2_nv>
  let goodEnd: UnsafeMutablePointer<nghttp2_nv>
  /// Room for an end that says more.
  let fields: UnsafeMutablePointer<nghttp2_nv>
  /// gRPC's codes in digits, two bytes each.
  private let digits: UnsafeMutablePointer<UInt8>

  private var free: HTTP2StreamPointer?
  private var freeCount = 0
  private static var freeMax: Int { 1024 }
  /// Of all sessions.
  var waitingBytes = 0
  /// Bytes of messages since whoever counts them took these: as they are read, and as they are made.
  package var receivedBytes = 0
  package var sentBytes = 0
  /// The reactor's clock, as of this batch.
  package var now_ns: UInt64 = 0
  var now_ms: UInt64 { now_ns / 1_000_000 }
  /// The sessions, to look through.
  var firstSession: UnsafeMutablePointer<HTTP2SessionState>?

  /// Nil where memory is gone.
  package static func make(_ limits: HTTP2Limits, _ routes: HTTP2Routes) -> HTTP2PoolPointer? {
    var made: OpaquePointer?
    var options: OpaquePointer?
    guard nghttp2_session_callbacks_new(&made) == 0, let callbacks = made else { return nil }
    guard nghttp2_option_new(&options) == 0, let options else {
      nghttp2_session_callbacks_del(callbacks)
      return nil
    }
    HTTP2Callbacks.set(callbacks)
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_no_auto_window_update(options, 1)
    // etcd's own client sends its endpoint's whole URL as :authority, which is none: nghttp2 would reset the stream. What a
    // request must have is looked at where it is routed.
    nghttp2_option_set_no_http_messaging(options, 1)
    // The budget's rule comes first, and says why. This is for what comes in one piece, and for resets that the client makes
    // the server send.
    nghttp2_option_set_stream_reset_rate_limit(options, limits.resetBurst * 8, limits.resetsPerSecond)
    nghttp2_option_set_max_continuations(options, limits.continuations)
    let pool = HTTP2PoolPointer.allocate(capacity: 1)
    pool.initialize(to: HTTP2Pool(limits, routes, callbacks, options))
    return pool
  }

  private init(_ limits: HTTP2Limits, _ routes: HTTP2Routes, _ callbacks: OpaquePointer, _ options: OpaquePointer) {
    self.limits = limits
    self.routes = routes
    self.callbacks = callbacks
    self.options = options
    digits = .allocate(capacity: 34)
    for code in 0..<17 {
      digits[2 * code] = UInt8(ascii: "0") + UInt8(code < 10 ? code : 1)
      digits[2 * code + 1] = UInt8(ascii: "0") + UInt8(code % 10)
    }
    head = .allocate(capacity: 2)
    goodEnd = .allocate(capacity: 1)
    fields = .allocate(capacity: 4)
    head[0] = HTTP2Field.status.with("200")
    head[1] = HTTP2Field.contentType.with("application/grpc")
    goodEnd[0] = HTTP2Field.grpcStatus.with("0")
  }

  /// The field that says how it ended.
  func statusField(_ code: UInt32) -> nghttp2_nv {
    let known = Int(min(code, 16))
    return HTTP2Field.grpcStatus.with(digits + 2 * known, known < 10 ? 1 : 2, isConstant: true)
  }

  mutating func take(id: Int32) -> HTTP2StreamPointer {
    guard let stream = free else {
      let made = HTTP2StreamPointer.allocate(capacity: 1)
      made.initialize(to: HTTP2Stream(id: id))
      return made
    }
    free = stream.pointee.next
    freeCount -= 1
    // Its buffers keep their memory.
    var fresh = HTTP2Stream(id: id)
    fresh.input = stream.pointee.input
    fresh.held = stream.pointee.held
    fresh.path = stream.pointee.path
    fresh.text = stream.pointee.text
    stream.initialize(to: fresh)
    return stream
  }

  mutating func giveBack(_ stream: HTTP2StreamPointer) {
    HTTP2Pool.empty(&stream.pointee.input)
    HTTP2Pool.empty(&stream.pointee.held)
    HTTP2Pool.empty(&stream.pointee.path)
    HTTP2Pool.empty(&stream.pointee.text)
    guard freeCount < HTTP2Pool.freeMax else { return HTTP2Pool.destroy(stream) }
    stream.pointee.next = free
    free = stream
    freeCount += 1
  }

  /// Memory that grew large once isn't kept for ever.
  private static func empty(_ buffer: inout OutBuffer) {
    buffer.removeAll()
    if buffer.capacity > 4 << 10 { buffer.free() }
  }

  private static func destroy(_ stream: HTTP2StreamPointer) {
    stream.pointee.input.free()
    stream.pointee.held.free()
    stream.pointee.path.free()
    stream.pointee.text.free()
    stream.deinitialize(count: 1)
    stream.deallocate()
  }

  package static func firstSession(_ pool: HTTP2PoolPointer) -> HTTP2Session? {
    pool.pointee.firstSession.map { HTTP2Session($0) }
  }

  /// All sessions are closed.
  package static func destroy(_ pool: HTTP2PoolPointer) {
    assert(pool.pointee.firstSession == nil)
    while let stream = pool.pointee.free {
      pool.pointee.free = stream.pointee.next
      destroy(stream)
    }
    nghttp2_session_callbacks_del(pool.pointee.callbacks)
    nghttp2_option_del(pool.pointee.options)
    pool.pointee.head.deallocate()
    pool.pointee.goodEnd.deallocate()
    pool.pointee.fields.deallocate()
    pool.pointee.digits.deallocate()
    pool.pointee.routes.free()
    pool.deinitialize(count: 1)
    pool.deallocate()
  }
}

/// Names of the fields that are sent.
struct HTTP2Field {
  private let name: StaticString

  static var status: HTTP2Field { HTTP2Field(name: ":status") }
  static var contentType: HTTP2Field { HTTP2Field(name: "content-type") }
  static var grpcStatus: HTTP2Field { HTTP2Field(name: "grpc-status") }
  static var grpcMessage: HTTP2Field { HTTP2Field(name: "grpc-message") }

  func with(_ value: StaticString) -> nghttp2_nv {
    with(value.utf8Start, value.utf8CodeUnitCount, isConstant: true)
  }

  func with(_ value: UnsafeRawPointer?, _ count: Int, isConstant: Bool) -> nghttp2_nv {
    nt_h2_field(name.utf8Start, name.utf8CodeUnitCount, value, count, isConstant ? 1 : 0)
  }
}
