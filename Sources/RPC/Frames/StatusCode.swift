// gRPC's status codes, which the native protocol uses too, and etcd's errors: clients tell them by code and text.

/// The result of a request.
public enum StatusCode: UInt32, Sendable, CaseIterable {
  case ok = 0
  case cancelled = 1
  case unknown = 2
  case invalidArgument = 3
  case deadlineExceeded = 4
  case notFound = 5
  case alreadyExists = 6
  case permissionDenied = 7
  case resourceExhausted = 8
  case failedPrecondition = 9
  case aborted = 10
  case outOfRange = 11
  case unimplemented = 12
  case `internal` = 13
  case unavailable = 14
  case dataLoss = 15
  case unauthenticated = 16

  /// gRPC's name of the code, as etcdctl prints it.
  public var name: String {
    switch self {
    case .ok: "OK"
    case .cancelled: "Canceled"
    case .unknown: "Unknown"
    case .invalidArgument: "InvalidArgument"
    case .deadlineExceeded: "DeadlineExceeded"
    case .notFound: "NotFound"
    case .alreadyExists: "AlreadyExists"
    case .permissionDenied: "PermissionDenied"
    case .resourceExhausted: "ResourceExhausted"
    case .failedPrecondition: "FailedPrecondition"
    case .aborted: "Aborted"
    case .outOfRange: "OutOfRange"
    case .unimplemented: "Unimplemented"
    case .internal: "Internal"
    case .unavailable: "Unavailable"
    case .dataLoss: "DataLoss"
    case .unauthenticated: "Unauthenticated"
    }
  }
}

/// A request's failure as it goes over the wire: a code and a text.
public struct StatusError: Error, Equatable, Sendable, CustomStringConvertible {
  public let code: StatusCode
  public let message: String

  public init(_ code: StatusCode, _ message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}

/// etcd's texts, word for word: its clients compare them.
extension StatusError {
  public static let emptyKey = StatusError(.invalidArgument, "etcdserver: key is not provided")
  public static let keyNotFound = StatusError(.invalidArgument, "etcdserver: key not found")
  public static let valueProvided = StatusError(.invalidArgument, "etcdserver: value is provided")
  public static let leaseProvided = StatusError(.invalidArgument, "etcdserver: lease is provided")
  public static let invalidSortOption = StatusError(.invalidArgument, "etcdserver: invalid sort option")
  public static let requestTooLarge = StatusError(.invalidArgument, "etcdserver: request is too large")
  public static let compacted = StatusError(
    .outOfRange, "etcdserver: mvcc: required revision has been compacted")
  public static let futureRevision = StatusError(
    .outOfRange, "etcdserver: mvcc: required revision is a future revision")
  public static let noSpace = StatusError(
    .resourceExhausted, "etcdserver: mvcc: database space exceeded")
  public static let leaseNotFound = StatusError(.notFound, "etcdserver: requested lease not found")
  public static let tooManyRequests = StatusError(.unknown, "etcdserver: too many requests")
  public static let tooManyLargeRanges = StatusError(
    .resourceExhausted, "needletail: too many large ranges are being sent")
  public static let outOfMemory = StatusError(.resourceExhausted, "needletail: out of memory")
  public static let noLeader = StatusError(.unavailable, "etcdserver: no leader")
  public static let stopped = StatusError(.unavailable, "etcdserver: server stopped")
  public static let timedOut = StatusError(.unavailable, "etcdserver: request timed out")
  public static let corrupt = StatusError(.dataLoss, "etcdserver: corrupt cluster")
  public static let memberNotFound = StatusError(.notFound, "etcdserver: member not found")
  public static let badMemberURLs = StatusError(.invalidArgument, "etcdserver: given member URLs are invalid")
  public static let peerURLExists = StatusError(.failedPrecondition, "etcdserver: Peer URLs already exists")
  public static let memberNotLearner = StatusError(
    .failedPrecondition, "etcdserver: can only promote a learner member")
  public static let notEnoughStarted = StatusError(
    .unknown, "etcdserver: re-configuration failed due to not enough started members")
  public static let badLeaderTransferee = StatusError(
    .failedPrecondition, "etcdserver: bad leader transferee")
  public static let cancelled = StatusError(.cancelled, "context canceled")
  public static let deadlineExceeded = StatusError(.deadlineExceeded, "context deadline exceeded")

  // Of the recipes that etcd's server runs with a client of its own: all of them are Unknown.
  public static let sessionExpired = StatusError(.unknown, "mutex: session is expired")
  public static let notLeader = StatusError(.unknown, "election: not leader")
  public static let noElectionLeader = StatusError(.unknown, "election: no leader")
  public static let missingLeaderKey = StatusError(.unknown, "\"leader\" field must be provided")
}
