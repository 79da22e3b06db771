// Reading a snapshot of the store piece by piece (proto/needletail.proto).

/// Asks for bytes of a snapshot.
package struct SnapshotRequest: Equatable, Sendable {
  /// The snapshot to go on with; 0 begins a new one.
  package var snapshotID: UInt64 = 0
  package var offset: UInt64 = 0
  /// Most bytes wanted; 0 = as many as the server likes.
  package var limit: UInt32 = 0
  /// Nothing more is wanted of it: the server may let it go.
  package var isFinished = false

  package init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: snapshotID = try reader.uint64(tag)
      case 2: offset = try reader.uint64(tag)
      case 3: limit = try reader.uint32(tag)
      case 4: isFinished = try reader.bool(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension SnapshotRequest: ProtoEncodable {
  package var encodedSize: Int {
    ProtoWriter.size(field: snapshotID) + ProtoWriter.size(field: offset) + ProtoWriter.size(field: UInt64(limit))
      + ProtoWriter.size(field: isFinished)
  }

  package func encode(to writer: inout ProtoWriter) {
    writer.field(1, snapshotID)
    writer.field(2, offset)
    writer.field(3, UInt64(limit))
    writer.field(4, isFinished)
  }
}

/// etcd's SnapshotResponse: the next bytes of the file. The message borrows them.
package struct SealedSnapshotPart: ProtoEncodable {
  package var header = ResponseHeader()
  /// Bytes that follow, where that is known; 0 else.
  package var remainingBytes: UInt64 = 0
  package var blob = UnsafeRawBufferPointer(start: nil, count: 0)

  package init() {}

  package var encodedSize: Int {
    ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(field: remainingBytes)
      + ProtoWriter.size(bytes: blob.count)
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, remainingBytes)
    writer.field(3, blob)
  }
}

/// Some bytes of a snapshot. The view borrows them.
package struct SnapshotResponseView {
  package var header = ResponseHeader()
  package var snapshotID: UInt64 = 0
  /// Where in the file the bytes belong.
  package var offset: UInt64 = 0
  package var blob = UnsafeRawBufferPointer(start: nil, count: 0)
  /// How far the server is, for a progress bar.
  package var entries: UInt64 = 0
  package var entriesInAll: UInt64 = 0
  /// The whole file's length, once the server knows it; 0 before.
  package var fileBytes: UInt64 = 0

  package init() {}

  package init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      switch tag.field {
      case 1: header = try ResponseHeader(reader.bytes(tag))
      case 2: snapshotID = try reader.uint64(tag)
      case 3: offset = try reader.uint64(tag)
      case 4: blob = try reader.bytes(tag)
      case 5: entries = try reader.uint64(tag)
      case 6: entriesInAll = try reader.uint64(tag)
      case 7: fileBytes = try reader.uint64(tag)
      default: try reader.skip(tag)
      }
    }
  }
}

extension SnapshotResponseView: ProtoEncodable {
  package var encodedSize: Int {
    let numbers =
      ProtoWriter.size(field: snapshotID) + ProtoWriter.size(field: offset) + ProtoWriter.size(field: entries)
      + ProtoWriter.size(field: entriesInAll) + ProtoWriter.size(field: fileBytes)
    return ProtoWriter.size(delimited: header.encodedSize) + ProtoWriter.size(bytes: blob.count) + numbers
  }

  package func encode(to writer: inout ProtoWriter) {
    header.encode(to: &writer, as: 1)
    writer.field(2, snapshotID)
    writer.field(3, offset)
    writer.field(4, blob)
    writer.field(5, entries)
    writer.field(6, entriesInAll)
    writer.field(7, fileBytes)
  }
}

extension SnapshotResponseView {
  /// etcd's largest blob.
  private static var blobMax: Int { 32 << 10 }

  /// The bytes as etcd's messages have them.
  package func forEachPart(_ body: (SealedSnapshotPart) -> Void) {
    var rest = blob
    while !rest.isEmpty {
      let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(SnapshotResponseView.blobMax))
      rest = UnsafeRawBufferPointer(rebasing: rest[piece.count...])
      var part = SealedSnapshotPart()
      part.header = header
      part.blob = piece
      let end = offset + UInt64(blob.count - rest.count)
      part.remainingBytes = fileBytes > end ? fileBytes - end : 0
      body(part)
    }
  }

  /// What is asked for next; nil behind the last byte, with which the server lets the snapshot go.
  package var following: SnapshotRequest? {
    var next = SnapshotRequest()
    next.snapshotID = snapshotID
    next.offset = offset + UInt64(blob.count)
    return fileBytes != 0 && next.offset >= fileBytes ? nil : next
  }
}
