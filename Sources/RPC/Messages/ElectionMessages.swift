// The Election service: requests and answers. LeaderRequest is a `NameRequestView`.

/// CampaignRequest, in place.
package struct CampaignRequestView {
  package var name = UnsafeRawBufferPointer(start: nil, count: 0)
  /// 0: a new one.
  package var lease: Int64 = 0
  package var value = UnsafeRawBufferPointer(start: nil, count: 0)

  package init() {}

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: name = try reader.bytes(tag)
      case 2: lease = try reader.int64(tag)
      case 3: value = try reader.bytes(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension CampaignRequestView: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(bytes: name.count) + ProtoWriter.size(field: lease) + ProtoWriter.size(bytes: value.count)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, name)
    writer.field(2, lease)
    writer.field(3, value)
  }
}

/// What a leader names its leadership by.
public struct LeaderKey: Equatable, Sendable {
  public var name: [UInt8]
  /// It exists as long as its owner leads.
  public var key: [UInt8]
  /// Its create revision.
  public var revision: Int64
  public var lease: Int64

  public init(name: [UInt8] = [], key: [UInt8] = [], revision: Int64 = 0, lease: Int64 = 0) {
    self.name = name
    self.key = key
    self.revision = revision
    self.lease = lease
  }

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init()
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: name = [UInt8](try reader.bytes(tag))
      case 2: key = [UInt8](try reader.bytes(tag))
      case 3: revision = try reader.int64(tag)
      case 4: lease = try reader.int64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension LeaderKey: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(bytes: name.count) + ProtoWriter.size(bytes: key.count) + ProtoWriter.size(field: revision)
      + ProtoWriter.size(field: lease)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, name)
    writer.field(2, key)
    writer.field(3, revision)
    writer.field(4, lease)
  }
}

/// ProclaimRequest {leader 1, value 2}; ResignRequest is the same without a value.
package struct LeaderKeyRequest: Equatable, Sendable {
  /// Nil where the field is missing.
  package var leader: LeaderKey?
  package var value: [UInt8] = []

  package init(_ leader: LeaderKey? = nil, value: [UInt8] = []) {
    self.leader = leader
    self.value = value
  }

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: leader = try LeaderKey(reader.bytes(tag))
      case 2: value = [UInt8](try reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension LeaderKeyRequest: ProtoEncodable {
  package var encodedSize: Int {
    (leader.map { ProtoWriter.size(delimited: $0.encodedSize) } ?? 0) + ProtoWriter.size(bytes: value.count)
  }

  package func encode(to writer: inout ProtoWriter) {
    leader?.encode(to: &writer, as: 1)
    writer.field(2, value)
  }
}

/// The answer to Election.Campaign.
public struct CampaignResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var leader = LeaderKey()

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: leader = try LeaderKey(reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension CampaignResponse: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(delimited: leader.encodedSize)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    leader.encode(to: &writer, as: 2)
  }
}

/// The answer to Election.Leader, and each of those to Election.Observe.
public struct LeaderResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// The leader's key and the value that it shows.
  public var kv = KeyValue()

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: kv = try KeyValue(reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension LeaderResponse: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(delimited: kv.encodedSize)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    kv.encode(to: &writer, as: 2)
  }
}
