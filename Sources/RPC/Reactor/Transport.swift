// What a reactor needs of the kernel: epoll and io_uring fill this seam, the loop above them is one.

/// Bytes that came for a connection; a count of 0 means that there is news without bytes (resumed, or the stream
/// ended).
@usableFromInline
package struct Arrival {
  @usableFromInline
  package let connection: ConnectionPointer
  @usableFromInline
  package let chunk: UnsafeRawBufferPointer
  /// io_uring: the provided buffer to give back, -1 = none.
  let buffer: Int32
}

@usableFromInline
package protocol Transport {
  var table: ConnectionTable { get set }
  var mailbox: Mailbox { get }

  /// Sleeps until something happened, takes in all input that there is, and returns; `false` leaves the loop.
  mutating func wait() throws(ReactorError) -> Bool
  /// The next input taken in by `wait`.
  mutating func next() -> Arrival?
  /// Gives the arrival's memory back. The bytes are consumed or copied.
  mutating func finished(_ arrival: Arrival)
  /// Serves a socket accepted by another reactor.
  mutating func adopt(_ descriptor: Int32)
  /// Stops accepting.
  mutating func closeListeners()
  /// Sends what the batch produced, as far as the kernel takes it, and buries the dead.
  mutating func flush()
  /// Frees everything, connections that are left included; `closed` is told of each. Returns how many of them had
  /// something to send or to wait for.
  mutating func endAll(_ closed: (ConnectionPointer) -> Void) -> Int
}

extension Transport {
  @inlinable @inline(__always)
  package func begin(_ arrival: Arrival) -> UnsafeRawBufferPointer {
    table.begin(arrival.connection, arrival.chunk)
  }

  /// Keeps what was not consumed; true when the peer's stream ended within a request.
  @inlinable @inline(__always)
  package mutating func end(_ arrival: Arrival, _ bytes: UnsafeRawBufferPointer, _ consumed: Int) -> Bool {
    let truncated = table.end(arrival.connection, bytes, consumed: consumed)
    finished(arrival)
    return truncated
  }

  @inlinable package mutating func abandon(_ connection: ConnectionPointer) { table.abandon(connection) }
  @inlinable package mutating func nextExpired() -> (ConnectionPointer, AbandonReason)? { table.nextExpired() }
  @inlinable package mutating func takeDead() -> ConnectionPointer? { table.takeDead() }
  @inlinable package mutating func takeDrained() -> ConnectionPointer? { table.takeDrained() }
  @inlinable package mutating func release(_ connection: ConnectionPointer) { table.release(connection) }
  @inlinable package mutating func takeNotice() -> ReactorNotice? { table.takeNotice() }
  @inlinable package func takeMail() -> UnsafeMutablePointer<Mail>? { mailbox.takeAll() }

  /// The connection that a deferred answer is for, if it is still there.
  @inlinable package mutating func answered(_ reply: UnsafeMutablePointer<Mail>) -> ConnectionPointer? {
    table.answered(reply.pointee.address)
  }

  /// Carries out a message that is not an answer.
  @usableFromInline
  package mutating func control(_ mail: UnsafeMutablePointer<Mail>) {
    switch mail.pointee.kind {
    case .adopt:
      adopt(mail.pointee.number)
    case .stop:
      closeListeners()
      table.beginStop(within_ms: mail.pointee.number)
    case .reply, .delivery:
      break
    }
  }
}
