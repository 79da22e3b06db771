// Requests of the KV service, decoded, whichever face they came from. Reads run where they are called, on a view that the
// caller has pinned; writes are judged as far as that needs no store, then proposed.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// Immutable, shared by all reactors.
package final class KVServer: Sendable {
  package let store: Store
  package let status: NodeStatus
  let leases: LeaseThread
  private let consensus: any Consensus
  private let snapshots: SnapshotService
  let hashes: HashService
  let quota: Quota
  let watch: WatchHub
  let recipes: RecipeThread
  private let checkpoints: CheckpointTrigger
  let member: MemberOptions
  private let requestLimit: Int
  private let txnOperationsMax: Int

  package init(
    _ store: Store, status: NodeStatus, consensus: any Consensus, leases: LeaseThread, snapshots: SnapshotService,
    watch: WatchHub, hashes: HashService, recipes: RecipeThread, checkpoints: CheckpointTrigger, member: MemberOptions,
    quota: Quota, requestLimit: Int, txnOperationsMax: Int
  ) {
    self.recipes = recipes
    self.checkpoints = checkpoints
    self.member = member
    self.leases = leases
    self.txnOperationsMax = txnOperationsMax
    self.store = store
    self.status = status
    self.consensus = consensus
    self.snapshots = snapshots
    self.hashes = hashes
    self.quota = quota
    self.watch = watch
    self.requestLimit = requestLimit
  }

  /// A reader slot for one thread; the caller frees it.
  package func makeReader() throws(ServerError) -> ReaderHandle {
    do { return try store.database.makeReader() } catch { throw .database(error) }
  }

  /// Appends a RangeResponse body. On one node every view holds all that was acknowledged before it was pinned, because
  /// answers follow publication: linearizable and serializable reads are the same. One whose answer is larger than what is
  /// built at once throws `largeAnswer`, and `rangeStream` gives it: the way of all others knows nothing of it.
  package func range(
    _ view: SnapshotView, _ request: RangeRequestView, cuts: UnsafeMutablePointer<FrameCuts>? = nil,
    into out: inout OutBuffer
  ) throws(StatusError) {
    guard var query = RangeQuery(request) else { throw invalid(request) }
    query.cuts = cuts
    query.term = status.term.load(ordering: .relaxed)
    do { try store.range(view, query, into: &out) } catch { throw refusal(of: query, error) }
  }

  /// No answer to anybody.
  package static let largeAnswer = StatusError(.internal, "needletail: an answer in pieces")

  @inline(never)
  private func refusal(of query: RangeQuery, _ error: MVCCError) -> StatusError {
    guard case .answerTooLarge(let limit) = error, limit < store.answerLimit else {
      return StatusError(error)
    }
    return KVServer.largeAnswer
  }

  /// A range in pieces, on a snapshot of its own. As messages of their own only in the order of keys.
  package func rangeStream(
    _ request: RangeRequestView, _ form: RangeStream.Form
  ) throws(StatusError) -> RangeStream {
    guard var query = RangeQuery(request) else { throw invalid(request) }
    guard query.target == .key || form == .measured else { throw StatusError.invalidSortOption }
    query.term = status.term.load(ordering: .relaxed)
    let reader: ReaderHandle
    do { reader = try store.database.makeReader() } catch { throw StatusError.tooManyLargeRanges }
    do { return try RangeStream(store, reader, query, form) } catch { throw StatusError(error) }
  }

  private func invalid(_ request: RangeRequestView) -> StatusError {
    request.key.isEmpty ? StatusError.emptyKey : StatusError.invalidSortOption
  }

  /// Judges a put and proposes it; `body` is the request message. The answer comes through the reply sink.
  package func put(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: PutRequestView
    do { request = try PutRequestView(body) } catch { throw malformed("PutRequest", error) }
    let command = PutCommand(request)
    do throws(MVCCError) { try command.validate(keyLimit: store.keyLimit) } catch { throw StatusError(error) }
    guard try admit(Transaction.cost(of: command), reply: reply) else { return }
    try propose(.put, body, reply)
  }

  /// Judges a delete and proposes it.
  package func deleteRange(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: DeleteRangeRequestView
    do { request = try DeleteRangeRequestView(body) } catch { throw malformed("DeleteRangeRequest", error) }
    do { try DeleteRangeCommand(request).validate() } catch { throw StatusError(error) }
    _ = try admit(0, reply: reply)
    try propose(.deleteRange, body, reply)
  }

  /// Judges a transaction. One that only reads is answered from the view that `pin` gives: its TxnResponse is appended
  /// and this is true. Any other is proposed, and this is false.
  package func txn(
    _ body: UnsafeRawBufferPointer, pin: () -> SnapshotView, reply: ReplyAddress, into out: inout OutBuffer
  ) throws(StatusError) -> Bool {
    let transaction: Transaction
    do { transaction = try Transaction(parsing: body) } catch .nestedTooDeeply {
      // Deeper than any budget of operations reaches.
      throw StatusError(MVCCError.tooManyOperations)
    } catch {
      throw malformed("TxnRequest", error)
    }
    do throws(MVCCError) {
      try transaction.validate(operationsMax: txnOperationsMax, keyLimit: store.keyLimit)
      if transaction.isReadOnly {
        let term = status.term.load(ordering: .relaxed)
        try store.readTransaction(pin(), transaction, term: term, into: &out)
        return true
      }
    } catch { throw StatusError(error) }
    if try admit(transaction.putCost, reply: reply) { try propose(.txn, body, reply) }
    return false
  }

  /// Judges a compaction as far as that needs no store, which is not at all, and proposes it.
  package func compact(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    do { _ = try CompactionRequestView(body) } catch { throw malformed("CompactionRequest", error) }
    _ = try admit(0, reply: reply)
    try propose(.compact, body, reply)
  }

  /// Reads some bytes of a snapshot of the store; `body` is the request message. The answer comes through the reply sink.
  package func snapshot(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    try snapshots.read(body, reply: reply)
  }

  /// Reads the next bytes of a snapshot in etcd's form: the file, and behind it zeros up to a multiple of 512 and the SHA-256
  /// of all that. Its parts are asked for in order.
  package func sealedSnapshot(_ request: SnapshotRequest, reply: ReplyAddress) throws(StatusError) {
    try snapshots.read(request, isSealed: true, reply: reply)
  }

  /// Nobody wants the rest of a snapshot that was asked for, or would have been next.
  package func finishSnapshot(_ request: SnapshotRequest) {
    guard request.snapshotID != 0 else { return }
    snapshots.letGo(request)
  }

  /// Gives free space back to the file system, as far as nobody needs it. The answer, which is empty as etcd's, comes
  /// through the reply sink.
  package func defragment(reply: ReplyAddress) throws(StatusError) { try checkpoints.askToShrink(reply: reply) }

  /// The size is judged last, as in etcd: who sends what is wrong besides hears of that.
  func propose(
    _ tag: CommandTag, _ body: UnsafeRawBufferPointer, _ reply: ReplyAddress?
  ) throws(StatusError) {
    guard Command.headSize + body.count <= requestLimit else { throw StatusError.requestTooLarge }
    try consensus.propose(tag, body, reply: reply)
  }

  func malformed(_ message: String, _ error: ProtoError) -> StatusError {
    StatusError(.invalidArgument, "needletail: malformed \(message): \(error)")
  }
}
