// The header that every answer of the store begins with.

/// Who answered, and the store's revision at that moment.
public struct ResponseHeader: Equatable, Sendable {
  public var clusterID: UInt64
  public var memberID: UInt64
  /// The store's current revision, whatever revision was asked for.
  public var revision: Int64
  public var raftTerm: UInt64

  @inlinable
  public init(clusterID: UInt64 = 0, memberID: UInt64 = 0, revision: Int64 = 0, raftTerm: UInt64 = 0) {
    self.clusterID = clusterID
    self.memberID = memberID
    self.revision = revision
    self.raftTerm = raftTerm
  }

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init()
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: clusterID = try reader.uint64(tag)
      case 2: memberID = try reader.uint64(tag)
      case 3: revision = try reader.int64(tag)
      case 4: raftTerm = try reader.uint64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension ResponseHeader: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(field: clusterID) &+ ProtoWriter.size(field: memberID) &+ ProtoWriter.size(field: revision)
      &+ ProtoWriter.size(field: raftTerm)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, clusterID)
    writer.field(2, memberID)
    writer.field(3, revision)
    writer.field(4, raftTerm)
  }
}
