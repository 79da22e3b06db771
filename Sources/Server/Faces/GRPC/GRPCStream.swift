// A stream of the face that is more than one request and one answer. The reactor's thread alone touches it.
import NeedletailMVCC
import NeedletailRPC

/// Owned by its HTTP/2 stream's record.
final class GRPCStream {
  let rpc: RPC
  let startedAt_ns: UInt64
  /// Of a watch: who answers.
  let answers: ResponseStream?
  /// Bytes of answers that have not left the connection's buffers.
  var unsentBytes = 0
  /// Messages that are answered one by one and are not answered yet.
  var waiting = 0
  /// An observer's only message has come, or that of who watches health.
  var hasBegun = false
  /// Counted as handled.
  var isFinished = false
  /// Of who watches health: what it was told last.
  var shownStatus: ServingStatus?
  /// What is made in pieces, each when the one before has left.
  var pieces: GRPCPieces?

  /// Of a call that waits for what others do: what to give up with its stream.
  let patient: ReplyAddress?

  init(_ rpc: RPC, startedAt_ns: UInt64, answers: ResponseStream?) {
    self.rpc = rpc
    self.startedAt_ns = startedAt_ns
    self.answers = answers
    patient = nil
  }

  init(patient reply: ReplyAddress, _ call: Call) {
    rpc = call.rpc
    startedAt_ns = call.startedAt_ns
    answers = nil
    patient = reply
  }

  /// That of the record, if it has one.
  @inline(__always)
  static func of(_ stream: HTTP2StreamPointer) -> GRPCStream? {
    stream.pointee.owner.map { Unmanaged<GRPCStream>.fromOpaque($0).takeUnretainedValue() }
  }

  func own(_ stream: HTTP2StreamPointer) { stream.pointee.owner = Unmanaged.passRetained(self).toOpaque() }

  static func removed(from stream: HTTP2StreamPointer) -> GRPCStream? {
    guard let owner = stream.pointee.owner else { return nil }
    stream.pointee.owner = nil
    return Unmanaged<GRPCStream>.fromOpaque(owner).takeRetainedValue()
  }
}

/// Where an answer's next bytes come from.
enum GRPCPieces {
  /// A range; `isBegun`: the prefix of its one message is out.
  case range(RangeStream, RangeStream.Form, isBegun: Bool)
  /// A snapshot: what to ask for next, and whether that is under way.
  case snapshot(next: SnapshotRequest, isAsked: Bool)
}
