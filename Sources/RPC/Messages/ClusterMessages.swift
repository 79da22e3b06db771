// The Cluster service, and Maintenance.MoveLeader: requests and answers.

/// MemberListRequest {linearizable 1}, MemberAddRequest {peerURLs 1, isLearner 2}, MemberRemoveRequest {ID 1},
/// MemberUpdateRequest {ID 1, peerURLs 2}, MemberPromoteRequest {ID 1}, MoveLeaderRequest {targetID 1}.
package struct MemberRequest: Equatable, Sendable {
  /// Which of the messages it is: their fields differ.
  package enum Form: Sendable {
    /// {number 1}
    case number
    /// {URLs 1, flag 2}
    case urls
    /// {number 1, URLs 2}
    case numberAndURLs
  }

  package let form: Form
  /// An id; for a list whether it shall be linearizable.
  package var number: UInt64 = 0
  package var peerURLs: [String] = []
  package var isLearner = false

  package init(_ form: Form) { self.form = form }

  package init(_ form: Form, _ body: UnsafeRawBufferPointer) throws(ProtoError) {
    self.init(form)
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch (tag.field, form) {
      case (1, .number), (1, .numberAndURLs): number = try reader.uint64(tag)
      case (1, .urls), (2, .numberAndURLs): peerURLs.append(try reader.string(tag))
      case (2, .urls): isLearner = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension MemberRequest: ProtoEncodable {
  package var encodedSize: Int {
    peerURLs.reduce(ProtoWriter.size(field: number) + ProtoWriter.size(field: isLearner)) {
      $0 + ProtoWriter.size(delimited: $1.utf8.count)
    }
  }

  package func encode(to writer: inout ProtoWriter) {
    if form != .urls { writer.field(1, number) }
    writer.texts(form == .urls ? 1 : 2, peerURLs)
    if form == .urls { writer.field(2, isLearner) }
  }
}

/// One member of a cluster.
public struct Member: Equatable, Sendable {
  public var id: UInt64 = 0
  /// Empty: it has not started yet.
  public var name = ""
  public var peerURLs: [String] = []
  public var clientURLs: [String] = []
  public var isLearner = false

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: id = try reader.uint64(tag)
      case 2: name = try reader.string(tag)
      case 3: peerURLs.append(try reader.string(tag))
      case 4: clientURLs.append(try reader.string(tag))
      case 5: isLearner = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension Member: ProtoEncodable {
  package var encodedSize: Int {
    let start =
      ProtoWriter.size(field: id) + ProtoWriter.size(bytes: name.utf8.count) + ProtoWriter.size(field: isLearner)
    return (peerURLs + clientURLs).reduce(start) { $0 + ProtoWriter.size(delimited: $1.utf8.count) }
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, id)
    writer.field(2, name)
    writer.texts(3, peerURLs)
    writer.texts(4, clientURLs)
    writer.field(5, isLearner)
  }
}

extension ProtoWriter {
  /// A repeated text field: each is there, even if it is empty.
  fileprivate mutating func texts(_ number: Int, _ texts: [String]) {
    for text in texts {
      open(number, count: text.utf8.count)
      var text = text
      text.withUTF8 { raw(UnsafeRawBufferPointer($0)) }
    }
  }
}

/// The answer to every call of the Cluster service.
public struct MemberResponse: Equatable, Sendable {
  public var header = ResponseHeader()
  /// The one that was added.
  public var added: Member?
  public var members: [Member] = []

  public init() {}

  /// MemberAddResponse has the new member before the list; the others have the list alone.
  package init(_ message: UnsafeRawBufferPointer, isAdd: Bool = false) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch (tag.field, isAdd) {
      case (1, _): header = try ResponseHeader(reader.bytes(tag))
      case (2, true): added = try Member(reader.bytes(tag))
      case (2, false), (3, true): members.append(try Member(reader.bytes(tag)))
      default: try reader.skip(tag)
      }
    }
  }
}

extension MemberResponse: ProtoEncodable {
  package var encodedSize: Int {
    let start = ProtoWriter.size(delimited: header.encodedSize)
    return ((added.map { [$0] } ?? []) + members).reduce(start) { $0 + ProtoWriter.size(delimited: $1.encodedSize) }
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    added?.encode(to: &writer, as: 2)
    for member in members { member.encode(to: &writer, as: added == nil ? 2 : 3) }
  }
}
