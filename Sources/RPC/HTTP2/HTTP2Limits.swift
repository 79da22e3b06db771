// What one HTTP/2 connection may cost. Beyond a limit there is an error for who asked, never memory.
package struct HTTP2Limits: Sendable {
  /// Streams open at a time on a connection.
  package var streams: UInt32 = 256
  /// Bytes of a request's header fields, each with 32 for itself, as HTTP/2 counts.
  package var headerListBytes = 16 << 10
  /// Bytes of a request message.
  package var messageBytes = FrameLimits.requestBodyBytes
  /// Bytes of unfinished and unserved requests: of a connection, and of all connections of a reactor.
  package var waitingBytes = 16 << 20
  package var allWaitingBytes = 256 << 20
  /// Answer bytes that wait for the client's windows before its next requests wait, too.
  package var heldBytes = 1 << 20
  /// Bytes that a client may send ahead, on a stream and in all.
  package var streamWindow: Int32 = 256 << 10
  package var connectionWindow: Int32 = 1 << 20
  /// A client that pings more often than this, with nothing sent to it in between, is told so (`pingStrikes` times) and
  /// then gone; without open streams it has no reason to ping at all. grpc-go's rules and etcd's figures.
  package var pingInterval_ms: UInt64 = 5_000
  package var idlePingInterval_ms: UInt64 = 2 * 3_600_000
  package var pingStrikes = 2
  /// SETTINGS frames in ten seconds.
  package var settings = 100
  /// Streams that a client resets: so many at once, and a second.
  package var resetBurst: UInt64 = 1_000
  package var resetsPerSecond: UInt64 = 50
  /// CONTINUATION frames of one header block.
  package var continuations = 8
  /// An unfinished request, or an answer that waits for a window, without any progress.
  package var stall_ms: UInt64 = 60_000
  /// When a quiet connection is asked whether it is still there, and how long it may take to say so.
  package var keepAlive_ms: UInt64 = 2 * 3_600_000
  package var keepAliveAnswer_ms: UInt64 = 20_000

  package init() {}
}
