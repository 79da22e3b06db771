// Refuses writes beyond what this reactor may have on their way.
import NeedletailRPC

package struct LimitsInterceptor: Interceptor {
  private let writesMax: Int
  /// Writes of this reactor whose answers have not come back.
  package private(set) var writesInFlight = 0

  package init(writesMax: Int) { self.writesMax = writesMax }

  @inline(__always)
  package mutating func admit(_ call: Call) throws(StatusError) {
    // Counted first: a refused write is finished, too.
    if call.rpc.isWrite { writesInFlight &+= 1 }
    if _slowPath(writesInFlight > writesMax) { throw StatusError.tooManyRequests }
  }

  @inline(__always)
  package mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?) {
    if call.rpc.isWrite { writesInFlight &-= 1 }
  }
}
