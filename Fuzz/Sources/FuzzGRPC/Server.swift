// A face of two calls over a session as the reactor's has it: each message asks for an answer of some size, or for an error.
import Glibc
import NeedletailBytes

@testable import NeedletailRPC

final class Server {
  let connection = ConnectionPointer.allocate(capacity: 1)
  private let pool: HTTP2PoolPointer
  private let session: HTTP2Session
  private(set) var isOver = false

  static let unary = "/f.F/Unary"
  static let stream = "/f.F/Stream"
  static let limits: HTTP2Limits = {
    var limits = HTTP2Limits()
    limits.streams = 16
    limits.headerListBytes = 1 << 10
    limits.messageBytes = 4 << 10
    limits.waitingBytes = 16 << 10
    limits.heldBytes = 256 << 10
    limits.streamWindow = 32 << 10
    limits.connectionWindow = 64 << 10
    return limits
  }()

  /// What an answer's bytes are.
  static func content(_ index: Int, of size: Int) -> UInt8 { UInt8(truncatingIfNeeded: index &* 7 &+ size) }

  /// `refusing`: how much memory a buffer may have, if not all that it wants.
  init?(refusing: UInt8) {
    OutBuffer.refusedBeyond.store(refusing < 240 ? .max : 1 << (Int(refusing) - 240 + 8), ordering: .relaxed)
    let routes = HTTP2Routes([
      (Server.unary, HTTP2Route(number: 1, isStream: false, hasBudget: false)),
      (Server.stream, HTTP2Route(number: 2, isStream: true, hasBudget: false)),
    ])
    guard let pool = HTTP2Pool.make(Server.limits, routes) else { return nil }
    self.pool = pool
    pool.pointee.now_ns = 1_000_000_000
    var limits = ReactorLimits()
    limits.outputBacklog = 128 << 10
    connection.initialize(to: ReactorConnection(descriptor: -1, slot: 0, generation: 1, limits: limits))
    guard let session = HTTP2Session.open(connection, pool) else { return nil }
    self.session = session
  }

  func close() {
    while let stream = session.nextClosed() { session.release(stream) }
    while let stream = session.nextReady() { if stream.pointee.flags.contains(.closed) { session.release(stream) } }
    session.close()
    precondition(pool.pointee.waitingBytes == 0, "bytes of requests are left")
    HTTP2Pool.destroy(pool)
    connection.pointee.freeBuffers()
    connection.deallocate()
  }

  func receive(_ bytes: [UInt8]) {
    pump()
    bytes.withUnsafeBytes { if !session.feed($0) { isOver = true } }
    pump()
    settle()
  }

  func takeOutput() {
    connection.pointee.output.removeAll()
    pump()
    settle()
  }

  func advanceClock(_ ms: UInt64) {
    pool.pointee.now_ns += ms * 1_000_000
    session.lookAtClock()
    pump()
    settle()
  }

  private func pump() {
    session.pump()
    while session.connection.pointee.mayAnswer, session.mayServe, let stream = session.nextReady() { serve(stream) }
  }

  private func settle() {
    while let stream = session.nextClosed() { session.release(stream) }
    let state = session.state.pointee
    precondition(state.waitingBytes >= 0 && state.waitingBytes <= Server.limits.waitingBytes, "too much waits")
    precondition(
      state.heldBytes >= 0 && state.heldBytes <= Server.limits.heldBytes + 2 * Client.answerMax, "too much is held")
    if session.isOver || connection.pointee.isFinishing || connection.pointee.output.isRefused { isOver = true }
  }

  private func serve(_ stream: HTTP2StreamPointer) {
    let flags = stream.pointee.flags
    if flags.contains(.closed) { return session.release(stream) }
    if !flags.isDisjoint(with: [.answered, .ending]) { return }
    switch session.refusal(stream) {
    case .http(let status): return session.refuse(stream, status: status)
    case .error(let error): return session.end(stream, error.code.rawValue, error.message)
    case .none: break
    }
    switch stream.pointee.route.number {
    case 1:
      guard case .message(let body, _) = session.message(stream) else { return session.end(stream, 13, "cut") }
      answer(stream, body, isLast: true)
      session.forgetInput(stream)
    case 2:
      while case .message(let body, _) = session.message(stream) {
        guard connection.pointee.mayAnswer, session.mayServe else { return session.putBack(stream) }
        answer(stream, body, isLast: false)
        session.took(stream, body.count)
      }
      if stream.pointee.flags.contains(.clientEnded) { session.end(stream, 0, "") }
    default: session.end(stream, 12, session.path(stream))
    }
  }

  private func answer(_ stream: HTTP2StreamPointer, _ body: UnsafeRawBufferPointer, isLast: Bool) {
    let size = body.prefix(3).reduce(0) { $0 << 8 | Int($1) } % (Client.answerMax + 1)
    if body.count > 3, body[3] > 250 { return session.end(stream, UInt32(body[3]), "an error: \u{e9} % \n") }
    let isSent = session.send(stream, isLast: isLast) { out in
      for i in 0..<size { out.append(byte: Server.content(i, of: size)) }
    }
    if !isSent { session.end(stream, 8, "no memory") }
  }
}
