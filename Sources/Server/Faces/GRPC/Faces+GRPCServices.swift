// gRPC's own services, health and reflection, which the reactor answers by itself.
import NeedletailBytes
import NeedletailRPC

/// gRPC's numbers.
enum ServingStatus: UInt8 {
  case serving = 1
  case notServing = 2
  case serviceUnknown = 3
}

extension Faces {
  // MARK: - Health

  /// As /health has it: an alarm is an illness, too.
  var servingStatus: ServingStatus {
    illness() == nil && server.status.alarms.kinds.isEmpty ? .serving : .notServing
  }

  /// Whether the request is about the whole server, which alone has a status.
  private func isWhole(_ request: UnsafeRawBufferPointer) throws(StatusError) -> Bool {
    var isWhole = true
    do throws(ProtoError) {
      var reader = ProtoReader(request)
      while let tag = try reader.nextTag() {
        if tag.field == 1 { isWhole = try reader.bytes(tag).isEmpty } else { try reader.skip(tag) }
      }
    } catch {
      throw server.malformed("HealthCheckRequest", error)
    }
    return isWhole
  }

  private static func append(_ status: ServingStatus, to out: inout OutBuffer) {
    out.append(byte: 1 << 3)
    out.append(byte: status.rawValue)
  }

  /// Check: illness is an answer.
  @inline(never)
  func checkHealth(_ body: UnsafeRawBufferPointer, into out: inout OutBuffer) throws(StatusError) {
    guard try isWhole(body) else { throw StatusError(.notFound, "unknown service") }
    Faces.append(servingStatus, to: &out)
  }

  /// Watch: the status now. Who watches a service that has none is told so, and hears no more.
  mutating func watchHealth(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream, _ body: UnsafeRawBufferPointer
  ) throws(StatusError) {
    guard !entry.hasBegun else { return }
    let isWhole = try isWhole(body)
    entry.hasBegun = true
    show(isWhole ? servingStatus : .serviceUnknown, session, stream, entry)
  }

  /// Tells the stream's client where the status is no longer what it was told.
  mutating func show(
    _ status: ServingStatus, _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ entry: GRPCStream
  ) {
    guard entry.shownStatus != status, entry.shownStatus != .serviceUnknown, entry.rpc == .healthWatch, entry.hasBegun,
      !entry.isFinished
    else { return }
    entry.shownStatus = status
    if !session.send(stream, isLast: false, { Faces.append(status, to: &$0) }) {
      endStream(session, stream, entry, .outOfMemory)
    }
  }

  // MARK: - Reflection

  func reflect(
    _ session: HTTP2Session, _ stream: HTTP2StreamPointer, _ body: UnsafeRawBufferPointer
  ) throws(StatusError) {
    let answer: ReflectionAnswer?
    do { answer = try ServiceReflection.own.answer(body) } catch {
      throw server.malformed("ServerReflectionRequest", error)
    }
    guard let answer else { throw StatusError(.invalidArgument, "needletail: the request asks for nothing") }
    guard session.send(stream, isLast: false, { answer.encode(to: &$0) }) else { throw StatusError.outOfMemory }
  }
}
