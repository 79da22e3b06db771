// One call on its way: what to send, until when, and whom to tell.

import NeedletailRPC

/// Owned by the dispatcher that it was submitted to, from then until `finish` ran; `finish` runs exactly once.
package final class Operation {
  /// Whether the request may be sent twice.
  package enum Kind: Sendable {
    /// Has no effect: sent again whenever a server was unavailable.
    case read
    /// Sent again only when the first one was surely not executed.
    case write
  }

  package let method: Method
  package let body: [UInt8]
  package let kind: Kind
  /// Index of the only endpoint that may answer, or nil for any.
  package let endpoint: Int?
  package let deadline: Instant

  private var completion: ((Result<[UInt8], ClientError>) -> Void)?

  /// While it waits for a connection: since when, and not before when it shall be tried (again).
  var waitingSince = Instant.now
  var notBefore = Instant(nanoseconds: 0)
  var attempts = 0
  /// While in flight: the connection's `submittedBytes` at the end of the request.
  var frameEnd: UInt64 = 0
  /// Why the last attempt failed, for the report when time runs out.
  var lastFailure = ""

  package init(
    _ method: Method, body: [UInt8], kind: Kind, endpoint: Int? = nil, deadline: Instant,
    completion: @escaping (Result<[UInt8], ClientError>) -> Void
  ) {
    self.method = method
    self.body = body
    self.kind = kind
    self.endpoint = endpoint
    self.deadline = deadline
    self.completion = completion
  }

  package var isFinished: Bool { completion == nil }

  package func finish(_ result: Result<[UInt8], ClientError>) {
    guard let completion else { return }
    self.completion = nil
    completion(result)
  }
}
