// What one reactor will hold at most. Over a limit a connection waits or is told so and closed; memory never just
// grows.

@usableFromInline
package struct ReactorLimits: Sendable {
  /// Connections served by this reactor; a few more are accepted only to be told that there are too many.
  package var connections = 16384
  /// Answer bytes a connection may leave untaken before its next requests wait.
  package var outputBacklog = 1 << 20
  /// Answer bytes left untaken at which a handler that waits for it hears that they have drained.
  package var drainMark = 128 << 10
  /// Requests of one connection that other threads may be working on before its next requests wait.
  package var deferredAnswers = Int32(FrameLimits.streams)
  /// The largest request with its header: an unfinished one never takes more memory than this and one receive.
  package var requestBytes = (1 << 20) * 2
  /// From accept to the first bytes of a known protocol.
  package var greeting_ms: UInt64 = 5_000
  /// An unfinished request, or answers that the peer does not take, without any progress.
  package var stall_ms: UInt64 = 60_000
  /// After the last answer, for the peer to close.
  package var linger_ms: UInt64 = 1_000

  package init() {}
}
