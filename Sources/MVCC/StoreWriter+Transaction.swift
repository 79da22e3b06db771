// Transactions on the write batch: everything that can be refused is refused first, then it runs as one revision whose
// changes are numbered in order, each operation seeing those before it.
import NeedletailBackend
import NeedletailBytes

extension StoreWriter {
  /// Appends a TxnResponse body to `out`. An error leaves the batch untouched, with one exception: `answerTooLarge` is
  /// thrown when all is done, because only running it shows the size; the changes then stand.
  package func transaction(
    _ batch: WriteBatch, _ transaction: Transaction, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try alarms.check(needsSpace: transaction.putCost > 0)
    beginChange()
    let before = try state(batch)
    var path = try TransactionPath(transaction, in: before, store)
    try transaction.check(&path, in: before, store)
    var run = TransactionRun(mark: out.count, path: path)
    try execute(batch, transaction, &run, into: &out)
    endChange()
    guard !run.isTooLarge else {
      out.truncate(to: run.mark)
      throw .answerTooLarge(limit: store.answerLimit)
    }
    // The revision is known only now.
    var room: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    withUnsafeMutableBytes(of: &room) { bytes in
      guard let scratch = bytes.baseAddress else { return }
      let size = store.header.write(scratch, revision: revision, term: term) - scratch
      TransactionAnswer.insert(size, at: run.mark, in: &out) { $0.copyMemory(from: scratch, byteCount: size) }
    }
  }

  private struct TransactionRun {
    /// Where the answer begins.
    let mark: Int
    var path: TransactionPath
    /// The answer is over its bound: the rest of the operations run without leaving bytes.
    var isTooLarge = false
  }

  private func execute(
    _ batch: WriteBatch, _ transaction: Transaction, _ run: inout TransactionRun, into out: inout OutBuffer
  ) throws(MVCCError) {
    let holds = run.path.next()
    TransactionAnswer.appendBranch(holds, to: &out)
    for operation in holds ? transaction.success : transaction.failure {
      let start = out.count
      let part: TransactionAnswer.Part
      switch operation {
      case .range(let query):
        part = .range
        do throws(MVCCError) { try store.rangePart(try state(batch), query, into: &out) } catch .answerTooLarge {
          run.isTooLarge = true
        }
      case .put(let command):
        part = .put
        try put(batch, command, scope: .part, into: &out)
      case .deleteRange(let command):
        part = .deleteRange
        try deleteRange(batch, command, scope: .part, into: &out)
      case .transaction(let nested):
        part = .transaction
        TransactionAnswer.appendEmptyHeader(to: &out)
        try execute(batch, nested, &run, into: &out)
      case .none: throw .corrupt("an operation of a transaction that is none")
      }
      if out.count - run.mark > store.answerLimit { run.isTooLarge = true }
      if run.isTooLarge { out.truncate(to: start) } else { TransactionAnswer.wrap(part, from: start, in: &out) }
    }
  }
}
