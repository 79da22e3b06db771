// What every request passes, whichever face it came by: first all `admit`s in the chain's order, then its handler, then
// all `finished`s in the same order.
import NeedletailRPC

/// One request on its way. Trivial.
package struct Call {
  package let rpc: RPC
  /// Bytes of the request message.
  package let requestBytes: Int
  /// When it was decoded: precise to its batch.
  package let startedAt_ns: UInt64
  /// The request message; empty when a deferred answer has come and the request's bytes are gone.
  package var body = UnsafeRawBufferPointer(start: nil, count: 0)

  package init(_ rpc: RPC, requestBytes: Int, startedAt_ns: UInt64) {
    self.rpc = rpc
    self.requestBytes = requestBytes
    self.startedAt_ns = startedAt_ns
  }
}

/// How it ended.
package struct Outcome {
  package let code: StatusCode
  package let answerBytes: Int
}

package protocol Interceptor {
  /// Throws to refuse the request before its handler sees it.
  mutating func admit(_ call: Call) throws(StatusError)
  /// The request has been answered, refused ones included. `connection` is nil when its answer came too late.
  mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?)
}
