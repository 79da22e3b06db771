// Maintenance.Hash and Maintenance.HashKV: requests and answers.

/// HashKVRequest; HashRequest has no fields.
package struct HashKVRequestView: Equatable, Sendable {
  /// 0 = the newest.
  package var revision: Int64 = 0

  package init(_ revision: Int64 = 0) { self.revision = revision }

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { revision = try reader.int64(tag) } else { try reader.skip(tag) }
    }
  }
}

extension HashKVRequestView: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(field: revision) }

  package func encode(to writer: inout ProtoWriter) { writer.field(1, revision) }
}

/// HashKVResponse, and HashResponse: its first two fields.
public struct HashResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var hash: UInt32 = 0
  /// Hashes of two members can be compared where both this and `hashRevision` are equal.
  public var compactRevision: Int64 = 0
  public var hashRevision: Int64 = 0

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: hash = try reader.uint32(tag)
      case 3: compactRevision = try reader.int64(tag)
      case 4: hashRevision = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension HashResponse: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(field: UInt64(hash))
      + ProtoWriter.size(field: compactRevision) + ProtoWriter.size(field: hashRevision)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, UInt64(hash))
    writer.field(3, compactRevision)
    writer.field(4, hashRevision)
  }
}
