// One stream's record: what has come of its request and what has not left of its answer. Trivial memory from the reactor's
// pool, reached by pointer; nghttp2 keeps the pointer with the stream.
import NeedletailBytes

package typealias HTTP2StreamPointer = UnsafeMutablePointer<HTTP2Stream>

package struct HTTP2StreamFlags: OptionSet, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The request's head is whole.
  package static var hasHead: Self { Self(rawValue: 1 << 0) }
  package static var isPost: Self { Self(rawValue: 1 << 1) }
  /// Its content type is gRPC's.
  package static var isGRPC: Self { Self(rawValue: 1 << 2) }
  /// The client has sent its last byte.
  package static var clientEnded: Self { Self(rawValue: 1 << 3) }
  /// In the session's queue of streams with something to serve.
  static var queued: Self { Self(rawValue: 1 << 4) }
  /// HTTP/2 has done with it: nothing can be sent any more.
  package static var closed: Self { Self(rawValue: 1 << 5) }
  /// The answer's head is out.
  package static var begun: Self { Self(rawValue: 1 << 6) }
  /// Behind what is held, the trailers.
  package static var ending: Self { Self(rawValue: 1 << 7) }
  /// The answer is complete, as far as the face goes: what the client still sends is thrown away.
  package static var answered: Self { Self(rawValue: 1 << 8) }
  /// nghttp2 asks for no data until it is told that there are some.
  static var waits: Self { Self(rawValue: 1 << 9) }
  /// What ends a request before it is served.
  static var headTooLarge: Self { Self(rawValue: 1 << 10) }
  static var messageTooLarge: Self { Self(rawValue: 1 << 11) }
  static var tooMuchWaiting: Self { Self(rawValue: 1 << 12) }
  static var badTimeout: Self { Self(rawValue: 1 << 13) }
  /// The face's: its one request is with a handler.
  package static var served: Self { Self(rawValue: 1 << 14) }
}

/// How a client's messages are packed.
package enum HTTP2Encoding: UInt8, Sendable {
  case identity
  case gzip
  case unknown
}

package struct HTTP2Stream {
  package let id: Int32
  package var flags: HTTP2StreamFlags = []
  package var route = HTTP2Route()
  package var encoding = HTTP2Encoding.identity
  /// How long the client waits; 0 = for ever.
  package var timeout_ns: UInt64 = 0
  /// When it no longer does, and when something last happened, on the reactor's clock.
  package var deadline_ns: UInt64 = 0
  package var active_ms: UInt64 = 0
  /// The face's own, for streams that last.
  package var owner: UnsafeMutableRawPointer?

  /// Received and not served: [inputStart, input.count), messages with their prefixes.
  var input = OutBuffer.refusable
  var inputStart = 0
  /// Received bytes that the client does not know to be taken in yet.
  var unconsumed = 0
  var headerBytes = 0
  /// The path of a request that leads nowhere.
  var path = OutBuffer()
  /// Answer bytes that wait for a window: [heldStart, held.count).
  var held = OutBuffer.refusable
  var heldStart = 0
  var code: UInt32 = 0
  /// The error's text as it goes into a header field.
  var text = OutBuffer()

  /// In the session's queue, its list of closed streams, or the pool.
  var next: HTTP2StreamPointer?
  /// In the session's list of open streams.
  var previousOpen: HTTP2StreamPointer?
  var nextOpen: HTTP2StreamPointer?

  init(id: Int32) { self.id = id }

  package var heldBytes: Int { held.count &- heldStart }
  var waitingBytes: Int { input.count &- inputStart }

  /// What the next message's prefix says.
  var nextLength: Int {
    guard waitingBytes >= GRPCPrefix.byteCount, let start = input.start else { return 0 }
    return GRPCPrefix.length(start + inputStart)
  }

  /// Whether the next message is not whole yet.
  var needsMore: Bool {
    let count = waitingBytes
    guard count >= GRPCPrefix.byteCount, let start = input.start else { return true }
    return count &- GRPCPrefix.byteCount < GRPCPrefix.length(start + inputStart)
  }
}

/// What stands before every message: a byte that says whether it is compressed, and its length, big-endian.
package enum GRPCPrefix {
  package static var byteCount: Int { 5 }

  @inline(__always)
  static func length(_ prefix: UnsafeRawPointer) -> Int {
    Int(UInt32(bigEndian: prefix.loadUnaligned(fromByteOffset: 1, as: UInt32.self)))
  }

  @inline(__always)
  static func store(_ length: Int, to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: 0, as: UInt8.self)
    target.storeBytes(of: UInt32(truncatingIfNeeded: length).bigEndian, toByteOffset: 1, as: UInt32.self)
  }
}

extension OutBuffer {
  /// A message of so many bytes follows.
  package mutating func appendMessagePrefix(_ length: Int) {
    GRPCPrefix.store(length, to: reserve(GRPCPrefix.byteCount))
    advance(GRPCPrefix.byteCount)
  }

  /// Says the length of a message whose prefix was appended before it was known.
  package mutating func setMessagePrefix(_ length: Int, at: Int) {
    guard let start, at >= 0, at + GRPCPrefix.byteCount <= count else { return }
    GRPCPrefix.store(length, to: start + at)
  }
}
