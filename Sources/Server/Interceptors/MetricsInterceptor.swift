// Counts what started and what was handled, by method and code, and how long it took.
//
// Reads are answered within the batch they came in, and all of a batch's answers leave together: its duration is the
// handling time of each of them, and one pair of clock readings serves them all.
import CNeedletail
import NeedletailRPC

package struct MetricsInterceptor: Interceptor {
  private let metrics: ThreadMetrics
  private var batchStart_ns: UInt64 = 0
  /// Requests of this batch that were answered in it, by method.
  private let answered: UnsafeMutablePointer<UInt32>
  private var answeredAny = false

  package init(_ metrics: ThreadMetrics) {
    self.metrics = metrics
    answered = .allocate(capacity: RPC.count)
    answered.initialize(repeating: 0, count: RPC.count)
  }

  package mutating func beginBatch(at now_ns: UInt64) { batchStart_ns = now_ns }

  package mutating func endBatch() {
    guard answeredAny else { return }
    answeredAny = false
    let took_ns = nt_nanoseconds() &- batchStart_ns
    for i in 0..<RPC.count where answered[i] > 0 {
      metrics.handling(i).record(took_ns, times: UInt64(answered[i]))
      answered[i] = 0
    }
  }

  @inline(__always)
  package mutating func admit(_ call: Call) throws(StatusError) { metrics.countStarted(call.rpc) }

  @inline(__always)
  package mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?) {
    metrics.countHandled(call.rpc, outcome.code)
    if call.startedAt_ns == batchStart_ns {
      answered[Int(call.rpc.rawValue)] &+= 1
      answeredAny = true
    } else {
      metrics.handling(Int(call.rpc.rawValue)).record(batchStart_ns &- call.startedAt_ns, times: 1)
    }
  }

  /// Of gRPC.
  package func countMessages(received: Int, sent: Int) { metrics.countMessages(received: received, sent: sent) }

  package func free() { answered.deallocate() }
}
