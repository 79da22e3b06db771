// The chain, in one visible list. Concrete types: every call in it is direct.
import NeedletailRPC

package struct InterceptorChain {
  package var metrics: MetricsInterceptor
  package var slowRequests: SlowRequestInterceptor
  package var limits: LimitsInterceptor

  @inline(__always)
  package mutating func admit(_ call: Call) throws(StatusError) {
    try metrics.admit(call)
    try slowRequests.admit(call)
    try limits.admit(call)
  }

  @inline(__always)
  package mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?) {
    metrics.finished(call, outcome, connection)
    slowRequests.finished(call, outcome, connection)
    limits.finished(call, outcome, connection)
  }
}
