// Which branch each part of a transaction takes, decided for all of it before anything runs: a nested condition sees the
// store as it was before the transaction, as etcd's do.
import NeedletailBackend

/// Branches in the order in which a walk along the chosen ones meets them.
struct TransactionPath {
  private var choices: [Bool] = []
  private var position = 0

  init(_ transaction: Transaction, in state: StoreState, _ store: Store) throws(MVCCError) {
    try choose(transaction, state, store)
  }

  private mutating func choose(
    _ transaction: Transaction, _ state: StoreState, _ store: Store
  ) throws(MVCCError) {
    var holds = true
    for comparison in transaction.comparisons where holds { holds = try comparison.holds(in: state, store) }
    choices.append(holds)
    for case .transaction(let nested) in holds ? transaction.success : transaction.failure {
      try choose(nested, state, store)
    }
  }

  mutating func rewind() { position = 0 }

  /// The choice of the next transaction of the walk.
  mutating func next() -> Bool {
    defer { position += 1 }
    return choices[position]
  }
}

extension Transaction {
  /// What only the store can tell, of the operations that will run: etcd looks at all puts first, then at all ranges.
  func check(_ path: inout TransactionPath, in state: StoreState, _ store: Store) throws(MVCCError) {
    path.rewind()
    try forEachChosen(&path) { (operation) throws(MVCCError) in
      guard case .put(let command) = operation else { return }
      if command.ignoreValue || command.ignoreLease, try state.current.find(command.key) == nil { throw .keyNotFound }
      if command.lease != 0, try !state.hasLease(command.lease) { throw .leaseNotFound }
    }
    path.rewind()
    try forEachChosen(&path) { (operation) throws(MVCCError) in
      guard case .range(let query) = operation, query.revision != 0 else { return }
      guard query.revision <= Int64(clamping: state.revision) else { throw .futureRevision }
      // Before the first compaction, which may be one to 0, etcd has -1 here.
      var first = Int64(clamping: state.compacted)
      if first == 0, try !state.meta.wasCompactedToZero() { first = -1 }
      guard query.revision >= first else { throw .compacted }
    }
    path.rewind()
  }

  private func forEachChosen(
    _ path: inout TransactionPath, _ body: (Operation) throws(MVCCError) -> Void
  ) throws(MVCCError) {
    for operation in path.next() ? success : failure {
      if case .transaction(let nested) = operation {
        try nested.forEachChosen(&path, body)
      } else {
        try body(operation)
      }
    }
  }
}
