// Cuts received bytes into frames, in place.
//
// A length over the limit is refused from the header alone, before any of the body is waited for: a peer can't make the
// other side hold more than the limit.

/// Why a connection's bytes are no frames. It ends the connection: what follows can't be told apart any more.
package enum FrameError: Error, Equatable, Sendable, CustomStringConvertible {
  case bodyTooLarge(length: UInt32, limit: Int)
  case answerFromClient
  case requestFromServer
  case unknownFlags(UInt16)
  case reservedStream

  /// The code for the error answer on stream 0.
  package var code: StatusCode {
    switch self {
    case .bodyTooLarge: .resourceExhausted
    case .answerFromClient, .requestFromServer, .unknownFlags, .reservedStream: .invalidArgument
    }
  }

  package var description: String {
    switch self {
    case .bodyTooLarge(let length, let limit): "frame body of \(length) bytes is over the limit of \(limit)"
    case .answerFromClient: "a client's frame has the answer flag"
    case .requestFromServer: "a server's frame lacks the answer flag"
    case .unknownFlags(let flags): "frame has unknown flags 0x\(String(flags, radix: 16))"
    case .reservedStream: "stream 0 carries no requests"
    }
  }
}

/// One frame in the received bytes.
package struct Frame {
  package let header: FrameHeader
  /// In place; valid as long as the received bytes are.
  package let body: UnsafeRawBufferPointer

  @inlinable @inline(__always)
  init(header: FrameHeader, body: UnsafeRawBufferPointer) {
    self.header = header
    self.body = body
  }
}

/// A cursor over received bytes. A trivial struct; it borrows the bytes. Invariant: 0 ≤ consumed ≤ bytes.count.
package struct FrameParser {
  package enum Side: Sendable {
    /// Receives requests.
    case server
    /// Receives answers.
    case client
  }

  @usableFromInline let bytes: UnsafeRawBufferPointer
  @usableFromInline let side: Side
  @usableFromInline let bodyLimit: Int
  /// Bytes of the frames returned so far; the rest is the start of a frame that isn't whole yet.
  package private(set) var consumed = 0

  @inlinable
  package init(_ bytes: UnsafeRawBufferPointer, side: Side, bodyLimit: Int) {
    self.bytes = bytes
    self.side = side
    self.bodyLimit = bodyLimit
  }

  /// The next whole frame, or nil when more bytes are needed.
  @inlinable @inline(__always)
  package mutating func next() throws(FrameError) -> Frame? {
    let left = bytes.count &- consumed
    guard left >= FrameHeader.byteCount, let start = bytes.baseAddress else { return nil }
    let header = FrameHeader(loading: start + consumed)
    try check(header)
    let size = FrameHeader.byteCount &+ Int(truncatingIfNeeded: header.length)
    guard left >= size else { return nil }
    let body = UnsafeRawBufferPointer(
      start: start + consumed + FrameHeader.byteCount, count: size &- FrameHeader.byteCount)
    consumed = consumed &+ size
    return Frame(header: header, body: body)
  }

  @inlinable @inline(__always)
  func check(_ header: FrameHeader) throws(FrameError) {
    if _slowPath(Int(header.length) > bodyLimit) { throw .bodyTooLarge(length: header.length, limit: bodyLimit) }
    if _slowPath(header.flags & ~FrameFlags.known != 0) { throw .unknownFlags(header.flags) }
    switch side {
    case .server:
      if _slowPath(header.isAnswer) { throw .answerFromClient }
      if _slowPath(header.stream == 0) { throw .reservedStream }
    case .client:
      if _slowPath(!header.isAnswer) { throw .requestFromServer }
    }
  }

  /// Bytes that the frame at the cursor has in all, header included, as far as they tell; 16 while the header isn't
  /// whole. For sizing the receive buffer; meaningful after `next()` returned nil.
  package var wanted: Int {
    guard bytes.count &- consumed >= FrameHeader.byteCount, let start = bytes.baseAddress else {
      return FrameHeader.byteCount
    }
    return FrameHeader.byteCount &+ Int(FrameHeader(loading: start + consumed).length)
  }
}
