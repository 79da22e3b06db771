// Large ranges over the native face: one frame as of any range, but made and sent in pieces, each when the one before has
// left, so that a connection never holds more than a piece or two, and no answer holds the loop for long. A RangeStream is
// the same with a frame for each piece.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// An answer on its way, between two calls of the reactor.
final class PiecewiseAnswer {
  let stream: RangeStream
  let form: RangeStream.Form
  let call: Call
  let request: FrameHeader
  /// Whether a frame has begun that only its end may follow.
  var isBegun = false
  var bytesSent = 0
  /// Whole frames that came meanwhile: they can't stand within this one. Bounded by the answers that one connection may wait
  /// for, and by the budgets of its streams.
  var held = OutBuffer.refusable

  init(_ stream: RangeStream, _ form: RangeStream.Form, _ call: Call, _ request: FrameHeader) {
    self.stream = stream
    self.form = form
    self.call = call
    self.request = request
  }

  deinit { held.free() }
}

extension Faces {
  /// Bytes appended at a time, and how many of them may wait to be sent before more are made.
  private static var pieceBytes: Int { 256 << 10 }
  private static var waitingBytes: Int { 512 << 10 }
  /// Entries looked at in one turn of the loop: about a millisecond.
  private static var entriesPerTurn: Int { 20_000 }
  /// Of one reactor: each pins a reader.
  private static var piecewiseMax: Int { 48 }

  @inline(never)
  mutating func beginPieces(
    _ form: RangeStream.Form, _ connection: ConnectionPointer, _ frame: Frame
  ) throws(StatusError) {
    let request: RangeRequestView
    do { request = try RangeRequestView(frame.body) } catch { throw server.malformed("RangeRequest", error) }
    let stream = try server.rangeStream(request, form)
    guard pieces.count < Faces.piecewiseMax else { throw StatusError.tooManyLargeRanges }
    guard let rpc = RPC(method: frame.header.rawMethod) else { return }
    let call = Call(rpc, requestBytes: frame.body.count, startedAt_ns: now_ns)
    let answer = PiecewiseAnswer(stream, form, call, frame.header)
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
      if answer.form == .pieces { return try advanceFrames(answer, connection) }
      if !answer.isBegun {
        guard try answer.stream.measure(entriesMax: Faces.entriesPerTurn) else { return }
        guard answer.stream.size <= Int(UInt32.max) else { throw .answerTooLarge(limit: Int(UInt32.max)) }
        answer.isBegun = true
        open(answer, connection)
      }
      while connection.pointee.backlog < Faces.waitingBytes {
        let before = connection.pointee.output.count
        let isLast = try answer.stream.write(into: &connection.pointee.output, bytesMax: Faces.pieceBytes)
        if _slowPath(connection.pointee.output.isRefused) {
          connection.pointee.output.truncate(to: before)
          return fail(answer, connection, .outOfMemory)
        }
        if isLast {
          return end(answer, connection, .ok, answer.stream.size)
        }
        // It looked long enough and found nothing: others first.
        if connection.pointee.output.count == before { return }
      }
    } catch {
      fail(answer, connection, StatusError(error))
    }
  }

  /// A frame for each piece: a RangeStreamResponse, whose field 1 is the RangeResponse. Its length stands in four bytes,
  /// however many it needs, because it is known only afterwards.
  private mutating func advanceFrames(
    _ answer: PiecewiseAnswer, _ connection: ConnectionPointer
  ) throws(MVCCError) {
    while connection.pointee.backlog < Faces.waitingBytes {
      let at = connection.pointee.output.openFrame()
      let prefix = connection.pointee.output.count
      _ = connection.pointee.output.reserve(5)
      connection.pointee.output.advance(5)
      let isLast: Bool
      do throws(MVCCError) {
        isLast = try answer.stream.write(into: &connection.pointee.output, bytesMax: Faces.pieceBytes)
      } catch {
        connection.pointee.output.truncate(to: at)
        throw error
      }
      if _slowPath(connection.pointee.output.isRefused) {
        connection.pointee.output.truncate(to: at)
        return fail(answer, connection, .outOfMemory)
      }
      let size = connection.pointee.output.count - prefix - 5
      guard size > 0 || isLast else { return connection.pointee.output.truncate(to: at) }
      if let start = connection.pointee.output.start {
        start.storeBytes(of: 1 << 3 | 2, toByteOffset: prefix, as: UInt8.self)
        for i in 0..<4 {
          let bits = UInt8(truncatingIfNeeded: size >> (7 * i)) & 0x7f
          start.storeBytes(of: i < 3 ? bits | 0x80 : bits, toByteOffset: prefix + 1 + i, as: UInt8.self)
        }
      }
      let flags = isLast ? FrameFlags.answer | FrameFlags.endOfStream : FrameFlags.answer
      connection.pointee.output.closeFrame(
        at: at, rawMethod: answer.request.rawMethod, flags: flags, stream: answer.request.stream, status: 0)
      answer.bytesSent += size + 5
      if isLast { return end(answer, connection, .ok, answer.bytesSent) }
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
    if answer.isBegun {
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
    // Streams count what was held as unsent until it leaves.
    if NativeStreams.of(connection) != nil { connection.pointee.tellDrained() }
    pieces[connection.pointee.slot] = nil
    chain.finished(answer.call, Outcome(code: code, answerBytes: bytes + FrameHeader.byteCount), connection)
  }
}
