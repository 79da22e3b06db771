// Leases: requests and answers. The messages of the Lease service are a few integers each, in the same places, so that one
// view and one answer serve them all.

/// LeaseGrantRequest {TTL 1, ID 2}, LeaseRevokeRequest {ID 1}, LeaseKeepAliveRequest {ID 1}, LeaseTimeToLiveRequest
/// {ID 1, keys 2}, LeaseLeasesRequest {}.
package struct LeaseRequestView: Equatable, Sendable {
  package var first: Int64 = 0
  package var second: Int64 = 0

  package init(_ first: Int64 = 0, _ second: Int64 = 0) {
    self.first = first
    self.second = second
  }

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: first = try reader.int64(tag)
      case 2: second = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }

  package static func grant(id: Int64, ttl: Int64) -> LeaseRequestView { LeaseRequestView(ttl, id) }
}

extension LeaseRequestView: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(field: first) + ProtoWriter.size(field: second) }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, first)
    writer.field(2, second)
  }
}

/// The answer to every call on one lease.
public struct LeaseResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var id: Int64 = 0
  /// Seconds: granted, after a grant or a keep-alive; left, from a time-to-live (-1: there is no such lease).
  public var ttl: Int64 = 0
  /// Of a time-to-live: the seconds that were granted, and the keys if they were asked for.
  public var grantedTTL: Int64 = 0
  public var keys: [[UInt8]] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: id = try reader.int64(tag)
      case 3: ttl = try reader.int64(tag)
      case 4: grantedTTL = try reader.int64(tag)
      case 5: keys.append([UInt8](try reader.bytes(tag)))
      default: try reader.skip(tag)
      }
    }
  }
}

extension LeaseResponse: ProtoEncodable {
  package var encodedSize: Int {
    keys.reduce(ProtoWriter.size(delimited: header.encodedSize)) { $0 + ProtoWriter.size(delimited: $1.count) }
      + ProtoWriter.size(field: id) + ProtoWriter.size(field: ttl) + ProtoWriter.size(field: grantedTTL)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, id)
    writer.field(3, ttl)
    writer.field(4, grantedTTL)
    for key in keys {
      writer.open(5, count: key.count)
      key.withUnsafeBytes { writer.raw($0) }
    }
  }
}

/// The answer to Lease.Leases: the ids, those that expire first in front.
public struct LeaseListResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var ids: [Int64] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: ids.append(try LeaseRequestView(reader.bytes(tag)).first)
      default: try reader.skip(tag)
      }
    }
  }
}

extension LeaseListResponse: ProtoEncodable {
  package var encodedSize: Int {
    ids.reduce(ProtoWriter.size(delimited: header.encodedSize)) {
      $0 + ProtoWriter.size(delimited: LeaseRequestView($1).encodedSize)
    }
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    for id in ids { LeaseRequestView(id).encode(to: &writer, as: 2) }
  }
}

/// LeaseCheckpointRequest: what is left of leases, {ID 1, remaining TTL 2} each.
package struct LeaseCheckpoints: Equatable, Sendable {
  package var leases: [LeaseRequestView] = []

  package init() {}

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      if tag.field == 1 { leases.append(try LeaseRequestView(reader.bytes(tag))) } else { try reader.skip(tag) }
    }
  }
}

extension LeaseCheckpoints: ProtoEncodable {
  package var encodedSize: Int { leases.reduce(0) { $0 + ProtoWriter.size(delimited: $1.encodedSize) } }

  package func encode(to writer: inout ProtoWriter) { for lease in leases { lease.encode(to: &writer, as: 1) } }
}
