// KV.Compact: request and answer.

/// KV.Compact: history below `revision` is given up.
package struct CompactionRequestView {
  package var revision: Int64 = 0
  /// Answer only when what it frees is free.
  package var physical = false

  package init(_ revision: Int64 = 0, _ physical: Bool = false) {
    self.revision = revision
    self.physical = physical
  }

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: revision = try reader.int64(tag)
      case 2: physical = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension CompactionRequestView: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(field: revision) + ProtoWriter.size(field: physical) }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, revision)
    writer.field(2, physical)
  }
}

/// The answer to KV.Compact.
public struct CompactionResponse: Equatable, Sendable {
  public var header = ResponseHeader()

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { header = try ResponseHeader(reader.bytes(tag)) } else { try reader.skip(tag) }
    }
  }
}
