// The 16 bytes before every body of the native protocol. docs/protocol.md shows each of them.

/// What a frame asks for or answers.
package enum Method: UInt16, CaseIterable, Sendable {
  case hello = 0
  case range = 1
  case put = 2
  case deleteRange = 3
  case txn = 4
  case compact = 5
  case watch = 6
  case rangeStream = 7
  case leaseGrant = 8
  case leaseRevoke = 9
  case leaseKeepAlive = 10
  case leaseTimeToLive = 11
  case leaseLeases = 12
  /// Gives up the call on its stream; has no answer of its own.
  case cancel = 15
  case status = 16
  case health = 17
  case snapshot = 18
  case alarm = 19
  case hash = 20
  case hashKV = 21
  case defragment = 22
  case moveLeader = 23
  case memberList = 32
  case memberAdd = 33
  case memberRemove = 34
  case memberUpdate = 35
  case memberPromote = 36
  case lock = 48
  case unlock = 49
  case campaign = 50
  case proclaim = 51
  case leader = 52
  case observe = 53
  case resign = 54
}

/// Bits of a header's flags.
package enum FrameFlags {
  /// The frame is an answer: it comes from the server.
  @inlinable package static var answer: UInt16 { 1 }
  /// No frame follows on this stream.
  @inlinable package static var endOfStream: UInt16 { 2 }
  /// All bits that this version of the protocol defines.
  @inlinable package static var known: UInt16 { 3 }
}

/// A frame's header. Integers are little-endian on the wire.
package struct FrameHeader: Equatable, Sendable {
  /// Bytes of the body.
  package var length: UInt32
  /// Raw, because an unknown method must be answered on its stream.
  package var rawMethod: UInt16
  package var flags: UInt16
  /// Chosen by the client, unique among its requests in flight; 0 is the connection itself.
  package var stream: UInt32
  /// In a request the deadline in ms (0 = none), in an answer the status code (0 = OK).
  package var status: UInt32

  @inlinable package static var byteCount: Int { 16 }

  @inlinable
  package init(length: UInt32, rawMethod: UInt16, flags: UInt16, stream: UInt32, status: UInt32) {
    self.length = length
    self.rawMethod = rawMethod
    self.flags = flags
    self.stream = stream
    self.status = status
  }

  /// Reads the 16 bytes at `source`, which need no alignment.
  @inlinable @inline(__always)
  package init(loading source: UnsafeRawPointer) {
    length = UInt32(littleEndian: source.loadUnaligned(as: UInt32.self))
    rawMethod = UInt16(littleEndian: source.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
    flags = UInt16(littleEndian: source.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
    stream = UInt32(littleEndian: source.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    status = UInt32(littleEndian: source.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
  }

  /// Writes the 16 bytes at `target`, which need no alignment.
  @inlinable @inline(__always)
  package func store(to target: UnsafeMutableRawPointer) {
    target.storeBytes(of: length.littleEndian, as: UInt32.self)
    target.storeBytes(of: rawMethod.littleEndian, toByteOffset: 4, as: UInt16.self)
    target.storeBytes(of: flags.littleEndian, toByteOffset: 6, as: UInt16.self)
    target.storeBytes(of: stream.littleEndian, toByteOffset: 8, as: UInt32.self)
    target.storeBytes(of: status.littleEndian, toByteOffset: 12, as: UInt32.self)
  }

  @inlinable package var method: Method? { Method(rawValue: rawMethod) }
  @inlinable package var isAnswer: Bool { flags & FrameFlags.answer != 0 }
  @inlinable package var isEndOfStream: Bool { flags & FrameFlags.endOfStream != 0 }
}

extension OutBuffer {
  /// Starts a frame whose body is appended next, and returns where it starts; `closeFrame` fills the header in.
  package mutating func openFrame() -> Int {
    let at = count
    _ = reserve(FrameHeader.byteCount)
    advance(FrameHeader.byteCount)
    return at
  }

  /// Completes the frame opened at `at` with everything appended since as its body.
  package mutating func closeFrame(at: Int, rawMethod: UInt16, flags: UInt16, stream: UInt32, status: UInt32) {
    let length = count &- at &- FrameHeader.byteCount
    precondition(at >= 0 && length >= 0 && length <= Int(UInt32.max), "no frame was opened here")
    let header = FrameHeader(
      length: UInt32(truncatingIfNeeded: length), rawMethod: rawMethod, flags: flags, stream: stream, status: status)
    // Without memory there is no frame.
    if let start { header.store(to: start + at) }
  }

  /// Appends a whole answer that reports an error: its body is the message's text.
  package mutating func appendErrorFrame(rawMethod: UInt16, stream: UInt32, code: StatusCode, message: String) {
    let at = openFrame()
    append(message)
    closeFrame(
      at: at, rawMethod: rawMethod, flags: FrameFlags.answer | FrameFlags.endOfStream, stream: stream,
      status: code.rawValue)
  }
}
