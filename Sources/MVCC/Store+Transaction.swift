// Transactions that change nothing run where reads do, on a pinned snapshot.
import NeedletailBackend
import NeedletailBytes

extension Store {
  /// Appends a TxnResponse body. For transactions that `isReadOnly`, and were found valid. On an error nothing is left
  /// behind in `out`.
  package func readTransaction(
    _ view: SnapshotView, _ transaction: Transaction, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    let state = state(view)
    var path = try TransactionPath(transaction, in: state, self)
    try transaction.check(&path, in: state, self)
    let mark = out.count
    let start = out.reserve(AnswerHeader.maxSize)
    out.advance(header.write(start, revision: state.revision, term: term) - start)
    do { try run(transaction, &path, state, from: mark, into: &out) } catch {
      out.truncate(to: mark)
      throw error
    }
  }

  private func run(
    _ transaction: Transaction, _ path: inout TransactionPath, _ state: StoreState, from mark: Int,
    into out: inout OutBuffer
  ) throws(MVCCError) {
    let holds = path.next()
    TransactionAnswer.appendBranch(holds, to: &out)
    for operation in holds ? transaction.success : transaction.failure {
      let start = out.count
      switch operation {
      case .range(let query):
        try rangePart(state, query, into: &out)
        TransactionAnswer.wrap(.range, from: start, in: &out)
      case .transaction(let nested):
        TransactionAnswer.appendEmptyHeader(to: &out)
        try run(nested, &path, state, from: mark, into: &out)
        TransactionAnswer.wrap(.transaction, from: start, in: &out)
      case .put, .deleteRange, .none: throw .corrupt("a change in a transaction that only reads")
      }
      guard out.count - mark <= answerLimit else { throw .answerTooLarge(limit: answerLimit) }
    }
  }
}
