// Why a request is not served, in grpc-go's words.
import NeedletailRPC

enum GRPCFailure {
  static let deadline = StatusError(.deadlineExceeded, "context deadline exceeded")
}
