// The seam between bytes and meaning. The reactor is generic over it and specialises where the handler lives, so that no
// call in the loop is dynamic; a handler is a struct whose hot fields are pointers and integers.

/// What happens on one reactor, in order: `beginBatch`, then any number of the others, then `endBatch`, then everything
/// appended to outputs is sent. All input of a batch was received before `beginBatch`: a snapshot pinned there includes
/// every write that was acknowledged before any of the batch's requests was sent.
@usableFromInline
package protocol Handler {
  mutating func beginBatch()
  mutating func endBatch()

  /// Decodes whole requests from the start of `bytes` and appends their answers to `connection.pointee.output`. Returns
  /// how many bytes it consumed: an unfinished rest comes again with more behind it. Stops early when `mayAnswer` or
  /// `isFinishing` says so. Of a connection that `isProducing` it appends the next pieces first, and consumes nothing
  /// before the last.
  mutating func receive(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int

  /// A deferred answer. `connection` is nil when it has closed meanwhile.
  mutating func complete(_ connection: ConnectionPointer?, _ reply: UnsafeMutablePointer<Mail>)

  /// Messages on streams. The table finds their connections, and is told which of them were written to.
  mutating func delivered(_ delivery: AnyObject, _ table: inout ConnectionTable)

  /// What was written to the connection has left, all but a little: it had asked to be told.
  mutating func drained(_ connection: ConnectionPointer)

  /// Once in each turn of the loop, which comes at least twice a second: what is due by the clock. The table finds
  /// connections, and is told which of them were written to.
  mutating func turn(_ table: inout ConnectionTable)

  /// The server stops. True where the handler will end the connection itself, soon; otherwise nothing more is read from it.
  mutating func stopping(_ connection: ConnectionPointer) -> Bool

  /// The next turn shall come by then (monotonic nanoseconds).
  var wakeBy_ns: UInt64 { get }

  /// The stream ended with an unfinished request in it, or a deadline passed: a last chance to append a word.
  mutating func abandoned(_ connection: ConnectionPointer, _ reason: AbandonReason)

  /// The connection's record is about to go.
  mutating func closed(_ connection: ConnectionPointer)

  /// Something an operator should see; at most about one of a kind each second.
  mutating func notice(_ notice: ReactorNotice)
}

extension Handler {
  // Most handlers have no streams.
  @inlinable package mutating func delivered(_ delivery: AnyObject, _ table: inout ConnectionTable) {}
  @inlinable package mutating func drained(_ connection: ConnectionPointer) {}
  @inlinable package mutating func turn(_ table: inout ConnectionTable) {}
  @inlinable package mutating func stopping(_ connection: ConnectionPointer) -> Bool { false }
  @inlinable package var wakeBy_ns: UInt64 { .max }
}

@usableFromInline
package enum AbandonReason: Sendable {
  /// No known protocol within the greeting's deadline.
  case greetingTimeout
  /// A request begun and not finished, or answers not taken, for too long.
  case stalled
  /// The peer ended its stream inside a request.
  case truncated
}

@usableFromInline
package enum ReactorNotice: Sendable, Equatable {
  /// accept failed with this errno; connections are being shed.
  case acceptFailed(Int32)
  /// The connection limit is reached.
  case connectionLimit(Int)
  /// Connections cut off because they were not finished when the stop's time was over.
  case cutOff(Int)
}
