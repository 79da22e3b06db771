// Writes protobuf's wire format into memory that was reserved beforehand.
//
// The one idea: a message first says its exact size (`encodedSize`), the buffer grows once, and then everything is plain
// stores. Fields at their default value are left out, as proto3 wants.

/// A write cursor into reserved memory. A trivial struct; the caller has reserved at least what will be written.
package struct ProtoWriter {
  /// Where the next byte goes.
  package var cursor: UnsafeMutableRawPointer

  @inlinable @inline(__always)
  package init(_ start: UnsafeMutableRawPointer) { cursor = start }

  // MARK: Sizes

  /// Bytes of `value` as a varint: 1…10.
  @inlinable @inline(__always)
  package static func size(varint value: UInt64) -> Int {
    // ceil(significant bits / 7), at least 1.
    (70 &- (value | 1).leadingZeroBitCount) / 7
  }

  /// Bytes of a whole varint field with a number below 16; 0 where the default is left out.
  @inlinable @inline(__always)
  package static func size(field value: UInt64) -> Int { value == 0 ? 0 : 1 &+ size(varint: value) }

  @inlinable @inline(__always)
  package static func size(field value: Int64) -> Int { size(field: UInt64(bitPattern: value)) }

  @inlinable @inline(__always)
  package static func size(field value: Bool) -> Int { value ? 2 : 0 }

  /// Bytes of a whole length-delimited field of `count` bytes with a number below 16, present even if empty.
  @inlinable @inline(__always)
  package static func size(delimited count: Int) -> Int {
    1 &+ size(varint: UInt64(truncatingIfNeeded: count)) &+ count
  }

  /// The same for a bytes or text field: 0 where it is empty.
  @inlinable @inline(__always)
  package static func size(bytes count: Int) -> Int { count == 0 ? 0 : size(delimited: count) }

  // MARK: Stores

  @inlinable @inline(__always)
  package mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, as: UInt8.self)
      cursor += 1
      rest &>>= 7
    }
    cursor.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
    cursor += 1
  }

  /// A tag with a field number in 1…15: one byte.
  @inlinable @inline(__always)
  package mutating func tag(_ field: Int, _ wireType: ProtoWireType) {
    assert(field > 0 && field < 16)
    cursor.storeBytes(of: UInt8(truncatingIfNeeded: field &<< 3) | wireType.rawValue, as: UInt8.self)
    cursor += 1
  }

  @inlinable @inline(__always)
  package mutating func field(_ number: Int, _ value: UInt64) {
    guard value != 0 else { return }
    tag(number, .varint)
    varint(value)
  }

  @inlinable @inline(__always)
  package mutating func field(_ number: Int, _ value: Int64) { field(number, UInt64(bitPattern: value)) }

  @inlinable @inline(__always)
  package mutating func field(_ number: Int, _ value: Bool) { field(number, value ? UInt64(1) : 0) }

  /// Tag and length of a message or bytes field whose `count` bytes the caller writes next.
  @inlinable @inline(__always)
  package mutating func open(_ number: Int, count: Int) {
    tag(number, .bytes)
    varint(UInt64(truncatingIfNeeded: count))
  }

  @inlinable @inline(__always)
  package mutating func raw(_ source: UnsafeRawBufferPointer) {
    guard let start = source.baseAddress, source.count > 0 else { return }
    cursor.copyMemory(from: start, byteCount: source.count)
    cursor += source.count
  }

  /// A bytes field; left out when empty.
  @inlinable @inline(__always)
  package mutating func field(_ number: Int, _ value: UnsafeRawBufferPointer) {
    guard value.count > 0 else { return }
    open(number, count: value.count)
    raw(value)
  }

  package mutating func field(_ number: Int, _ value: [UInt8]) {
    value.withUnsafeBytes { field(number, $0) }
  }

  package mutating func field(_ number: Int, _ value: String) {
    var value = value
    value.withUTF8 { field(number, UnsafeRawBufferPointer($0)) }
  }
}

extension ProtoWriter {
  /// An array of the `size` bytes that `body` writes.
  package static func bytes(_ size: Int, _ body: (inout ProtoWriter) -> Void) -> [UInt8] {
    // Asked for no bytes, the standard library writes to the empty array that all threads share.
    guard size > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      if let start = buffer.baseAddress {
        var writer = ProtoWriter(UnsafeMutableRawPointer(start))
        body(&writer)
      }
      count = size
    }
  }
}

/// A message that knows its exact size before it is written.
package protocol ProtoEncodable {
  /// Bytes that `encode(to:)` of the writer will store.
  var encodedSize: Int { get }
  /// Stores exactly `encodedSize` bytes.
  func encode(to writer: inout ProtoWriter)
}

extension ProtoEncodable {
  /// Appends the message's bytes.
  @inlinable
  package func encode(to out: inout OutBuffer) {
    let size = encodedSize
    let start = out.reserve(size)
    var writer = ProtoWriter(start)
    encode(to: &writer)
    assert(writer.cursor - start == size, "a message's size disagrees with its encoder")
    out.advance(size)
  }

  /// The message's bytes as an array, where speed is no matter.
  package func encoded() -> [UInt8] {
    ProtoWriter.bytes(encodedSize) { encode(to: &$0) }
  }

  /// Writes the message as field `number` of an enclosing one; present even if empty.
  @inlinable @inline(__always)
  package func encode(to writer: inout ProtoWriter, as number: Int) {
    writer.open(number, count: encodedSize)
    encode(to: &writer)
  }
}
