// What clients ask of a store, and what they are answered. Keys, values and leases are numbers of `StoreNames`; keys are
// numbered in their order, so that a range of keys is a range of numbers.

/// A key's pair as an answer shows it.
struct ObservedPair: Equatable {
  var key: Int
  /// nil where only keys were asked for.
  var value: Int32?
  var create: Int64
  var mod: Int64
  var version: Int64
  /// nil: none.
  var lease: Int?
}

struct RangeQuery {
  var keys: Range<Int>
  /// nil: as it is now.
  var revision: Int64?
  /// 0: all.
  var limit = 0
  var isCountOnly = false
  var isKeysOnly = false
}

struct RangeResult: Equatable {
  var count: Int64
  var pairs: [ObservedPair]
}

struct StoreComparison {
  enum Target { case value(Int32), create(Int64), mod(Int64), version(Int64), lease(Int?) }
  enum Relation { case equal, notEqual, less, greater }

  var key: Int
  var target: Target
  var relation: Relation
}

/// An operation of a transaction, or one by itself.
enum StoreAction {
  case put(key: Int, value: Int32, lease: Int?)
  case delete(Range<Int>)
  case range(RangeQuery)
}

enum StoreRequest {
  case single(StoreAction)
  case transaction(comparisons: [StoreComparison], success: [StoreAction], failure: [StoreAction])
  case compact(Int64)
  case grant(lease: Int, ttl_ns: Int64)
  case revoke(lease: Int)
  /// The store's own: no client asks for it.
  case expire(lease: Int)
  case keepAlive(lease: Int)
  case timeToLive(lease: Int)
}

/// What became of an action: the pair a put replaced, the pairs that were deleted, what was found.
enum ActionResult {
  case put(previous: Reported<ObservedPair?>)
  case delete(count: Int64, previous: Reported<[ObservedPair]>)
  case range(RangeResult)
}

/// What an answer says only if it was asked to.
enum Reported<Value> {
  case not
  case yes(Value)
}

enum StoreRefusal: String, Error {
  case compacted
  case futureRevision = "future-revision"
  case leaseNotFound = "lease-not-found"
  case leaseExists = "lease-exists"
}

enum StoreAnswer {
  /// `revision` is the one in the answer's header; nil where it was not recorded.
  case single(ActionResult, revision: Int64?)
  case transaction(succeeded: Bool, [ActionResult], revision: Int64?)
  /// Of a compaction, a grant or a revocation.
  case done(revision: Int64?)
  /// Of a keep-alive: the lease lives, for so long.
  case kept(ttl_ns: Int64)
  /// Of a keep-alive or a time-to-live: there is no such lease, or it is running out at the moment.
  case gone
  case lives(keys: [Int]?)
  case refused(StoreRefusal)

  var revision: Int64? {
    switch self {
    case .single(_, let revision), .transaction(_, _, let revision), .done(let revision): revision
    case .kept, .gone, .lives, .refused: nil
    }
  }
}
