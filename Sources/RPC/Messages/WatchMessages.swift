// The Watch service's messages. Requests as views for a server and as owners for a client; responses as a client holds them,
// and as a server writes the part before the events.

/// WatchCreateRequest, in place.
package struct WatchCreateView {
  package var key = UnsafeRawBufferPointer(start: nil, count: 0)
  package var rangeEnd = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The first revision wanted; 0 = what comes next.
  package var startRevision: Int64 = 0
  package var progressNotify = false
  package var skipsPuts = false
  package var skipsDeletes = false
  package var prevKV = false
  /// Chosen by the client; 0 = the server chooses.
  package var watchID: Int64 = 0
  package var fragment = false

  package init() {}

  init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: key = try reader.bytes(tag)
      case 2: rangeEnd = try reader.bytes(tag)
      case 3: startRevision = try reader.int64(tag)
      case 4: progressNotify = try reader.bool(tag)
      case 5: try readFilters(tag, &reader)
      case 6: prevKV = try reader.bool(tag)
      case 7: watchID = try reader.int64(tag)
      case 8: fragment = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }

  /// Packed or not: readers take both. Numbers that are no filter are stepped over.
  private mutating func readFilters(_ tag: ProtoTag, _ reader: inout ProtoReader) throws(ProtoError) {
    guard tag.wireType == .bytes else { return addFilter(try reader.uint64(tag)) }
    var packed = ProtoReader(try reader.bytes(tag))
    while packed.remaining > 0 { addFilter(try packed.varint()) }
  }

  private mutating func addFilter(_ number: UInt64) {
    if number == 0 { skipsPuts = true }
    if number == 1 { skipsDeletes = true }
  }
}

extension WatchCreateView: ProtoEncodable {
  private var filterCount: Int { (skipsPuts ? 1 : 0) + (skipsDeletes ? 1 : 0) }

  package var encodedSize: Int {
    ProtoWriter.size(bytes: key.count) + ProtoWriter.size(bytes: rangeEnd.count)
      + ProtoWriter.size(field: startRevision) + ProtoWriter.size(field: progressNotify)
      + ProtoWriter.size(bytes: filterCount) + ProtoWriter.size(field: prevKV) + ProtoWriter.size(field: watchID)
      + ProtoWriter.size(field: fragment)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, key)
    writer.field(2, rangeEnd)
    writer.field(3, startRevision)
    writer.field(4, progressNotify)
    if filterCount > 0 {
      writer.open(5, count: filterCount)
      if skipsPuts { writer.varint(0) }
      if skipsDeletes { writer.varint(1) }
    }
    writer.field(6, prevKV)
    writer.field(7, watchID)
    writer.field(8, fragment)
  }
}

/// WatchRequest, in place.
package enum WatchRequestView {
  case create(WatchCreateView)
  case cancel(watchID: Int64)
  case progress
  /// None of them: etcd steps over it.
  case none

  package init(_ body: UnsafeRawBufferPointer) throws(ProtoError) {
    self = .none
    var reader = ProtoReader(body)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: self = .create(try WatchCreateView(reader.bytes(tag)))
      case 2: self = .cancel(watchID: try LeaseRequestView(reader.bytes(tag)).first)
      case 3:
        try ProtoReader.check(reader.bytes(tag))
        self = .progress
      default: try reader.skip(tag)
      }
    }
  }
}

extension WatchRequestView: ProtoEncodable {
  package var encodedSize: Int {
    switch self {
    case .create(let create): ProtoWriter.size(delimited: create.encodedSize)
    case .cancel(let watchID): ProtoWriter.size(delimited: ProtoWriter.size(field: watchID))
    case .progress: ProtoWriter.size(delimited: 0)
    case .none: 0
    }
  }

  package func encode(to writer: inout ProtoWriter) {
    switch self {
    case .create(let create): create.encode(to: &writer, as: 1)
    case .cancel(let watchID): LeaseRequestView(watchID).encode(to: &writer, as: 2)
    case .progress: writer.open(3, count: 0)
    case .none: break
    }
  }
}

extension ProtoReader {
  /// Throws where the bytes are no message.
  static func check(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() { try reader.skip(tag) }
  }
}

/// A change of one key.
public struct WatchEvent: Equatable, Sendable {
  public enum Kind: Int32, Sendable {
    case put = 0
    case delete = 1
  }

  public var kind = Kind.put
  /// The pair as it is now; of a deletion its key and revision.
  public var kv = KeyValue()
  /// The pair as it was, if the watcher asked for it, there was one, and it is not compacted.
  public var prevKV: KeyValue?

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: kind = Kind(rawValue: try reader.enumeration(tag)) ?? .put
      case 2: kv = try KeyValue(reader.bytes(tag))
      case 3: prevKV = try KeyValue(reader.bytes(tag))
      default: try reader.skip(tag)
      }
    }
  }
}

extension WatchEvent: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(field: UInt64(kind.rawValue)) + ProtoWriter.size(delimited: kv.encodedSize)
      + (prevKV.map { ProtoWriter.size(delimited: $0.encodedSize) } ?? 0)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, UInt64(kind.rawValue))
    kv.encode(to: &writer, as: 2)
    prevKV?.encode(to: &writer, as: 3)
  }
}

public struct WatchResponse: Equatable, Sendable {
  /// Its revision: every change up to it that the watcher asked for has been sent, this response included.
  public var header = ResponseHeader()
  public var watchID: Int64 = 0
  public var created = false
  public var canceled = false
  /// Not 0 where the watch can't go on because its revision is compacted: the oldest revision there is.
  public var compactRevision: Int64 = 0
  public var cancelReason = ""
  /// More events of the same response follow.
  public var fragment = false
  public var events: [WatchEvent] = []

  public init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: watchID = try reader.int64(tag)
      case 3: created = try reader.bool(tag)
      case 4: canceled = try reader.bool(tag)
      case 5: compactRevision = try reader.int64(tag)
      case 6: cancelReason = try reader.string(tag)
      case 7: fragment = try reader.bool(tag)
      case 11: events.append(try WatchEvent(reader.bytes(tag)))
      default: try reader.skip(tag)
      }
    }
  }

  /// Nothing but the word that all is sent up to the header's revision.
  public var isProgress: Bool {
    events.isEmpty && !created && !canceled && compactRevision == 0 && header.revision != 0
  }
}

extension WatchResponse: ProtoEncodable {
  package var encodedSize: Int {
    let control =
      ProtoWriter.size(field: watchID) + ProtoWriter.size(field: created) + ProtoWriter.size(field: canceled)
      + ProtoWriter.size(field: compactRevision) + ProtoWriter.size(bytes: cancelReason.utf8.count)
      + ProtoWriter.size(field: fragment)
    return events.reduce(control + ProtoWriter.size(delimited: header.encodedSize)) {
      $0 + ProtoWriter.size(delimited: $1.encodedSize)
    }
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, watchID)
    writer.field(3, created)
    writer.field(4, canceled)
    writer.field(5, compactRevision)
    if !cancelReason.isEmpty { writer.field(6, cancelReason) }
    writer.field(7, fragment)
    for event in events { event.encode(to: &writer, as: 11) }
  }
}
