// Answers that hold a header and nothing more, and the two that hold less.

/// UnlockResponse, ProclaimResponse, ResignResponse. Without a header it is empty: what etcd answers to Defragment and
/// MoveLeader.
public struct HeaderResponse: Equatable, Sendable {
  public var header: ResponseHeader?

  public init(_ header: ResponseHeader? = nil) { self.header = header }

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { header = try ResponseHeader(reader.bytes(tag)) } else { try reader.skip(tag) }
    }
  }
}

extension HeaderResponse: ProtoEncodable {
  package var encodedSize: Int { header.map { ProtoWriter.size(delimited: $0.encodedSize) } ?? 0 }

  package func encode(to writer: inout ProtoWriter) { header?.encode(to: &writer, as: 1) }
}
