// Large ranges over the native face: one frame as of any range, but made and sent in pieces, each when the one before has
// left, so that a connection never holds more than a piece or two, and no answer holds the loop for long.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// An answer on its way, between two calls of the reactor.
final class PiecewiseAnswer {
  let stream: RangeStream
  let call: Call
  let request: FrameHeader
  /// Whether all is measured and the frame has begun.
  var isMeasured = false
  /// Whole frames that came meanwhile: they can't stand within this one.
  private(set) var held = OutBuffer()

  init(_ stream: RangeStream, _ call: Call, _ request: FrameHeader) {
    self.stream = stream
    self.call = call
    self.request = request
  }

  deinit { held.free() }

  /// Bounded by the answers that one connection may wait for.
  func hold(_ reply: UnsafeMutablePointer<Mail>) {
    let address = reply.pointee.address
    let at = held.openFrame()
    held.append(reply.body)
    held.closeFrame(
      at: at, rawMethod: address.method, flags: FrameFlags.answer | FrameFlags.endOfStream, stream: address.stream,
      status: reply.pointee.status)
  }
}

extension Faces {
  /// Bytes appended at a time, and how many of them may wait to be sent before more are made.
  private static var pieceBytes: Int { 256 << 10 }
  private static var waitingBytes: Int { 512 << 10 }
  /// Entries looked at in one turn of the loop: about a millisecond.
  private static var entriesPerTurn: Int { 20_000 }
  /// Of one reactor: each pins a reader.
  private static var piecewiseMax: Int { 48 }

  /// Refuses, or begins to answer in pieces.
  @inline(never)
  mutating func rangeFailed(
    _ failure: RangeFailure, _ request: RangeRequestView, _ connection: ConnectionPointer, _ frame: Frame
  ) throws(StatusError) {
    switch failure {
    case .refused(let error): throw error
    case .large: try beginPieces(try server.rangeStream(request, .measured), connection, frame)
    }
  }

  private mutating func beginPieces(
    _ stream: RangeStream, _ connection: ConnectionPointer, _ frame: Frame
  ) throws(StatusError) {
    guard pieces.count < Faces.piecewiseMax else { throw StatusError.tooManyLargeRanges }
    guard let rpc = RPC(method: frame.header.rawMethod) else { return }
    let call = Call(rpc, requestBytes: frame.body.count, startedAt_ns: now_ns)
    let answer = PiecewiseAnswer(stream, call, frame.header)
    pieces[connection.pointee.slot] = answer
    connection.pointee.beginPieces()
    advance(answer, connection)
  }

  /// Called again whenever a part has drained. Requests that wait behind the answer are decoded when it is whole.
  @inline(never)
  mutating func continuePieces(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    guard let answer = pieces[connection.pointee.slot] else { return bytes.count }
    advance(answer, connection)
    if connection.pointee.isProducing { return 0 }
    return connection.pointee.isFinishing ? bytes.count : receiveNative(connection, bytes)
  }

  private mutating func advance(_ answer: PiecewiseAnswer, _ connection: ConnectionPointer) {
    do throws(MVCCError) {
      if !answer.isMeasured {
        guard try answer.stream.measure(entriesMax: Faces.entriesPerTurn) else { return }
        guard answer.stream.size <= Int(UInt32.max) else { throw .answerTooLarge(limit: Int(UInt32.max)) }
        answer.isMeasured = true
        open(answer, connection)
      }
      while connection.pointee.backlog < Faces.waitingBytes {
        let before = connection.pointee.output.count
        if try answer.stream.write(into: &connection.pointee.output, bytesMax: Faces.pieceBytes) {
          return end(answer, connection, .ok, answer.stream.size)
        }
        // It looked long enough and found nothing: others first.
        if connection.pointee.output.count == before { return }
      }
    } catch {
      fail(answer, connection, StatusError(error))
    }
  }

  private func open(_ answer: PiecewiseAnswer, _ connection: ConnectionPointer) {
    let header = FrameHeader(
      length: UInt32(answer.stream.size), rawMethod: answer.request.rawMethod,
      flags: FrameFlags.answer | FrameFlags.endOfStream, stream: answer.request.stream, status: 0)
    header.store(to: connection.pointee.output.reserve(FrameHeader.byteCount))
    connection.pointee.output.advance(FrameHeader.byteCount)
  }

  private mutating func fail(_ answer: PiecewiseAnswer, _ connection: ConnectionPointer, _ error: StatusError) {
    if answer.isMeasured {
      // The frame's length is out: all that is left is to end the connection within it.
      context.logger.error("a range broke off", metadata: ["why": "\(error)"])
      connection.pointee.finish()
    } else {
      connection.pointee.output.appendErrorFrame(
        rawMethod: answer.request.rawMethod, stream: answer.request.stream, code: error.code, message: error.message)
    }
    end(answer, connection, error.code, error.message.utf8.count)
  }

  private mutating func end(
    _ answer: PiecewiseAnswer, _ connection: ConnectionPointer, _ code: StatusCode, _ bytes: Int
  ) {
    if !connection.pointee.isFinishing || code == .ok { connection.pointee.output.append(answer.held.bytes) }
    connection.pointee.endPieces()
    pieces[connection.pointee.slot] = nil
    chain.finished(answer.call, Outcome(code: code, answerBytes: bytes + FrameHeader.byteCount), connection)
  }
}
