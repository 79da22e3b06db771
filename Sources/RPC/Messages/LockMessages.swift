// The Lock service: requests and answers.

/// LockRequest, in place.
package struct LockRequestView {
  package var name = UnsafeRawBufferPointer(start: nil, count: 0)
  /// 0: a new one.
  package var lease: Int64 = 0

  package init() {}

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: name = try reader.bytes(tag)
      case 2: lease = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension LockRequestView: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(bytes: name.count) + ProtoWriter.size(field: lease) }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, name)
    writer.field(2, lease)
  }
}

/// UnlockRequest {key 1} and LeaderRequest {name 1}, in place.
package struct NameRequestView {
  package var name = UnsafeRawBufferPointer(start: nil, count: 0)

  package init() {}

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { name = try reader.bytes(tag) } else { try reader.skip(tag) }
    }
  }
}

extension NameRequestView: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(bytes: name.count) }

  package func encode(to writer: inout ProtoWriter) { writer.field(1, name) }
}

/// The answer to Lock.Lock.
public struct LockResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// It exists as long as the lock is held.
  public var key: [UInt8] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: key = [UInt8](try reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension LockResponse: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(bytes: key.count)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, key)
  }
}
