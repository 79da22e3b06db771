// The loop of one reactor thread: wait, decode a batch, send its answers.
//
// It is inlinable so that it specialises where the handler is defined; the transport's calls stay calls, a few per
// receive and none per request. Only the bodies of types that are `@usableFromInline` themselves cross a module border:
// on a plain package type `@inlinable` is accepted and has no effect, which is why this folder's types carry both.

import Glibc

@usableFromInline
package enum Reactor {
  /// Runs until a stop message. Returns the handler as it was left.
  @inlinable
  package static func loop<T: Transport, H: Handler>(_ transport: inout T, _ handler: inout H) throws(ReactorError) {
    while try transport.wait() {
      handler.beginBatch()
      takeMail(&transport, &handler)
      handler.turn(&transport.table)
      while let arrival = transport.next() {
        let connection = arrival.connection
        let bytes = transport.begin(arrival)
        let isOver = connection.pointee.isFinishing && !connection.pointee.isProducing
        let consumed = isOver ? bytes.count : handler.receive(connection, bytes)
        if transport.end(arrival, bytes, consumed) {
          handler.abandoned(connection, .truncated)
          transport.abandon(connection)
        }
      }
      while let (connection, reason) = transport.nextExpired() {
        handler.abandoned(connection, reason)
        transport.abandon(connection)
      }
      handler.endBatch()
      transport.table.wakeBy_ns = handler.wakeBy_ns
      transport.flush()
      while let connection = transport.takeDrained() { handler.drained(connection) }
      while let connection = transport.takeDead() {
        handler.closed(connection)
        transport.release(connection)
      }
      if let notice = transport.takeNotice() { handler.notice(notice) }
    }
  }

  @inlinable
  static func takeMail<T: Transport, H: Handler>(_ transport: inout T, _ handler: inout H) {
    var mail = transport.takeMail()
    while let message = mail {
      switch message.pointee.kind {
      case .reply:
        let connection = transport.answered(message)
        handler.complete(connection, message)
      case .delivery:
        if let object = message.object { handler.delivered(object, &transport.table) }
      case .adopt:
        transport.control(message)
      case .stop:
        transport.control(message)
        stop(&transport, &handler)
      }
      mail = Mailbox.next(after: message)
    }
  }
}

extension Reactor {
  @inlinable
  static func stop<T: Transport, H: Handler>(_ transport: inout T, _ handler: inout H) {
    var slot = 0
    while let connection = transport.table.occupied(from: &slot) {
      transport.table.stop(connection, handlerEnds: handler.stopping(connection))
    }
  }
}

/// Which transport a reactor uses.
@usableFromInline
package enum ReactorKind: String, Sendable, CaseIterable {
  /// io_uring where the kernel and its sandbox allow it, else epoll.
  case auto
  case ioUring = "io_uring"
  case epoll
}

extension Reactor {
  /// Runs a whole reactor on the calling thread until it is stopped: makes the transport, tells which it became through
  /// `started` ("io_uring", "epoll", or "epoll (io_uring refused: …)"), loops, and frees everything. `listeners` are
  /// the
  /// reactor's own from here on, whatever happens.
  @inlinable
  package static func run<H: Handler>(
    _ kind: ReactorKind, group: ReactorGroup, index: Int, listeners: [Int32], limits: ReactorLimits,
    handler: inout H, started: (String) -> Void
  ) throws(ReactorError) {
    var refusal = ""
    if kind != .epoll {
      switch openRing(kind, group: group, index: index, listeners: listeners, limits: limits) {
      case .success(var ring):
        started("io_uring")
        return try serve(&ring, &handler)
      case .failure(let error):
        guard kind == .auto else { throw close(listeners, error) }
        refusal = " (io_uring refused: \(error))"
      }
    }
    var epoll = try openEpoll(group: group, index: index, listeners: listeners, limits: limits)
    started("epoll" + refusal)
    try serve(&epoll, &handler)
  }

  @usableFromInline
  static func openRing(
    _ kind: ReactorKind, group: ReactorGroup, index: Int, listeners: [Int32], limits: ReactorLimits
  ) -> Result<RingTransport, ReactorError> {
    do throws(ReactorError) {
      return .success(try RingTransport(group: group, index: index, listeners: listeners, limits: limits))
    } catch {
      return .failure(error)
    }
  }

  @usableFromInline
  static func openEpoll(
    group: ReactorGroup, index: Int, listeners: [Int32], limits: ReactorLimits
  ) throws(ReactorError) -> EpollTransport {
    do throws(ReactorError) {
      return try EpollTransport(group: group, index: index, listeners: listeners, limits: limits)
    } catch {
      throw close(listeners, error)
    }
  }

  @usableFromInline
  static func close(_ listeners: [Int32], _ error: ReactorError) -> ReactorError {
    for listener in listeners { Glibc.close(listener) }
    return error
  }

  @inlinable
  static func serve<T: Transport, H: Handler>(_ transport: inout T, _ handler: inout H) throws(ReactorError) {
    defer {
      // The handler hears of each connection that is cut off here, as of any other.
      let cutOff = transport.endAll { handler.closed($0) }
      if cutOff > 0 { handler.notice(.cutOff(cutOff)) }
    }
    try loop(&transport, &handler)
  }
}
