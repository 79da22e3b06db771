// The body of an HTTP/1.1 request as its bytes come in, however they are cut: of a given length, or in chunks.

package struct HTTPBodyReader: Sendable {
  package enum Failure: Error, Equatable, Sendable {
    /// The chunks are none.
    case malformed
    /// A line between chunks, or the fields behind the last, are longer than any honest ones.
    case tooLarge
  }

  private enum State {
    case data(Int)
    case chunkSize(value: Int, digits: Int, lineBytes: Int)
    /// Behind the size: what comes up to the line's end is stepped over.
    case chunkExtension(value: Int, lineBytes: Int)
    case chunkData(Int)
    /// The line end behind a chunk's bytes.
    case chunkEnd
    /// Fields behind the last chunk; whether the line has begun.
    case trailer(bytes: Int, lineBytes: Int)
    case complete
  }

  private var state: State
  private static let lineBytesMax = 256
  private static let trailerBytesMax = 8 << 10

  package init(_ length: HTTPRequestHead.BodyLength) {
    switch length {
    case .none, .bytes(0): state = .complete
    case .bytes(let count): state = .data(count)
    case .chunked: state = .chunkSize(value: 0, digits: 0, lineBytes: 0)
    }
  }

  package var isComplete: Bool {
    if case .complete = state { return true }
    return false
  }

  /// Takes bytes from the front and appends those that are the body's; returns how many it took. It stops at the body's
  /// end, and when `out` holds more than `limit`, which the caller then refuses.
  package mutating func take(
    _ bytes: UnsafeRawBufferPointer, limit: Int, into out: inout OutBuffer
  ) throws(Failure) -> Int {
    var at = 0
    while at < bytes.count, !isComplete, out.count <= limit {
      switch state {
      case .data(let left):
        at += copy(bytes, at, left, into: &out) { $0 == 0 ? .complete : .data($0) }
      case .chunkData(let left):
        at += copy(bytes, at, left, into: &out) { $0 == 0 ? .chunkEnd : .chunkData($0) }
      default:
        try step(bytes[at])
        at += 1
      }
    }
    return at
  }

  private mutating func copy(
    _ bytes: UnsafeRawBufferPointer, _ at: Int, _ left: Int, into out: inout OutBuffer, _ next: (Int) -> State
  ) -> Int {
    let count = min(left, bytes.count - at)
    out.append(UnsafeRawBufferPointer(rebasing: bytes[at..<(at + count)]))
    state = next(left - count)
    return count
  }

  private mutating func step(_ byte: UInt8) throws(Failure) {
    let isLineEnd = byte == UInt8(ascii: "\n")
    switch state {
    case .chunkSize(let value, let digits, let lineBytes):
      if let digit = JSONText.hexValue(byte) {
        // Fifteen digits fit; nobody means so much.
        guard digits < 15 else { throw .malformed }
        state = .chunkSize(value: value << 4 | Int(digit), digits: digits + 1, lineBytes: lineBytes + 1)
      } else {
        guard digits > 0, isLineEnd || [UInt8(ascii: ";"), 0x0d, 0x20, 0x09].contains(byte) else { throw .malformed }
        if isLineEnd { begin(value) } else { state = .chunkExtension(value: value, lineBytes: lineBytes + 1) }
      }
    case .chunkExtension(let value, let lineBytes):
      guard lineBytes < HTTPBodyReader.lineBytesMax else { throw .tooLarge }
      if isLineEnd { begin(value) } else { state = .chunkExtension(value: value, lineBytes: lineBytes + 1) }
    case .chunkEnd:
      guard isLineEnd || byte == 0x0d else { throw .malformed }
      if isLineEnd { state = .chunkSize(value: 0, digits: 0, lineBytes: 0) }
    case .trailer(let count, let lineBytes):
      guard count < HTTPBodyReader.trailerBytesMax else { throw .tooLarge }
      if isLineEnd {
        state = lineBytes == 0 ? .complete : .trailer(bytes: count + 1, lineBytes: 0)
      } else {
        state = .trailer(bytes: count + 1, lineBytes: byte == 0x0d ? lineBytes : lineBytes + 1)
      }
    case .data, .chunkData, .complete: break
    }
  }

  private mutating func begin(_ size: Int) { state = size == 0 ? .trailer(bytes: 0, lineBytes: 0) : .chunkData(size) }
}
