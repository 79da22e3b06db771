// Why a request is not served, in grpc-go's words.
import NeedletailRPC

enum GRPCFailure {
  /// The client has ended its request without a message, or within one.
  static let empty = StatusError(.unknown, "EOF")
  static let cut = StatusError(.internal, "unexpected EOF")
  static let unexpectedCompression = StatusError(
    .internal, "grpc: compressed flag set with identity or empty encoding")
  static let unknownCompression = StatusError(
    .unimplemented, "grpc: Decompressor is not installed for grpc-encoding")
  static let badCompression = StatusError(
    .internal, "grpc: failed to decompress the received message: gzip: invalid data")

  static func tooLargeUnpacked(_ limit: Int) -> StatusError {
    StatusError(.resourceExhausted, "grpc: received message after decompression larger than max \(limit)")
  }
}
