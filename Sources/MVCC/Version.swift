// One version of a key as it lies in a page: a record of `current`, an entry of `graveyard`, or either in a log row.
//
//   record            head · KeyValue fields 2…6 in protobuf: create_revision, mod_revision, version, value, lease
//   graveyard entry   head · main revision of the deletion, u64 little-endian
//
// The fields are in etcd's wire form already, so an answer copies them; only what asks for a single field parses them.

/// A parsed version; all pointers go into the page.
struct Version {
  var head: VersionHead
  var revision: Revision
  /// Fields 2…6 of a record; empty for a tombstone.
  var fields: UnsafeRawBufferPointer
  var isTombstone: Bool

  init(record bytes: UnsafeRawBufferPointer) throws(MVCCError) {
    head = try VersionHead(bytes)
    fields = UnsafeRawBufferPointer(rebasing: bytes[head.size...])
    revision = Revision(main: try RecordFields.modRevision(fields), sub: head.sub)
    isTombstone = false
  }

  init(tombstone bytes: UnsafeRawBufferPointer) throws(MVCCError) {
    head = try VersionHead(bytes)
    guard bytes.count == head.size + 8 else { throw .corrupt("a graveyard entry of \(bytes.count) bytes") }
    let main = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: head.size, as: UInt64.self))
    revision = Revision(main: main, sub: head.sub)
    fields = UnsafeRawBufferPointer(start: nil, count: 0)
    isTombstone = true
  }
}

/// KeyValue's fields 2…6, parsed out of a record. `value` points into the page.
package struct RecordFields {
  package var createRevision: UInt64
  package var modRevision: UInt64
  package var version: UInt64
  package var value: UnsafeRawBufferPointer
  package var lease: UInt64

  enum Tag {
    static let createRevision: UInt8 = 2 << 3
    static let modRevision: UInt8 = 3 << 3
    static let version: UInt8 = 4 << 3
    static let value: UInt8 = 5 << 3 | 2
    static let lease: UInt8 = 6 << 3
  }

  init(createRevision: UInt64, modRevision: UInt64, version: UInt64, value: UnsafeRawBufferPointer, lease: UInt64) {
    self.createRevision = createRevision
    self.modRevision = modRevision
    self.version = version
    self.value = value
    self.lease = lease
  }

  init(_ fields: UnsafeRawBufferPointer) throws(MVCCError) {
    var at = 0
    createRevision = try RecordFields.integer(fields, &at, Tag.createRevision)
    modRevision = try RecordFields.integer(fields, &at, Tag.modRevision)
    version = try RecordFields.integer(fields, &at, Tag.version)
    value = UnsafeRawBufferPointer(start: nil, count: 0)
    lease = 0
    if at < fields.count, fields[at] == Tag.value {
      at += 1
      guard let length = readVarint(fields, &at), length <= UInt64(fields.count - at) else {
        throw .corrupt("a record's value")
      }
      value = UnsafeRawBufferPointer(rebasing: fields[at..<(at + Int(length))])
      at += Int(length)
    }
    if at < fields.count { lease = try RecordFields.integer(fields, &at, Tag.lease) }
    guard at == fields.count else { throw .corrupt("bytes behind a record") }
  }

  /// Only the revision of the last change: the two leading integers.
  @inline(__always)
  static func modRevision(_ fields: UnsafeRawBufferPointer) throws(MVCCError) -> UInt64 {
    var at = 0
    _ = try integer(fields, &at, Tag.createRevision)
    return try integer(fields, &at, Tag.modRevision)
  }

  @inline(__always)
  private static func integer(
    _ fields: UnsafeRawBufferPointer, _ at: inout Int, _ tag: UInt8
  ) throws(MVCCError) -> UInt64 {
    guard at < fields.count, fields[at] == tag else { throw .corrupt("field \(tag >> 3) of a record is missing") }
    at &+= 1
    guard let value = readVarint(fields, &at) else { throw .corrupt("field \(tag >> 3) of a record is cut") }
    return value
  }

  /// Bytes that `write` produces, without the value (`keysOnly`) or with it.
  @inline(__always)
  func encodedSize(keysOnly: Bool) -> Int {
    var size = 3 + varintSize(createRevision) + varintSize(modRevision) + varintSize(version)
    if !keysOnly, value.count > 0 { size += 1 + varintSize(UInt64(value.count)) + value.count }
    if lease != 0 { size += 1 + varintSize(lease) }
    return size
  }

  /// Canonical proto3: an empty value and a zero lease are left out.
  func write(_ p: UnsafeMutableRawPointer, keysOnly: Bool) -> UnsafeMutableRawPointer {
    var at = writeVarint(createRevision, writeByte(Tag.createRevision, p))
    at = writeVarint(modRevision, writeByte(Tag.modRevision, at))
    at = writeVarint(version, writeByte(Tag.version, at))
    if !keysOnly, let start = value.baseAddress, value.count > 0 {
      at = writeVarint(UInt64(value.count), writeByte(Tag.value, at))
      at.copyMemory(from: start, byteCount: value.count)
      at += value.count
    }
    if lease != 0 { at = writeVarint(lease, writeByte(Tag.lease, at)) }
    return at
  }
}
