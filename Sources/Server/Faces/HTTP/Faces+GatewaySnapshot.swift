// A snapshot over the JSON gateway: a line for each of etcd's messages, whose bytes are base64. More is asked for when what came
// has left, so that it costs no more than what is read at a time.
import NeedletailBytes
import NeedletailRPC

extension Faces {
  mutating func askForSnapshot(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ request: SnapshotRequest
  ) throws(StatusError) {
    var reply = address(connection, exchange, requestBytes: 0)
    reply.isStreamed = true
    try server.sealedSnapshot(request, reply: reply)
    exchange.isAsked = true
    exchange.snapshot = request
    exchange.waiting = 1
    connection.pointee.deferAnswer()
  }

  mutating func completeSnapshot(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ body: UnsafeRawBufferPointer
  ) {
    guard let answer = try? SnapshotResponseView(body) else {
      return failStream(connection, exchange, StatusError(.internal, "needletail: malformed SnapshotResponse"))
    }
    var message = OutBuffer()
    defer { message.free() }
    answer.forEachPart { part in
      message.removeAll()
      part.encode(to: &message)
      appendResult(connection, exchange, message.bytes)
    }
    exchange.snapshot = answer.following
    if exchange.snapshot != nil {
      // What is sent behind the request may have been held meanwhile: it comes again, and is again.
      connection.pointee.release()
      return connection.pointee.pauseUntilDrained()
    }
    endStream(connection, exchange)
    finished(exchange, .ok, connection)
  }

  /// What came has left.
  mutating func continueSnapshot(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ next: SnapshotRequest
  ) {
    do throws(StatusError) { try askForSnapshot(connection, exchange, next) } catch {
      failStream(connection, exchange, error)
    }
  }
}
