// One reactor's handler: tells a connection's protocol from its first bytes and gives its requests to the face for it.
//
// A snapshot is pinned at most once a batch, by the first request that reads. Faces is a struct of pointers and
// integers
// on the hot path; the class references in it are constants that the loop never copies.
import CNeedletail
import Glibc
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailRPC

/// What all reactors share. Immutable.
package final class FaceContext: Sendable {
  package let server: KVServer
  package let metrics: MetricsPage
  package let figures: ServerFigures
  package let latch: Latch
  package let logger: Logger
  package let requestBytesMax: Int
  /// Writes that one reactor may have on their way.
  package let writesMax = 65_536
  package let slowRequest_ms: UInt64
  package let http2: HTTP2Limits
  package let http: HTTPOptions

  package init(
    server: KVServer, metrics: MetricsPage, figures: ServerFigures, latch: Latch, logger: Logger,
    requestBytesMax: Int, slowRequest_ms: UInt64, http2: HTTP2Limits = HTTP2Limits(),
    http: HTTPOptions = HTTPOptions()
  ) {
    self.http2 = http2
    self.http = http
    self.server = server
    self.metrics = metrics
    self.figures = figures
    self.latch = latch
    self.logger = logger
    self.requestBytesMax = requestBytesMax
    self.slowRequest_ms = slowRequest_ms
  }
}

