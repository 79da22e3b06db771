// Reads protobuf's wire format straight out of received bytes.
//
// The one idea: every load is preceded by a comparison with `end`, every length by a comparison with what is left, so
// that no input, however broken, can make it read outside the bytes or trap. Nothing is copied; nothing allocates.

/// What can be wrong with a message's bytes.
public enum ProtoError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The message ends inside a field.
  case truncated
  /// A varint does not fit 64 bits.
  case overlongVarint
  /// A tag with field number 0 or beyond 2^29 - 1.
  case invalidFieldNumber
  /// A wire type that protobuf does not define, or an end of group without its start.
  case invalidWireType
  /// A known field came with a wire type that is not its own.
  case mismatchedWireType(field: Int)
  /// Groups nest deeper than any honest message.
  case nestedTooDeeply
  /// A text field holds bytes that are not UTF-8.
  case invalidText(field: Int)

  public var description: String {
    switch self {
    case .truncated: "message ends inside a field"
    case .overlongVarint: "varint is longer than 64 bits"
    case .invalidFieldNumber: "field number out of range"
    case .invalidWireType: "undefined wire type"
    case .mismatchedWireType(let field): "field \(field) has the wrong wire type"
    case .nestedTooDeeply: "groups are nested too deeply"
    case .invalidText(let field): "field \(field) is not UTF-8"
    }
  }
}

/// How a field's bytes are laid out.
package enum ProtoWireType: UInt8 {
  case varint = 0
  case fixed64 = 1
  case bytes = 2
  case groupStart = 3
  case groupEnd = 4
  case fixed32 = 5
}

/// A field's number (1…2^29 - 1) and wire type.
package struct ProtoTag {
  package let field: Int
  package let wireType: ProtoWireType

  @inlinable @inline(__always)
  init(field: Int, wireType: ProtoWireType) {
    self.field = field
    self.wireType = wireType
  }
}

/// A cursor over one message. A trivial struct: it borrows the bytes, which must outlive it.
/// Invariant: `cursor` ≤ `end`, and [cursor, end) is readable.
package struct ProtoReader {
  @usableFromInline var cursor: UnsafeRawPointer
  @usableFromInline let end: UnsafeRawPointer

  @inlinable @inline(__always)
  package init(_ message: UnsafeRawBufferPointer) {
    if let start = message.baseAddress {
      cursor = start
      end = start + message.count
    } else {
      // No bytes at all: any equal pair of pointers does, it is never dereferenced.
      cursor = UnsafeRawPointer(bitPattern: 1).unsafelyUnwrapped
      end = cursor
    }
  }

  /// Bytes not read yet.
  @inlinable @inline(__always)
  package var remaining: Int { end - cursor }

  /// The next field's tag, or nil at the end of the message.
  @inlinable @inline(__always)
  package mutating func nextTag() throws(ProtoError) -> ProtoTag? {
    if cursor == end { return nil }
    let raw = try varint()
    guard raw >> 3 != 0, raw >> 32 == 0 else { throw .invalidFieldNumber }
    guard let wireType = ProtoWireType(rawValue: UInt8(truncatingIfNeeded: raw & 7)) else { throw .invalidWireType }
    return ProtoTag(field: Int(truncatingIfNeeded: raw >> 3), wireType: wireType)
  }

  /// A base-128 number of at most 64 bits.
  @inlinable @inline(__always)
  package mutating func varint() throws(ProtoError) -> UInt64 {
    if _fastPath(cursor < end) {
      let first = cursor.load(as: UInt8.self)
      if _fastPath(first < 0x80) {
        cursor += 1
        return UInt64(first)
      }
    }
    return try longVarint()
  }

  @usableFromInline @inline(never)
  mutating func longVarint() throws(ProtoError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    var at = cursor
    while true {
      guard at < end else { throw .truncated }
      let byte = at.load(as: UInt8.self)
      at += 1
      // The tenth byte holds the 64th bit and nothing else.
      if shift == 63 && byte > 1 { throw .overlongVarint }
      value |= UInt64(byte & 0x7F) &<< shift
      if byte < 0x80 { break }
      shift &+= 7
    }
    cursor = at
    return value
  }

  /// A length-delimited field's bytes, in place.
  @inlinable @inline(__always)
  package mutating func lengthDelimited() throws(ProtoError) -> UnsafeRawBufferPointer {
    let length = try varint()
    guard length <= UInt64(UInt(bitPattern: end - cursor)) else { throw .truncated }
    let size = Int(truncatingIfNeeded: length)
    let field = UnsafeRawBufferPointer(start: cursor, count: size)
    cursor += size
    return field
  }

  // MARK: Typed fields, which also check the wire type

  @inlinable @inline(__always)
  package mutating func bytes(_ tag: ProtoTag) throws(ProtoError) -> UnsafeRawBufferPointer {
    guard tag.wireType == .bytes else { throw .mismatchedWireType(field: tag.field) }
    return try lengthDelimited()
  }

  @inlinable @inline(__always)
  package mutating func uint64(_ tag: ProtoTag) throws(ProtoError) -> UInt64 {
    guard tag.wireType == .varint else { throw .mismatchedWireType(field: tag.field) }
    return try varint()
  }

  /// int64, as protobuf writes it: two's complement in 64 bits.
  @inlinable @inline(__always)
  package mutating func int64(_ tag: ProtoTag) throws(ProtoError) -> Int64 {
    Int64(bitPattern: try uint64(tag))
  }

  /// uint32: higher bits are cut, as every protobuf implementation does.
  @inlinable @inline(__always)
  package mutating func uint32(_ tag: ProtoTag) throws(ProtoError) -> UInt32 {
    UInt32(truncatingIfNeeded: try uint64(tag))
  }

  /// An enumeration's number: int32, higher bits cut; unknown numbers are kept for the caller to judge.
  @inlinable @inline(__always)
  package mutating func enumeration(_ tag: ProtoTag) throws(ProtoError) -> Int32 {
    Int32(truncatingIfNeeded: try uint64(tag))
  }

  @inlinable @inline(__always)
  package mutating func bool(_ tag: ProtoTag) throws(ProtoError) -> Bool {
    try uint64(tag) != 0
  }

  /// A text field, checked to be UTF-8.
  package mutating func string(_ tag: ProtoTag) throws(ProtoError) -> String {
    let field = try bytes(tag)
    guard let text = String(validating: field, as: UTF8.self) else { throw .invalidText(field: tag.field) }
    return text
  }

  /// Steps over a field that this build does not know.
  package mutating func skip(_ tag: ProtoTag) throws(ProtoError) {
    switch tag.wireType {
    case .varint: _ = try varint()
    case .bytes: _ = try lengthDelimited()
    case .fixed64: try skipBytes(8)
    case .fixed32: try skipBytes(4)
    case .groupStart: try skipGroup(tag.field)
    case .groupEnd: throw .invalidWireType
    }
  }

  private mutating func skipBytes(_ size: Int) throws(ProtoError) {
    guard remaining >= size else { throw .truncated }
    cursor += size
  }

  /// Steps over a group. The open groups' numbers are checked against their ends; the depth is bounded, and no
  /// recursion is driven by input.
  private mutating func skipGroup(_ field: Int) throws(ProtoError) {
    var open = [field]
    while let innermost = open.last {
      guard let tag = try nextTag() else { throw .truncated }
      switch tag.wireType {
      case .groupStart:
        guard open.count < 64 else { throw .nestedTooDeeply }
        open.append(tag.field)
      case .groupEnd:
        guard tag.field == innermost else { throw .invalidWireType }
        open.removeLast()
      default: try skip(tag)
      }
    }
  }
}
