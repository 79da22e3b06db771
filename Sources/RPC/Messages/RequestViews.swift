// Requests as they lie in a received frame: trivial structs of pointers into its bytes, valid as long as the frame is.
//
// Fields and numbers are etcd's (proto/rpc.proto). A field that comes twice: the last one counts. Unknown fields are
// stepped over. The bytes are checked here; what they mean (an empty key, a future revision) is the handler's to judge.

/// By what a range is ordered.
public enum SortTarget: Int32, Sendable {
  case key = 0
  case version = 1
  case create = 2
  case mod = 3
  case value = 4
}

public enum SortOrder: Int32, Sendable {
  case none = 0
  case ascend = 1
  case descend = 2
}

/// KV.Range: one key, or [key, rangeEnd). `rangeEnd` empty: just the key; one zero byte: everything from the key on.
package struct RangeRequestView {
  package var key = UnsafeRawBufferPointer(start: nil, count: 0)
  package var rangeEnd = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Most pairs wanted; 0 = all.
  package var limit: Int64 = 0
  /// Revision to read at; ≤ 0 = the newest.
  package var revision: Int64 = 0
  /// Raw enumeration numbers: unknown ones are the handler's to refuse.
  package var rawSortOrder: Int32 = 0
  package var rawSortTarget: Int32 = 0
  package var serializable = false
  package var keysOnly = false
  package var countOnly = false
  package var minModRevision: Int64 = 0
  package var maxModRevision: Int64 = 0
  package var minCreateRevision: Int64 = 0
  package var maxCreateRevision: Int64 = 0

  @inlinable package init() {}

  @inlinable
  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: key = try reader.bytes(tag)
      case 2: rangeEnd = try reader.bytes(tag)
      case 3: limit = try reader.int64(tag)
      case 4: revision = try reader.int64(tag)
      case 5: rawSortOrder = try reader.enumeration(tag)
      case 6: rawSortTarget = try reader.enumeration(tag)
      case 7: serializable = try reader.bool(tag)
      case 8: keysOnly = try reader.bool(tag)
      case 9: countOnly = try reader.bool(tag)
      case 10: minModRevision = try reader.int64(tag)
      case 11: maxModRevision = try reader.int64(tag)
      case 12: minCreateRevision = try reader.int64(tag)
      case 13: maxCreateRevision = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }

  package var sortOrder: SortOrder? { SortOrder(rawValue: rawSortOrder) }
  package var sortTarget: SortTarget? { SortTarget(rawValue: rawSortTarget) }
}

/// KV.Put.
package struct PutRequestView {
  package var key = UnsafeRawBufferPointer(start: nil, count: 0)
  package var value = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Lease to attach; 0 = none.
  package var lease: Int64 = 0
  package var prevKV = false
  package var ignoreValue = false
  package var ignoreLease = false

  @inlinable package init() {}

  @inlinable
  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: key = try reader.bytes(tag)
      case 2: value = try reader.bytes(tag)
      case 3: lease = try reader.int64(tag)
      case 4: prevKV = try reader.bool(tag)
      case 5: ignoreValue = try reader.bool(tag)
      case 6: ignoreLease = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

/// KV.DeleteRange. `rangeEnd` as in a range.
package struct DeleteRangeRequestView {
  package var key = UnsafeRawBufferPointer(start: nil, count: 0)
  package var rangeEnd = UnsafeRawBufferPointer(start: nil, count: 0)
  package var prevKV = false

  @inlinable package init() {}

  @inlinable
  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: key = try reader.bytes(tag)
      case 2: rangeEnd = try reader.bytes(tag)
      case 3: prevKV = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

// MARK: Encoders, for whoever sends requests

extension RangeRequestView: ProtoEncodable {
  @inlinable
  package var encodedSize: Int {
    let ranges = ProtoWriter.size(bytes: key.count) &+ ProtoWriter.size(bytes: rangeEnd.count)
    let cuts = ProtoWriter.size(field: limit) &+ ProtoWriter.size(field: revision)
    let order = ProtoWriter.size(field: Int64(rawSortOrder)) &+ ProtoWriter.size(field: Int64(rawSortTarget))
    let flags =
      ProtoWriter.size(field: serializable) &+ ProtoWriter.size(field: keysOnly) &+ ProtoWriter.size(field: countOnly)
    let mod = ProtoWriter.size(field: minModRevision) &+ ProtoWriter.size(field: maxModRevision)
    let create = ProtoWriter.size(field: minCreateRevision) &+ ProtoWriter.size(field: maxCreateRevision)
    return ranges &+ cuts &+ order &+ flags &+ mod &+ create
  }

  @inlinable
  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, key)
    writer.field(2, rangeEnd)
    writer.field(3, limit)
    writer.field(4, revision)
    writer.field(5, Int64(rawSortOrder))
    writer.field(6, Int64(rawSortTarget))
    writer.field(7, serializable)
    writer.field(8, keysOnly)
    writer.field(9, countOnly)
    writer.field(10, minModRevision)
    writer.field(11, maxModRevision)
    writer.field(12, minCreateRevision)
    writer.field(13, maxCreateRevision)
  }
}

extension PutRequestView: ProtoEncodable {
  @inlinable
  package var encodedSize: Int {
    let pair = ProtoWriter.size(bytes: key.count) &+ ProtoWriter.size(bytes: value.count)
    let flags =
      ProtoWriter.size(field: prevKV) &+ ProtoWriter.size(field: ignoreValue) &+ ProtoWriter.size(field: ignoreLease)
    return pair &+ ProtoWriter.size(field: lease) &+ flags
  }

  @inlinable
  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, key)
    writer.field(2, value)
    writer.field(3, lease)
    writer.field(4, prevKV)
    writer.field(5, ignoreValue)
    writer.field(6, ignoreLease)
  }
}

extension DeleteRangeRequestView: ProtoEncodable {
  @inlinable
  package var encodedSize: Int {
    ProtoWriter.size(bytes: key.count) &+ ProtoWriter.size(bytes: rangeEnd.count) &+ ProtoWriter.size(field: prevKV)
  }

  @inlinable
  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, key)
    writer.field(2, rangeEnd)
    writer.field(3, prevKV)
  }
}