package struct Faces: Handler {
  /// A connection's `face`.
  enum Kind {
    static let unknown: UInt8 = 0
    static let native: UInt8 = 1
    static let http: UInt8 = 2
    static let grpc: UInt8 = 3
  }

  let context: FaceContext
  let server: KVServer
  let reactor: UInt16
  var chain: InterceptorChain
  /// When this batch began.
  var now_ns: UInt64 = 0

  /// Answers that are being made in pieces, by the slots of their connections.
  var pieces: [UInt32: PiecewiseAnswer] = [:]
  var deadlines = CallDeadlines()
  /// The ticket of the call that is being handled, if it took one.
  var openTicket: UInt32 = 0
  /// The same over the JSON gateway, and bytes of request bodies that it holds.
  var gatewayPieces = 0
  var gatewayBytes = 0

  /// What the HTTP/2 sessions of this reactor share.
  let http2: HTTP2PoolPointer
  /// Of the range that is being written over gRPC: where its frames are cut.
  var cuts: UnsafeMutablePointer<FrameCuts>?
  /// Ranges that are being sent in pieces over gRPC.
  var grpcRanges = 0
  /// What a packed request holds.
  var unpackedMessage = OutBuffer.refusable
  /// When the clock is looked at next.
  var nextLook_ns: UInt64 = 0

  private let reader: ReaderHandle
  private var pinned: SnapshotView?

  /// On the reactor's thread; `close` gives the reader slot back.
  package init(_ context: FaceContext, reactor: Int, metrics: ThreadMetrics) throws(ServerError) {
    self.context = context
    server = context.server
    self.reactor = UInt16(reactor)
    guard let http2 = HTTP2Pool.make(context.http2, GRPCRoutes.all) else {
      throw .system(operation: "nghttp2", path: "", code: ENOMEM)
    }
    self.http2 = http2
    do throws(ServerError) { reader = try context.server.makeReader() } catch {
      HTTP2Pool.destroy(http2)
      throw error
    }
    chain = InterceptorChain(
      metrics: MetricsInterceptor(metrics),
      slowRequests: SlowRequestInterceptor(
        threshold_ms: context.slowRequest_ms, log: SlowRequestLog(context.logger)),
      limits: LimitsInterceptor(writesMax: context.writesMax))
  }

  package mutating func close() {
    reader.free()
    chain.metrics.free()
    HTTP2Pool.destroy(http2)
    unpackedMessage.free()
  }

  // MARK: - Batches

  package mutating func beginBatch() {
    now_ns = nt_nanoseconds()
    http2.pointee.now_ns = now_ns
    chain.metrics.beginBatch(at: now_ns)
  }

  package mutating func endBatch() {
    if pinned != nil {
      reader.unpin()
      pinned = nil
    }
    chain.metrics.endBatch()
    if http2.pointee.receivedBytes | http2.pointee.sentBytes != 0 {
      chain.metrics.countMessages(received: http2.pointee.receivedBytes, sent: http2.pointee.sentBytes)
      http2.pointee.receivedBytes = 0
      http2.pointee.sentBytes = 0
    }
  }

  /// The snapshot of this batch: every write that was acknowledged before a request of the batch was sent is in it.
  @inline(__always)
  mutating func view() -> SnapshotView {
    if let pinned { return pinned }
    let view = reader.pin()
    pinned = view
    return view
  }

  // MARK: - Connections

  package mutating func receive(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    if _fastPath(connection.pointee.face == Kind.native) { return receiveNative(connection, bytes) }
    if connection.pointee.face == Kind.grpc { return receiveGRPC(connection, bytes) }
    if connection.pointee.face == Kind.http { return receiveHTTP(connection, bytes) }
    return sniff(connection, bytes)
  }

  @inline(never)
  private mutating func sniff(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let first = bytes.first else { return 0 }
    switch Preface.match(bytes) {
    case .incomplete:
      return 0
    case .matched(let version):
      guard isForCalls(connection) else {
        refuse(connection, .unimplemented, "only HTTP is served here")
        return bytes.count
      }
      connection.pointee.face = Kind.native
      connection.pointee.greet()
      guard greet(connection, version: version) else { return bytes.count }
      let rest = UnsafeRawBufferPointer(rebasing: bytes[Preface.byteCount...])
      return Preface.byteCount + receiveNative(connection, rest)
    case .mismatched:
      // Every HTTP method is in capital letters.
      guard first >= UInt8(ascii: "A"), first <= UInt8(ascii: "Z") else {
        refuse(connection, .invalidArgument, "neither the native protocol nor HTTP")
        return bytes.count
      }
      switch HTTP2Preface.match(bytes) {
      case .incomplete: return 0
      case .matched:
        if isForCalls(connection) { return beginGRPC(connection, bytes) }
        connection.pointee.finish()
        return bytes.count
      case .mismatched: break
      }
      connection.pointee.face = Kind.http
      return receiveHTTP(connection, bytes)
    }
  }

  /// Whether the listener that the connection came by serves more than HTTP.
  private func isForCalls(_ connection: ConnectionPointer) -> Bool {
    switch context.http.roles.role(of: connection) {
    case .everything, .calls: return true
    case .http, .metrics: return false
    }
  }

  package mutating func complete(_ connection: ConnectionPointer?, _ reply: UnsafeMutablePointer<Mail>) {
    let address = reply.pointee.address
    // Answered already, because its time ran out.
    if address.ticket != 0, !deadlines.end(address.ticket) { return }
    if let connection, connection.pointee.face == Kind.http { return completeHTTP(connection, reply) }
    if let connection, connection.pointee.face == Kind.grpc { return completeGRPC(connection, reply) }
    completeNative(connection, address, status: reply.pointee.status, reply.body)
  }

  package var wakeBy_ns: UInt64 { deadlines.next_ns }

  /// What is due by the clock.
  package mutating func turn(_ table: inout ConnectionTable) {
    if _slowPath(now_ns >= deadlines.next_ns) { expireCalls(&table) }
    if _slowPath(now_ns >= nextLook_ns) { lookAtSessions(&table) }
  }

  /// Tells those whose time has run out; what they asked for may happen all the same.
  @inline(never)
  private mutating func expireCalls(_ table: inout ConnectionTable) {
    for address in deadlines.takeExpired(now_ns: now_ns) {
      if address.isPatient { server.cancel(address) }
      let connection = table.find(slot: address.slot, generation: address.generation)
      if let connection { table.touch(connection) }
      let error = StatusError.deadlineExceeded
      var text = error.message
      text.withUTF8 {
        completeNative(connection, address, status: error.code.rawValue, UnsafeRawBufferPointer($0))
      }
    }
  }

  package mutating func abandoned(_ connection: ConnectionPointer, _ reason: AbandonReason) {
    if connection.pointee.face == Kind.http {
      return abandonHTTP(connection, reason)
    }
    if connection.pointee.face == Kind.grpc { return abandonedGRPC(connection) }
    switch reason {
    // In the middle of a frame nothing can be said.
    case _ where connection.pointee.isProducing: connection.pointee.finish()
    case .greetingTimeout: refuse(connection, .deadlineExceeded, "no protocol was spoken in time")
    case .stalled: refuse(connection, .deadlineExceeded, "no progress for too long")
    case .truncated: refuse(connection, .invalidArgument, "the stream ended within a frame")
    }
  }

  package mutating func closed(_ connection: ConnectionPointer) {
    if connection.pointee.isProducing { pieces[connection.pointee.slot] = nil }
    if connection.pointee.patientCalls > 0 { server.connectionClosed(reactor: reactor, connection) }
    guard connection.pointee.faceState != 0 else { return }
    switch connection.pointee.face {
    case Kind.http: closeHTTP(connection)
    case Kind.grpc: closeGRPC(connection)
    default: closeStreams(connection)
    }
  }

  package mutating func notice(_ notice: ReactorNotice) {
    switch notice {
    case .acceptFailed(let code):
      context.logger.error(
        "connections can't be accepted", metadata: ["error": "\(ReactorError(call: "accept", code: code))"])
    case .connectionLimit(let limit):
      context.logger.warning("too many connections: more are refused", metadata: ["limit": "\(limit)"])
    case .cutOff(let count):
      context.logger.warning("connections were cut off unfinished", metadata: ["count": "\(count)"])
    }
  }
}
