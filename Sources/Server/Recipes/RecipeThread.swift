// Locks and elections on behalf of clients: etcd's recipes, run by one thread for all callers. A caller that must wait costs
// a record and two watches, its own key's and that of the key before, and no thread.
//
// The rules that make it right:
//   - A place is taken by one transaction, and held as long as its key has the create revision that it got there. Whether it
//     is the first is read from a view that is no older than that transaction's answer, and own key and predecessor from the
//     same view: who is told that it owns the name did so at one moment after its call began.
//   - A watch begins at the revision behind the view that showed its key to be there, so that no deletion falls between.
//   - Only the last of those before is watched: one that goes wakes one.
//   - A place whose caller has gone is given up, unless another call of the same lease stands in it too.
//
// Everything comes through the inbox: requests from reactors, the answers to its own proposals, and the hub's events, which
// `RecipeSink` tells by the reactor's number in the address.
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import Synchronization

/// Sendable: the inbox and the counters are made for it; the rest belongs to the thread from `start` until `stop` joined it.
package final class RecipeThread: @unchecked Sendable {
  /// In addresses, where answers come to this thread.
  static let reactor = UInt16.max
  /// TTL in seconds of a lease that a caller left open.
  static let leaseTTL: Int64 = 60
  /// Calls that wait, and bytes of what they ask.
  private static let callsMax = 1 << 17
  private static let bytesMax = 64 << 20
  /// How long until what was refused for want of room is tried again.
  private static let retry_ms: Int32 = 100

  enum Message: Sendable {
    case begin(RecipeRequest, ReplyAddress)
    case observe(name: [UInt8], ResponseStream)
    /// The caller gives up.
    case cancel(CallName)
    /// Its connection is gone.
    case lost(CallName.Connection)
    case answered(call: UInt32, status: UInt32, body: [UInt8])
    case delivered(StreamDelivery)
    case drained(ResponseStream)
    case closed(ResponseStream)
    case stop
  }

  enum Target {
    case own(RecipeCall)
    case predecessor(RecipeCall)
    case observer(LeaderObserver)
  }

  let store: Store
  private let status: NodeStatus
  let sink: any ReplySink
  private let latch: Latch
  let logger: Logger
  private let inbox: Inbox<Message>
  private var thread: Thread?
  private var isStopping = false
  let callCount = Atomic<Int>(0)
  let byteCount = Atomic<Int>(0)
  /// Set before `start`; the node cuts it when it stops, because they hold each other.
  var server: KVServer?

  // The thread's own.
  var reader: ReaderHandle?
  var calls: [UInt32: RecipeCall] = [:]
  private var lastNumber: UInt32 = 0
  /// Those that can be given up, as the faces name them.
  var patient: [CallName.Connection: [UInt32: RecipeCall]] = [:]
  /// How many calls stand in a place, by its key.
  var users: [[UInt8]: Int] = [:]
  /// Places being given up, by the number that the answer comes for; and those to be tried again.
  var leaving: [UInt32: QueuePlace] = [:]
  var retries: [QueuePlace] = []
  var observers: [ObjectIdentifier: LeaderObserver] = [:]
  /// All watches are on one stream of the hub, taken off it as they come.
  let watchStream: ResponseStream
  var targets: [Int64: Target] = [:]
  var lastWatch: Int64 = 0
  /// Watches that the hub has not answered for: it does so in their order.
  var creating: [Int64] = []
  var outbox: [UInt16: StreamDelivery] = [:]

  init(
    _ store: Store, _ inbox: Inbox<Message>, status: NodeStatus, sink: any ReplySink, latch: Latch, logger: Logger
  ) {
    self.store = store
    self.inbox = inbox
    self.status = status
    self.sink = sink
    self.latch = latch
    self.logger = logger
    watchStream = ResponseStream(RecipeThread.address(0))
  }

  package func start() throws(ServerError) {
    thread = try Thread("recipes") { self.run() }
  }

  /// Who waits is told that the server stops; places stay, as their leases do.
  package func stop() {
    inbox.post(.stop)
    thread?.join()
  }

  // MARK: Any thread

  func begin(_ request: RecipeRequest, reply: ReplyAddress) throws(StatusError) {
    guard callCount.load(ordering: .relaxed) < RecipeThread.callsMax,
      byteCount.load(ordering: .relaxed) + request.byteCount <= RecipeThread.bytesMax
    else { throw StatusError.tooManyRequests }
    callCount.wrappingAdd(1, ordering: .relaxed)
    byteCount.wrappingAdd(request.byteCount, ordering: .relaxed)
    inbox.post(.begin(request, reply))
  }

  func post(_ message: Message) { inbox.post(message) }

  // MARK: The thread

  private func run() {
    do { reader = try store.database.makeReader() } catch { return latch.fail("recipes: \(error)") }
    defer { reader?.free() }
    while !isStopping {
      inbox.wait(atMost_ms: retries.isEmpty ? -1 : RecipeThread.retry_ms)
      for message in inbox.takeAll() { handle(message) }
      leaveAgain()
      flush()
    }
    endAll()
    flush()
  }

  private func handle(_ message: Message) {
    switch message {
    case .begin(let request, let address): begin(RecipeCall(nextNumber(), request, address))
    case .observe(let name, let stream): observe(name, stream)
    case .cancel(let name):
      if let call = patient[name.connection]?[name.stream] { abandon(call, .cancelled) }
    case .lost(let connection):
      for call in (patient[connection] ?? [:]).values { abandon(call, .cancelled) }
    case .answered(let number, let status, let body): answered(number, status, body)
    case .delivered(let delivery): take(delivery)
    case .drained(let stream): drained(stream)
    case .closed(let stream): closed(stream)
    case .stop: isStopping = true
    }
  }

  private func endAll() {
    server?.watch.post(.closed(watchStream))
    for call in Array(calls.values) where !call.isAbandoned { answer(call, .stopped) }
    for observer in Array(observers.values) { end(observer, .stopped) }
  }

  /// Where its own proposals' answers come.
  static func address(_ number: UInt32) -> ReplyAddress {
    ReplyAddress(
      reactor: reactor, method: Method.txn.rawValue, slot: 0, generation: 0, stream: number, startedAt_ns: 0)
  }

  func nextNumber() -> UInt32 {
    repeat { lastNumber &+= 1 } while lastNumber == 0 || calls[lastNumber] != nil || leaving[lastNumber] != nil
    return lastNumber
  }

  /// Runs `body` on a view of everything that was answered so far.
  func withView<R>(_ body: (SnapshotView) throws(StatusError) -> R) throws(StatusError) -> R {
    guard let reader else { throw StatusError.stopped }
    let view = reader.pin()
    defer { reader.unpin() }
    return try body(view)
  }

  func header(_ view: SnapshotView) -> ResponseHeader {
    ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID,
      revision: Int64(clamping: view.word(StoreWord.revision)), raftTerm: status.term.load(ordering: .relaxed))
  }
}
