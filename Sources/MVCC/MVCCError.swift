// Every way a request can fail in this layer, with etcd's code and text: clients map errors by the text.
import NeedletailBackend

package enum MVCCError: Error, Equatable, Sendable {
  case keyNotProvided
  case keyTooLong(limit: Int)
  case valueProvided
  case leaseProvided
  case keyNotFound
  case leaseNotFound
  case leaseExists
  case leaseTTLTooLarge
  case invalidSortOption
  case tooManyOperations
  case duplicateKey
  case requestTooLarge
  case futureRevision
  case compacted
  /// The answer would not fit the bound of one message.
  case answerTooLarge(limit: Int)
  /// All sorted ranges together may hold no more.
  case sortTooLarge(limit: Int)
  /// The NOSPACE alarm is raised.
  case noSpace
  /// The CORRUPT alarm is raised.
  case corruptCluster
  /// Bytes in the store that no writer of this format produces.
  case corrupt(String)
  case unknownFormat(UInt64)
  case storage(DatabaseError)

  /// gRPC status code.
  package var code: UInt32 {
    switch self {
    case .keyNotProvided, .keyTooLong, .valueProvided, .leaseProvided, .keyNotFound, .invalidSortOption,
      .tooManyOperations, .duplicateKey, .requestTooLarge:
      3  // InvalidArgument
    case .leaseNotFound: 5  // NotFound
    case .leaseExists: 9  // FailedPrecondition
    case .futureRevision, .compacted, .leaseTTLTooLarge: 11  // OutOfRange
    case .answerTooLarge, .sortTooLarge, .noSpace: 8  // ResourceExhausted
    case .corrupt, .unknownFormat, .corruptCluster: 15  // DataLoss
    case .storage: 14  // Unavailable
    }
  }

  package var message: String {
    switch self {
    case .keyNotProvided: "etcdserver: key is not provided"
    case .keyTooLong(let limit): "etcdserver: request is too large: the key is longer than \(limit) bytes"
    case .valueProvided: "etcdserver: value is provided"
    case .leaseProvided: "etcdserver: lease is provided"
    case .keyNotFound: "etcdserver: key not found"
    case .leaseNotFound: "etcdserver: requested lease not found"
    case .leaseExists: "etcdserver: lease already exists"
    case .leaseTTLTooLarge: "etcdserver: too large lease TTL"
    case .invalidSortOption: "etcdserver: invalid sort option"
    case .tooManyOperations: "etcdserver: too many operations in txn request"
    case .duplicateKey: "etcdserver: duplicate key given in txn request"
    case .requestTooLarge: "etcdserver: request is too large"
    case .futureRevision: "etcdserver: mvcc: required revision is a future revision"
    case .compacted: "etcdserver: mvcc: required revision has been compacted"
    case .answerTooLarge(let limit): "needletail: the answer is larger than \(limit) bytes; ask with a limit"
    case .sortTooLarge(let limit): "needletail: sorted ranges would hold more than \(limit) bytes; ask with a limit"
    case .noSpace: "etcdserver: mvcc: database space exceeded"
    case .corruptCluster: "etcdserver: corrupt cluster"
    case .corrupt(let what): "etcdserver: corrupt store: \(what)"
    case .unknownFormat(let format): "needletail: the store has MVCC format \(format), which this version cannot read"
    case .storage(let error): "etcdserver: storage error: \(error)"
    }
  }

  /// True where the store itself is broken: the writer must stop rather than answer and go on.
  package var isFatal: Bool {
    switch self {
    case .corrupt, .unknownFormat, .storage: true
    default: false
    }
  }
}

extension MVCCError: CustomStringConvertible {
  package var description: String { message }
}
