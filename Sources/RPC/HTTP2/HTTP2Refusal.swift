// What is wrong with a request before anybody looks at its message, in grpc-go's words.
package enum HTTP2Refusal {
  case none
  /// It is no gRPC at all.
  case http(StaticString)
  case error(StatusError)
}

extension HTTP2Session {
  /// Whether nothing is: `refusal` says what.
  @inline(__always)
  package func isServable(_ stream: HTTP2StreamPointer) -> Bool {
    let wrong: HTTP2StreamFlags = [.headTooLarge, .messageTooLarge, .tooMuchWaiting, .badTimeout]
    return stream.pointee.flags.isSuperset(of: [.isPost, .isGRPC]) && stream.pointee.flags.isDisjoint(with: wrong)
  }

  package func refusal(_ stream: HTTP2StreamPointer) -> HTTP2Refusal {
    if isServable(stream) { return .none }
    let flags = stream.pointee.flags
    if flags.contains(.headTooLarge) { return .http("431") }
    if !flags.contains(.isPost) { return .http("405") }
    if !flags.contains(.isGRPC) { return .http("415") }
    if flags.contains(.badTimeout) { return .error(StatusError(.internal, "malformed grpc-timeout")) }
    if flags.contains(.tooMuchWaiting) {
      return .error(StatusError(.resourceExhausted, "needletail: too many unfinished requests"))
    }
    let limit = state.pointee.pool.pointee.limits.messageBytes
    return .error(
      StatusError(
        .resourceExhausted,
        "grpc: received message larger than max (\(stream.pointee.nextLength) vs. \(limit))"))
  }
}
