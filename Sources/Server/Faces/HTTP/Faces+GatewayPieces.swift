// Large ranges over the JSON gateway: made and sent in pieces, each when the one before has left. The pairs come first,
// header, more and count behind them; the order of an object's names has no meaning.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// An answer on its way, between two calls of the reactor.
final class GatewayPieces {
  let stream: RangeStream
  let requestBytes: Int
  var isFirstPair = true
  var bytesSent = 0

  init(_ stream: RangeStream, requestBytes: Int) {
    self.stream = stream
    self.requestBytes = requestBytes
  }
}

extension Faces {
  /// Bytes of wire form at a time, and how many of text may wait to be sent before more are made.
  private static var pieceBytes: Int { 256 << 10 }
  private static var waitingBytes: Int { 512 << 10 }
  /// Of one reactor: each pins a reader.
  private static var gatewayPiecesMax: Int { 16 }

  mutating func beginPieces(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ message: UnsafeRawBufferPointer
  ) throws(StatusError) {
    let request: RangeRequestView
    do { request = try RangeRequestView(message) } catch { throw server.malformed("RangeRequest", error) }
    let stream = try server.rangeStream(request, .pieces)
    guard gatewayPieces < Faces.gatewayPiecesMax else { throw StatusError.tooManyLargeRanges }
    gatewayPieces += 1
    let pieces = GatewayPieces(stream, requestBytes: message.count)
    exchange.phase = .pieces(pieces)
    connection.pointee.beginPieces()
    advanceGateway(connection, exchange, pieces)
  }

  /// Called again whenever a part has drained.
  mutating func advanceGateway(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ pieces: GatewayPieces
  ) {
    var message = OutBuffer.refusable
    var text = OutBuffer.refusable
    defer {
      message.free()
      text.free()
    }
    while connection.pointee.backlog < Faces.waitingBytes {
      message.removeAll()
      text.removeAll()
      let isLast: Bool
      do { isLast = try pieces.stream.write(into: &message, bytesMax: Faces.pieceBytes) } catch {
        return breakOff(connection, exchange, pieces, StatusError(error))
      }
      // It looked long enough and found nothing: others first.
      if message.isEmpty, !isLast { return }
      do { try append(message.bytes, exchange, pieces, isLast: isLast, to: &text) } catch {
        return breakOff(connection, exchange, pieces, StatusError(.internal, "needletail: \(error)"))
      }
      guard !message.isRefused, !text.isRefused else {
        return breakOff(connection, exchange, pieces, .outOfMemory)
      }
      if !exchange.hasBegun {
        exchange.hasBegun = true
        beginChunks(connection, exchange.manner, fields: Faces.gatewayFields)
      }
      appendChunk(connection, exchange.manner, text.bytes)
      pieces.bytesSent += text.count
      if isLast { return endPieces(connection, exchange, pieces, .ok) }
    }
  }

  /// A piece is a RangeResponse: pairs alone, and in the last one the rest.
  private func append(
    _ message: UnsafeRawBufferPointer, _ exchange: HTTPExchange, _ pieces: GatewayPieces, isLast: Bool,
    to text: inout OutBuffer
  ) throws(ProtoError) {
    let shape = exchange.route.answer
    guard let pairs = shape.fields.first(where: { $0.isRepeated }) else { return }
    if !exchange.hasBegun { text.append("{\"\(pairs.name)\":[") }
    try ProtoToJSON.appendElements(message, of: pairs, &pieces.isFirstPair, into: &text)
    guard isLast else { return }
    text.append("]")
    var isFirst = false
    try ProtoToJSON.append(message, shape, except: pairs.number, &isFirst, into: &text)
    text.append("}")
  }

  private mutating func endPieces(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ pieces: GatewayPieces, _ code: StatusCode
  ) {
    gatewayPieces -= 1
    connection.pointee.endPieces()
    release(connection, exchange)
    if code == .ok { endChunks(connection, exchange.manner) }
    let call = Call(exchange.rpc, requestBytes: pieces.requestBytes, startedAt_ns: exchange.startedAt_ns)
    chain.finished(call, Outcome(code: code, answerBytes: pieces.bytesSent), connection)
  }

  /// Where the head is out, all that is left is to end the connection before the answer does.
  private mutating func breakOff(
    _ connection: ConnectionPointer, _ exchange: HTTPExchange, _ pieces: GatewayPieces, _ error: StatusError
  ) {
    let hasBegun = exchange.hasBegun
    endPieces(connection, exchange, pieces, error.code)
    if hasBegun {
      context.logger.error("a range broke off", metadata: ["why": "\(error)"])
      connection.pointee.finish()
    } else {
      answerGateway(connection, exchange.manner, error)
    }
  }
}
