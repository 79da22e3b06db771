// Where a deferred answer goes: which reactor, which connection of it, which request on that connection.

/// Travels with a proposal through the log and apply threads and comes back in the reactor's mailbox. Trivial.
@usableFromInline
package struct ReplyAddress: Sendable {
  /// Index of the reactor whose mailbox takes the answer.
  package var reactor: UInt16
  /// Method of the request, for the answer's header and the metrics.
  package var method: UInt16
  /// The connection's place in the reactor's table, and which of its occupants: an answer for a connection that has
  /// closed since finds another generation and is dropped.
  package var slot: UInt32
  package var generation: UInt32
  /// The request on that connection.
  package var stream: UInt32
  /// The answer is one of a stream's: others may follow.
  package var isStreamed = false
  /// The call lasts until somebody else does something, a lock for instance: it is counted by `beginPatientCall`, and its
  /// connection does not wait for its answer when it ends.
  package var isPatient = false
  /// The reactor's note of the call's deadline; 0 = none.
  package var ticket: UInt32 = 0
  /// Bytes of the request message, for the logs.
  package var requestBytes: UInt32
  /// When the request was decoded (monotonic nanoseconds).
  package var startedAt_ns: UInt64

  package init(
    reactor: UInt16, method: UInt16, slot: UInt32, generation: UInt32, stream: UInt32, requestBytes: UInt32 = 0,
    startedAt_ns: UInt64
  ) {
    self.reactor = reactor
    self.method = method
    self.slot = slot
    self.generation = generation
    self.stream = stream
    self.requestBytes = requestBytes
    self.startedAt_ns = startedAt_ns
  }
}
