// A transaction as it was asked for: conditions, and what to do when they hold and when they don't.
import NeedletailBackend

package struct Transaction {
  package enum Operation {
    case range(RangeQuery)
    case put(PutCommand)
    case deleteRange(DeleteRangeCommand)
    case transaction(Transaction)
    /// An operation that names none of the four: refused.
    case none
  }

  package var comparisons: [Comparison] = []
  package var success: [Operation] = []
  package var failure: [Operation] = []

  package init() {}

  /// True where neither branch can change anything.
  package var isReadOnly: Bool {
    (success + failure).allSatisfy { operation in
      switch operation {
      case .range: true
      case .transaction(let nested): nested.isReadOnly
      case .put, .deleteRange, .none: false
      }
    }
  }

  /// What a quota counts of a put: etcd's estimate.
  package static func cost(of command: PutCommand) -> Int { 256 + command.key.count + command.value.count }

  /// The same of the costlier branch. Puts of nested transactions count too, where etcd overlooks them.
  package var putCost: Int { max(Transaction.putCost(success), Transaction.putCost(failure)) }

  private static func putCost(_ operations: [Operation]) -> Int {
    operations.reduce(0) { sum, operation in
      switch operation {
      case .put(let command): sum + cost(of: command)
      case .transaction(let nested): sum + nested.putCost
      case .range, .deleteRange, .none: sum
      }
    }
  }

  /// What can be refused without looking at the store, in etcd's order: sizes and fields first, then keys that are
  /// changed twice. `operationsMax` is the budget of the longest list; nested ones share what is left of it.
  package func validate(operationsMax: Int, keyLimit: Int) throws(MVCCError) {
    try checkFields(operationsMax, keyLimit)
    _ = try ChangedKeys(success)
    _ = try ChangedKeys(failure)
  }

  private func checkFields(_ operationsMax: Int, _ keyLimit: Int) throws(MVCCError) {
    let longest = max(comparisons.count, success.count, failure.count)
    guard longest <= operationsMax else { throw .tooManyOperations }
    for comparison in comparisons where comparison.key.count == 0 { throw .keyNotProvided }
    for branch in [success, failure] {
      for operation in branch {
        switch operation {
        case .range(let query):
          guard query.key.count > 0 else { throw .keyNotProvided }
          guard query.hasValidSort else { throw .invalidSortOption }
        case .put(let command): try command.validate(keyLimit: keyLimit)
        case .deleteRange(let command): try command.validate()
        case .transaction(let nested): try nested.checkFields(operationsMax - longest, keyLimit)
        case .none: throw .keyNotFound
        }
      }
    }
  }
}

/// The keys that a list of operations puts, and those that it deletes; made only where no key is put twice, or put and
/// deleted. The rules are etcd's: the two branches of one nested transaction exclude each other and may share keys, and
/// a nested transaction may delete what an earlier one has put, but not put what an earlier one deletes.
private struct ChangedKeys {
  private(set) var puts: Set<PinnedKey> = []
  private(set) var deletes = DeletedKeys()

  init(_ operations: [Transaction.Operation]) throws(MVCCError) {
    // This level's deletes come first: puts of lower levels must not meet them.
    for case .deleteRange(let command) in operations { deletes.insert(command) }
    deletes.prepare()
    for case .transaction(let nested) in operations {
      let success = try ChangedKeys(nested.success)
      let failure = try ChangedKeys(nested.failure)
      for key in success.puts { try add(key) }
      for key in failure.puts where !success.puts.contains(key) { try add(key) }
      deletes.formUnion(success.deletes)
      deletes.formUnion(failure.deletes)
    }
    for case .put(let command) in operations { try add(PinnedKey(bytes: command.key)) }
  }

  private mutating func add(_ key: PinnedKey) throws(MVCCError) {
    guard !deletes.contains(key.bytes), puts.insert(key).inserted else { throw .duplicateKey }
  }
}

/// Intervals of keys, sorted by where they begin; beside each the farthest end of all up to it, so that a lookup is one
/// binary search.
private struct DeletedKeys {
  private struct Interval {
    var begin: UnsafeRawBufferPointer
    var end: End
  }

  /// The first key behind, or the last key inside.
  private struct End {
    var bytes: UnsafeRawBufferPointer
    var isInside: Bool

    func isBefore(_ other: End) -> Bool {
      let order = compareBytes(bytes, other.bytes)
      return order != 0 ? order < 0 : !isInside && other.isInside
    }

    func covers(_ key: UnsafeRawBufferPointer) -> Bool {
      let order = compareBytes(key, bytes)
      return isInside ? order <= 0 : order < 0
    }
  }

  private var intervals: [Interval] = []
  private var reach: [End] = []

  /// etcd reads the end as plain bytes here: one that stands for "no end" (a zero byte) meets no key, so that such a
  /// delete goes together with any put.
  mutating func insert(_ command: DeleteRangeCommand) {
    let isPoint = command.rangeEnd.count == 0
    guard isPoint || compareBytes(command.key, command.rangeEnd) < 0 else { return }
    intervals.append(
      Interval(
        begin: command.key, end: End(bytes: isPoint ? command.key : command.rangeEnd, isInside: isPoint)))
  }

  /// After the last `insert`, before `contains` and `formUnion`.
  mutating func prepare() {
    intervals.sort { compareBytes($0.begin, $1.begin) < 0 }
    findReach()
  }

  mutating func formUnion(_ other: DeletedKeys) {
    guard !other.intervals.isEmpty else { return }
    var merged: [Interval] = []
    merged.reserveCapacity(intervals.count + other.intervals.count)
    var rest = other.intervals[...]
    for interval in intervals {
      while let first = rest.first, compareBytes(first.begin, interval.begin) < 0 {
        merged.append(first)
        rest.removeFirst()
      }
      merged.append(interval)
    }
    intervals = merged + rest
    findReach()
  }

  func contains(_ key: UnsafeRawBufferPointer) -> Bool {
    var low = 0
    var high = intervals.count
    while low < high {
      let middle = (low + high) / 2
      if compareBytes(intervals[middle].begin, key) <= 0 { low = middle + 1 } else { high = middle }
    }
    return low > 0 && reach[low - 1].covers(key)
  }

  private mutating func findReach() {
    reach.removeAll(keepingCapacity: true)
    for interval in intervals {
      guard let last = reach.last, !last.isBefore(interval.end) else {
        reach.append(interval.end)
        continue
      }
      reach.append(last)
    }
  }
}
