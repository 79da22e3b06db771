// Refuses what is too large, and writes beyond what this reactor may have on their way.
import NeedletailRPC

package struct LimitsInterceptor: Interceptor {
  private let requestBytesMax: Int
  private let writesMax: Int
  /// Writes of this reactor whose answers have not come back.
  package private(set) var writesInFlight = 0

  package init(requestBytesMax: Int, writesMax: Int) {
    self.requestBytesMax = requestBytesMax
    self.writesMax = writesMax
  }

  @inline(__always)
  package mutating func admit(_ call: Call) throws(StatusError) {
    // Counted first: a refused write is finished, too.
    if call.rpc.isWrite { writesInFlight &+= 1 }
    if _slowPath(call.requestBytes > requestBytesMax) { throw StatusError.requestTooLarge }
    if _slowPath(writesInFlight > writesMax) { throw StatusError.tooManyRequests }
  }

  @inline(__always)
  package mutating func finished(_ call: Call, _ outcome: Outcome, _ connection: ConnectionPointer?) {
    if call.rpc.isWrite { writesInFlight &-= 1 }
  }
}
