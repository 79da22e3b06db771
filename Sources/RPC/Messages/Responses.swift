// Answers as a client holds them: they own their bytes.
//
// The server doesn't build these on its hot path (it writes wire form straight from pages); it may where speed is no
// matter, and tests do.

/// A key, its value and where both stand in history.
public struct KeyValue: Equatable, Sendable {
  public var key: [UInt8]
  public var value: [UInt8]
  /// Revision at which the key came to be (since its last deletion).
  public var createRevision: Int64
  /// Revision of its last change.
  public var modRevision: Int64
  /// Changes since its creation, which is 1.
  public var version: Int64
  /// The lease it is attached to; 0 = none.
  public var lease: Int64

  public init(
    key: [UInt8] = [], value: [UInt8] = [], createRevision: Int64 = 0, modRevision: Int64 = 0, version: Int64 = 0,
    lease: Int64 = 0
  ) {
    self.key = key
    self.value = value
    self.createRevision = createRevision
    self.modRevision = modRevision
    self.version = version
    self.lease = lease
  }

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init()
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: key = [UInt8](try reader.bytes(tag))
      case 2: createRevision = try reader.int64(tag)
      case 3: modRevision = try reader.int64(tag)
      case 4: version = try reader.int64(tag)
      case 5: value = [UInt8](try reader.bytes(tag))
      case 6: lease = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension KeyValue: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(bytes: key.count) + ProtoWriter.size(field: createRevision)
      + ProtoWriter.size(field: modRevision) + ProtoWriter.size(field: version)
      + ProtoWriter.size(bytes: value.count) + ProtoWriter.size(field: lease)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, key)
    writer.field(2, createRevision)
    writer.field(3, modRevision)
    writer.field(4, version)
    writer.field(5, value)
    writer.field(6, lease)
  }
}

/// The answer to KV.Range.
public struct RangeResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var kvs: [KeyValue] = []
  /// Whether the limit cut the answer.
  public var more = false
  /// Keys in the whole range at that revision, whatever limit and filters say.
  public var count: Int64 = 0

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: kvs.append(try KeyValue(reader.bytes(tag)))
      case 3: more = try reader.bool(tag)
      case 4: count = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension RangeResponse: ProtoEncodable {
  package var encodedSize: Int {
    kvs.reduce(ProtoWriter.size(delimited: header.encodedSize)) { $0 + ProtoWriter.size(delimited: $1.encodedSize) }
      + ProtoWriter.size(field: more) + ProtoWriter.size(field: count)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    for pair in kvs { pair.encode(to: &writer, as: 2) }
    writer.field(3, more)
    writer.field(4, count)
  }
}

/// The answer to KV.Put.
public struct PutResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// What the key held before, if the request asked for it and there was one.
  public var prevKV: KeyValue?

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: prevKV = try KeyValue(reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension PutResponse: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + (prevKV.map { ProtoWriter.size(delimited: $0.encodedSize) } ?? 0)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    prevKV?.encode(to: &writer, as: 2)
  }
}

/// The answer to KV.DeleteRange.
public struct DeleteRangeResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// Keys deleted.
  public var deleted: Int64 = 0
  /// What they held, if the request asked for it.
  public var prevKVs: [KeyValue] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: deleted = try reader.int64(tag)
      case 3: prevKVs.append(try KeyValue(reader.bytes(tag)))
      default: try reader.skip(tag)
      }
    }
  }
}

extension DeleteRangeResponse: ProtoEncodable {
  package var encodedSize: Int {
    prevKVs.reduce(ProtoWriter.size(delimited: header.encodedSize)) { $0 + ProtoWriter.size(delimited: $1.encodedSize) }
      + ProtoWriter.size(field: deleted)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, deleted)
    for pair in prevKVs { pair.encode(to: &writer, as: 3) }
  }
}

/// The answer to Maintenance.Status.
public struct StatusResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// The server's version.
  public var version = ""
  /// Bytes the database takes in its file.
  public var dbSize: Int64 = 0
  /// Member id of the leader; 0 = none known.
  public var leader: UInt64 = 0
  public var raftIndex: UInt64 = 0
  public var raftTerm: UInt64 = 0
  public var raftAppliedIndex: UInt64 = 0
  /// Alarms and other ill health, as text.
  public var errors: [String] = []
  /// Bytes of the database that hold live data.
  public var dbSizeInUse: Int64 = 0
  public var isLearner = false

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: version = try reader.string(tag)
      case 3: dbSize = try reader.int64(tag)
      case 4: leader = try reader.uint64(tag)
      case 5: raftIndex = try reader.uint64(tag)
      case 6: raftTerm = try reader.uint64(tag)
      case 7: raftAppliedIndex = try reader.uint64(tag)
      case 8: errors.append(try reader.string(tag))
      case 9: dbSizeInUse = try reader.int64(tag)
      case 10: isLearner = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension StatusResponse: ProtoEncodable {
  package var encodedSize: Int {
    let start =
      ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(bytes: version.utf8.count)
      + ProtoWriter.size(field: dbSize)
    let raft =
      ProtoWriter.size(field: leader) + ProtoWriter.size(field: raftIndex) + ProtoWriter.size(field: raftTerm)
      + ProtoWriter.size(field: raftAppliedIndex)
    let texts = errors.reduce(0) { $0 + ProtoWriter.size(delimited: $1.utf8.count) }
    return start + raft + texts + ProtoWriter.size(field: dbSizeInUse) + ProtoWriter.size(field: isLearner)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, version)
    writer.field(3, dbSize)
    writer.field(4, leader)
    writer.field(5, raftIndex)
    writer.field(6, raftTerm)
    writer.field(7, raftAppliedIndex)
    for text in errors {
      writer.open(8, count: text.utf8.count)
      var text = text
      text.withUTF8 { writer.raw(UnsafeRawBufferPointer($0)) }
    }
    writer.field(9, dbSizeInUse)
    writer.field(10, isLearner)
  }
}
