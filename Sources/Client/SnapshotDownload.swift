// Reading a snapshot from a server: some requests on their way at a time, their answers in order.

import NeedletailRPC

/// One piece of a snapshot.
package struct SnapshotPiece {
  package var snapshotID: UInt64 = 0
  package var offset: UInt64 = 0
  package var bytes: [UInt8] = []
  package var entries: UInt64 = 0
  package var entriesInAll: UInt64 = 0
  /// Whether the file ends with this piece.
  package var isLast = false
  /// The store's revision that the snapshot shows.
  package var revision: Int64 = 0

  init(_ message: UnsafeRawBufferPointer) throws(ProtoError) {
    let view = try SnapshotResponseView(message)
    snapshotID = view.snapshotID
    offset = view.offset
    bytes = [UInt8](view.blob)
    entries = view.entries
    entriesInAll = view.entriesInAll
    isLast = view.fileBytes > 0 && view.offset + UInt64(view.blob.count) == view.fileBytes
    revision = view.header.revision
  }
}

extension BlockingClient {
  private static var pieceBytes: UInt32 { 256 << 10 }
  private static var requestsAtATime: Int { 4 }

  /// Reads a snapshot to its end, from `offset` of the one named `snapshotID`, or a new one from its start. `take` gets
  /// the pieces in order and stops the reading by answering false; what it keeps is what a later call can go on with.
  ///
  /// Each request may take as long as any call of this client may, and is sent again when its connection is lost. Throws
  /// `server` with `notFound` when the server has let the snapshot go.
  package func readSnapshot(
    _ snapshotID: UInt64 = 0, from offset: UInt64 = 0, _ take: (SnapshotPiece) -> Bool
  ) throws(ClientError) {
    var id = snapshotID
    var next = offset
    var wanted = offset
    // By the offset asked for.
    var answers: [UInt64: Result<[UInt8], ClientError>] = [:]
    var isOver = false
    defer { isOver = true }
    func ask() {
      var request = SnapshotRequest()
      request.snapshotID = id
      request.offset = next
      request.limit = BlockingClient.pieceBytes
      let at = next
      next += UInt64(BlockingClient.pieceBytes)
      dispatcher.submit(
        Operation(.snapshot, body: request.encoded(), kind: .read, deadline: deadline) { result in
          if !isOver { answers[at] = result }
        })
    }
    ask()
    while true {
      guard let answer = answers.removeValue(forKey: wanted) else {
        dispatcher.step(until: .never)
        continue
      }
      let piece = try decode(try answer.get()) { bytes throws(ProtoError) in try SnapshotPiece(bytes) }
      id = piece.snapshotID
      guard piece.offset == wanted, piece.isLast || piece.bytes.count == Int(BlockingClient.pieceBytes) else {
        throw .protocolViolation("a snapshot's answer holds other bytes than were asked for")
      }
      guard take(piece) else { return }
      if piece.isLast { break }
      wanted += UInt64(piece.bytes.count)
      while next < wanted + UInt64(BlockingClient.requestsAtATime) * UInt64(BlockingClient.pieceBytes) { ask() }
    }
    release(id)
  }

  /// Tells the server that nothing more is wanted; it would find out by itself.
  private func release(_ id: UInt64) {
    var request = SnapshotRequest()
    request.snapshotID = id
    request.isFinished = true
    var isDone = false
    dispatcher.submit(
      Operation(.snapshot, body: request.encoded(), kind: .read, deadline: deadline) { _ in isDone = true })
    while !isDone { dispatcher.step(until: .never) }
  }
}
