// Answers over gRPC that are larger than what is made at once: a range in one message, a range in many, a snapshot. Each
// piece is made when the one before has left for the client's windows, so that none costs more than a piece or two.
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

extension Faces {
  private static var pieceBytes: Int { 256 << 10 }
  /// Entries looked at in one turn of the loop: about a millisecond.
  private static var entriesPerTurn: Int { 20_000 }
  /// Of one reactor: each pins a reader.
  private static var rangesMax: Int { 48 }

  @inline(never)
  mutating func beginRange(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ call: Call, _ form: RangeStream.Form
  ) throws(StatusError) {
    let request: RangeRequestView
    do { request = try RangeRequestView(call.body) } catch { throw server.malformed("RangeRequest", error) }
    let range = try server.rangeStream(request, form)
    guard grpcRanges < Faces.rangesMax else { throw StatusError.tooManyLargeRanges }
    grpcRanges += 1
    let entry = GRPCStream(call.rpc, startedAt_ns: call.startedAt_ns, answers: nil)
    entry.pieces = .range(range, form, isBegun: false)
    entry.own(stream)
    session.producing += 1
    advance(session, stream, entry)
  }

  @inline(never)
  mutating func beginSnapshot(_ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ call: Call) {
    let entry = GRPCStream(.snapshot, startedAt_ns: call.startedAt_ns, answers: nil)
    entry.pieces = .snapshot(next: SnapshotRequest(), isAsked: false)
    entry.own(stream)
    session.producing += 1
    advance(session, stream, entry)
  }

  /// The answer is over: its reader goes, or its snapshot.
  func letGo(_ entry: GRPCStream) {
    if case .snapshot(let request, _) = entry.pieces { server.finishSnapshot(request) }
  }

  /// Makes the next pieces of all answers of the session that have room for them.
  mutating func advanceAll(_ session: HTTP2Session) {
    var next = session.firstOpen
    while let stream = next {
      next = session.open(after: stream)
      if let entry = GRPCStream.of(stream), entry.pieces != nil { advance(session, stream, entry) }
    }
  }

  private mutating func advance(_ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream) {
    while !entry.isFinished, stream.pointee.heldBytes == 0, stream.pointee.flags.isDisjoint(with: [.closed, .ending]) {
      guard session.connection.pointee.hasRoom else { return session.connection.pointee.pauseUntilDrained() }
      switch entry.pieces {
      case .none: return
      case .range(let range, let form, let isBegun):
        guard advance(session, stream, entry, range, form, isBegun: isBegun) else {
          // It looked long enough and found nothing: others first.
          return session.connection.pointee.pauseUntilDrained()
        }
      case .snapshot(let next, let isAsked):
        if !isAsked { ask(session, stream, entry, next) }
        return
      }
      session.pump()
    }
  }

  // MARK: - Ranges

  /// False where a turn's work brought nothing to send.
  private mutating func advance(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ range: RangeStream,
    _ form: RangeStream.Form, isBegun: Bool
  ) -> Bool {
    do throws(MVCCError) {
      if form == .measured, !isBegun {
        guard try range.measure(entriesMax: Faces.entriesPerTurn) else { return false }
        guard range.size <= Int(UInt32.max) else { throw .answerTooLarge(limit: Int(UInt32.max)) }
        entry.pieces = .range(range, form, isBegun: true)
        guard session.begin(stream) else { return true }
        guard session.hold(stream, begins: true, { $0.appendMessagePrefix(range.size) }) else {
          breakOff(session, stream, entry, .outOfMemory)
          return true
        }
      }
      guard session.begin(stream) else { return true }
      let before = stream.pointee.heldBytes
      var failure: MVCCError?
      var isLast = false
      let isHeld = session.hold(stream, begins: form == .pieces) { out in
        do throws(MVCCError) {
          let isWhole = form == .measured
          isLast = isWhole ? try range.write(into: &out, bytesMax: Faces.pieceBytes) : try Faces.piece(range, &out)
        } catch {
          failure = error
        }
      }
      if let failure { throw failure }
      guard isHeld else {
        breakOff(session, stream, entry, .outOfMemory)
        return true
      }
      if isLast { endStream(session, stream, entry, nil) }
      return isLast || stream.pointee.heldBytes > before
    } catch {
      breakOff(session, stream, entry, StatusError(error))
      return true
    }
  }

  private mutating func breakOff(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ error: StatusError
  ) {
    // Within a message nothing can be said: its stream is all that can end.
    guard case .range(_, .measured, isBegun: true) = entry.pieces else {
      return endStream(session, stream, entry, error)
    }
    context.logger.error("a range broke off", metadata: ["why": "\(error)"])
    session.reset(stream, .internalError)
    finish(entry, error.code, session.connection)
  }

  /// A RangeStreamResponse, whose field 1 is the RangeResponse. Its length stands in four bytes, however many it needs,
  /// because it is known only afterwards.
  private static func piece(_ range: RangeStream, _ out: inout OutBuffer) throws(MVCCError) -> Bool {
    let at = out.count
    out.appendMessagePrefix(0)
    let field = out.count
    _ = out.reserve(5)
    out.advance(5)
    let isLast: Bool
    do throws(MVCCError) { isLast = try range.write(into: &out, bytesMax: pieceBytes) } catch {
      out.truncate(to: at)
      throw error
    }
    // Whoever holds it finds that memory was refused.
    if out.isRefused { return isLast }
    let size = out.count - field - 5
    guard size > 0 || isLast, let start = out.start else {
      out.truncate(to: at)
      return isLast
    }
    start.storeBytes(of: 1 << 3 | 2, toByteOffset: field, as: UInt8.self)
    for i in 0..<4 {
      let bits = UInt8(truncatingIfNeeded: size >> (7 * i)) & 0x7f
      start.storeBytes(of: i < 3 ? bits | 0x80 : bits, toByteOffset: field + 1 + i, as: UInt8.self)
    }
    out.setMessagePrefix(size + 5, at: at)
    return isLast
  }

  // MARK: - Snapshots

  private mutating func ask(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ request: SnapshotRequest
  ) {
    var reply = address(session, stream, Call(.snapshot, requestBytes: 0, startedAt_ns: now_ns))
    reply.isStreamed = true
    do throws(StatusError) {
      try server.sealedSnapshot(request, reply: reply)
      session.connection.pointee.deferAnswer()
      entry.pieces = .snapshot(next: request, isAsked: true)
    } catch {
      endStream(session, stream, entry, error)
    }
  }

  mutating func completeSnapshot(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ reply: UnsafeMutablePointer<Mail>
  ) {
    guard reply.pointee.status == 0, let answer = try? SnapshotResponseView(reply.body) else {
      let code = StatusCode(rawValue: reply.pointee.status) ?? .internal
      let error = StatusError(code == .ok ? .internal : code, String(decoding: reply.body, as: UTF8.self))
      return endStream(session, stream, entry, error)
    }
    guard session.begin(stream) else { return }
    var isHeld = true
    answer.forEachPart { part in
      let isMore = session.hold(stream, begins: true) { out in
        let at = out.count
        out.appendMessagePrefix(0)
        part.encode(to: &out)
        out.setMessagePrefix(out.count - at - GRPCPrefix.byteCount, at: at)
      }
      isHeld = isHeld && isMore
    }
    guard isHeld else { return endStream(session, stream, entry, .outOfMemory) }
    if let next = answer.following {
      entry.pieces = .snapshot(next: next, isAsked: false)
    } else {
      entry.pieces = nil
      session.producing -= 1
      endStream(session, stream, entry, nil)
    }
    session.pump()
  }
}
