// A stream to whichever server answers: it outlives connections. When one is lost, the dispatcher opens the stream again
// elsewhere, and its owner says what to send first.

import NeedletailRPC

/// Owned by the dispatcher that it was given to, until `ended` gave false or it was closed. The closures run on the thread
/// that turns the dispatcher's wheel.
package final class StreamCall {
  package let method: Method
  /// Index of the only endpoint that may serve it, or nil for any.
  package let endpoint: Int?
  /// The stream is open anew: the messages that it begins with, at least one.
  let opened: () -> [[UInt8]]
  let received: (UnsafeRawBufferPointer) -> Void
  /// The stream, or the attempt to open it, came to an end. True: it shall be opened again.
  let ended: (ClientError) -> Bool

  /// Where it is open: the slot of the dispatcher, and its number on that connection.
  var place: (slot: Int, stream: UInt32)?
  var isClosed = false
  var waitingSince = Instant.now
  var notBefore = Instant(nanoseconds: 0)
  /// Endings in a row without an answer between them.
  var failuresInRow = 0

  package init(
    _ method: Method, endpoint: Int? = nil, opened: @escaping () -> [[UInt8]],
    received: @escaping (UnsafeRawBufferPointer) -> Void, ended: @escaping (ClientError) -> Bool
  ) {
    self.method = method
    self.endpoint = endpoint
    self.opened = opened
    self.received = received
    self.ended = ended
  }

  package var isOpen: Bool { place != nil }
}
