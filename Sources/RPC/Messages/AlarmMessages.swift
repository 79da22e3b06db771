// Maintenance.Alarm: request and answer.

/// What is raised, and by which member.
public struct AlarmMember: Equatable, Sendable, CustomStringConvertible {
  public var memberID: UInt64 = 0
  /// etcd's number: 0 = none (in requests: any), 1 = NOSPACE, 2 = CORRUPT.
  public var alarm: Int32 = 0

  public init(memberID: UInt64 = 0, alarm: Int32 = 0) {
    self.memberID = memberID
    self.alarm = alarm
  }

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: memberID = try reader.uint64(tag)
      case 2: alarm = try reader.enumeration(tag)
      default: try reader.skip(tag)
      }
    }
  }

  public var name: String {
    switch alarm {
    case 0: "NONE"
    case 1: "NOSPACE"
    case 2: "CORRUPT"
    default: "\(alarm)"
    }
  }

  /// As etcd prints it: protobuf's compact text, a space behind each field that is not at its default.
  public var description: String {
    (memberID == 0 ? "" : "memberID:\(memberID) ") + (alarm == 0 ? "" : "alarm:\(name) ")
  }
}

extension AlarmMember: ProtoEncodable {
  package var encodedSize: Int { ProtoWriter.size(field: memberID) + ProtoWriter.size(field: Int64(alarm)) }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, memberID)
    writer.field(2, Int64(alarm))
  }
}

package struct AlarmRequestView: Equatable, Sendable {
  package enum Action: Int32, Sendable {
    case get = 0
    case activate = 1
    case deactivate = 2
  }

  /// Raw: an unknown action is for the server to refuse.
  package var rawAction: Int32 = 0
  package var member = AlarmMember()

  package init(_ action: Action = .get, _ member: AlarmMember = AlarmMember()) {
    rawAction = action.rawValue
    self.member = member
  }

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: rawAction = try reader.enumeration(tag)
      case 2: member.memberID = try reader.uint64(tag)
      case 3: member.alarm = try reader.enumeration(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension AlarmRequestView: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(field: Int64(rawAction)) + ProtoWriter.size(field: member.memberID)
      + ProtoWriter.size(field: Int64(member.alarm))
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, Int64(rawAction))
    writer.field(2, member.memberID)
    writer.field(3, Int64(member.alarm))
  }
}

/// The answer to Maintenance.Alarm: the alarms that are raised, or the one that was raised or taken back.
public struct AlarmResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  public var alarms: [AlarmMember] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: alarms.append(try AlarmMember(reader.bytes(tag)))
      default: try reader.skip(tag)
      }
    }
  }
}

extension AlarmResponse: ProtoEncodable {
  package var encodedSize: Int {
    alarms.reduce(ProtoWriter.size(delimited: header.encodedSize)) { $0 + ProtoWriter.size(delimited: $1.encodedSize) }
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    for alarm in alarms { alarm.encode(to: &writer, as: 2) }
  }
}
