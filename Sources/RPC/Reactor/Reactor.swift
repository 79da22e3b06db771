// The loop of one reactor thread: wait, decode a batch, send its answers.
//
// It is inlinable so that it specialises where the handler is defined; the transport's calls stay calls, a few per
// receive and none per request.

package enum Reactor {
  /// Runs until a stop message. Returns the handler as it was left.
  @inlinable
  package static func loop<T: Transport, H: Handler>(_ transport: inout T, _ handler: inout H) throws(ReactorError) {
    while try transport.wait() {
      handler.beginBatch()
      takeMail(&transport, &handler)
      while let arrival = transport.next() {
        let connection = arrival.connection
        let bytes = transport.begin(arrival)
        let consumed = connection.pointee.isFinishing ? bytes.count : handler.receive(connection, bytes)
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
      transport.flush()
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
      case .adopt, .stop:
        transport.control(message)
      }
      mail = Mailbox.next(after: message)
    }
  }
}
