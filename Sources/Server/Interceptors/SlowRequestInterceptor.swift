// Logs requests that took longer than the threshold: where from, what, how much; never a value.
//
// The kernel's coarse clock (a few ms) is precise enough for a threshold of hundreds of ms and costs a few ns a
// request.
import CNeedletail
import Logging
import NeedletailRPC

package struct SlowRequestInterceptor: Interceptor {
  private let threshold_ms: UInt64
  private let log: SlowRequestLog
  private var admitted_ms: UInt64 = 0

  package init(threshold_ms: UInt64, log: SlowRequestLog) {
    self.threshold_ms = threshold_ms
    self.log = log
  }

  @inline(__always)
  package mutating func admit(_ call: Call) throws(StatusError) { admitted_ms = nt_coarse_milliseconds() }

  @inline(__always)
  package mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?) {
    // These last as long as clients like.
    if _slowPath(call.rpc.isStream || call.rpc.isPatient) { return }
    // A deferred answer comes without its request's bytes; its start travelled with it.
    let isDeferred = call.body.baseAddress == nil && call.rpc.isDeferred
    let took_ms =
      isDeferred
      ? (nt_nanoseconds() &- call.startedAt_ns) / 1_000_000 : nt_coarse_milliseconds() &- admitted_ms
    if _slowPath(took_ms >= threshold_ms) { log.write(call, outcome, took_ms: took_ms, connection) }
  }
}

/// The cold part: one line for a slow request, at most so many a second for each reactor.
package final class SlowRequestLog {
  private let logger: Logger
  private var second_ms: UInt64 = 0
  private var written = 0
  private static let perSecond = 10

  package init(_ logger: Logger) { self.logger = logger }

  func write(_ call: Call, _ outcome: Outcome, took_ms: UInt64, _ connection: ConnectionPointer?) {
    let now = nt_coarse_milliseconds()
    if now &- second_ms >= 1_000 {
      second_ms = now
      written = 0
    }
    written += 1
    guard written <= SlowRequestLog.perSecond else { return }
    var metadata: Logger.Metadata = [
      "took_ms": "\(took_ms)", "method": "\(call.rpc.service)/\(call.rpc.name)", "code": "\(outcome.code.name)",
      "request_bytes": "\(call.requestBytes)", "answer_bytes": "\(outcome.answerBytes)",
    ]
    metadata["from"] = "\(connection?.pointee.peerName ?? "gone")"
    if call.rpc == .range, let request = try? RangeRequestView(call.body) {
      metadata["key"] = "\(SlowRequestLog.text(request.key))"
      metadata["range_end"] = "\(SlowRequestLog.text(request.rangeEnd))"
      metadata["limit"] = "\(request.limit)"
      metadata["revision"] = "\(request.revision)"
    }
    logger.warning("slow request", metadata: metadata)
  }

  /// A key as people can read it, shortened.
  private static func text(_ bytes: UnsafeRawBufferPointer) -> String {
    var text = ""
    for byte in bytes.prefix(64) {
      if byte >= 0x20 && byte < 0x7f && byte != UInt8(ascii: "\\") {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return bytes.count > 64 ? text + "…(\(bytes.count) bytes)" : text
  }
}
