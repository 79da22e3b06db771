// One member: its directory, tree, log and threads, put together, started and stopped in the right order.
import Glibc
import Logging
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC
import NeedletailWAL

package typealias PageStoreMaker = @Sendable () throws(DatabaseError) -> any PageStore

package struct NodeOptions: Sendable {
  package var dataDirectory: String
  /// Where the log lies, if not in the data directory.
  package var walDirectory: String?
  package var database = DatabaseOptions()
  package var log = WALOptions()
  /// Another disk beneath the log, in tests.
  package var makeLogDevice: LogDeviceMaker?
  /// Another store beneath the tree, in tests.
  package var makePageStore: PageStoreMaker?
  package var checkpoint = CheckpointOptions()
  package var apply = ApplyOptions()
  package var leases = LeaseOptions()
  package var autoCompaction = AutoCompactionOptions()
  package var singleNode = SingleNodeOptions()
  package var snapshots = SnapshotOptions()
  package var watch = WatchOptions()
  package var scrub = ScrubOptions()
  package var quota = QuotaOptions()
  package var member = MemberOptions()
  /// Bound of one request in bytes; etcd's default.
  package var requestLimit = 1_572_864
  /// Most operations of one transaction; etcd's default.
  package var txnOperationsMax = 128
  /// Bound of one answer in bytes.
  package var answerLimit = 1 << 30
  /// A range whose answer is larger is sent in pieces.
  package var inlineAnswerLimit = 4 << 20

  package init(dataDirectory: String) {
    self.dataDirectory = dataDirectory
  }
}

/// Sendable: opened, started and stopped by one thread; what others use is `server` and `status`.
package final class Node: @unchecked Sendable {
  package let directory: DataDirectory
  package let database: Database
  package let store: Store
  package let status: NodeStatus
  package let server: KVServer
  package let latch: Latch
  package let replayedEntries: UInt64
  private let singleNode: SingleNode
  private let apply: ApplyThread
  private let checkpoints: CheckpointTrigger
  private let checkpointsAfterReplay: Bool
  private let checkpointThread: CheckpointThread
  private let autoCompaction: AutoCompactionThread
  private let leases: LeaseThread
  private let snapshots: SnapshotService
  private let hashes: HashService
  package let quota: Quota
  package let watch: WatchHub
  private let recipes: RecipeThread
  private let scrub: ScrubThread

  /// Takes the directory's lock, opens the tree, and brings it up to the end of the log: when this returns, reads see
  /// every write that was ever acknowledged. `onFailure` is called once if the node can't go on; the process should
  /// then exit with a status other than 0.
  package init(
    _ options: NodeOptions, sink: any ReplySink, logger: Logger, onFailure: @escaping @Sendable (String) -> Void
  ) throws(ServerError) {
    directory = try DataDirectory(options.dataDirectory, log: options.walDirectory)
    do { database = try Node.openDatabase(directory.databasePath, options) } catch { throw .database(error) }
    let recovered: Recovered
    do throws(ServerError) {
      recovered = try Node.recover(directory, database, options)
    } catch {
      // The file's lock must not outlive the failure.
      database.close()
      throw error
    }
    let (start, applier, opened) = (recovered.start, recovered.applier, recovered.opened)
    store = recovered.store
    replayedEntries = recovered.replayed
    if let torn = opened.report.torn {
      logger.warning(
        "the write-ahead log had a torn tail, never acknowledged: cut, and kept aside",
        metadata: ["copy": "\(torn.copy)", "bytes": "\(torn.length)", "why": "\(torn.reason)"])
    }

    status = NodeStatus(term: max(1, start.term), applied: opened.lastIndex)
    status.checkpointed.store(database.durableWords[StoreWord.appliedIndex], ordering: .relaxed)
    let status = status
    let inbox = try Inbox<RecipeThread.Message>()
    let sink = RecipeSink(sink, inbox)
    latch = Latch(logger) { reason in
      // Nothing more is taken: it could not be answered.
      status.isStopping.store(true, ordering: .releasing)
      onFailure(reason)
    }
    checkpoints = CheckpointTrigger(options.checkpoint)
    checkpointsAfterReplay = options.checkpoint.afterReplay
    quota = Quota(options.quota, used: applier.bytesInUse)
    do { status.alarms.show(try applier.alarms()) } catch { throw .store(error) }
    apply = ApplyThread(
      applier, status: status, sink: sink, latch: latch, checkpoints: checkpoints, quota: quota,
      options: options.apply, logger: logger)
    singleNode = try SingleNode(
      opened.log, lastIndex: opened.lastIndex, options: options.singleNode, status: status,
      apply: apply, sink: sink, latch: latch, logger: logger)
    let node = singleNode
    let physicalCompactions = applier.physicalCompactions
    checkpointThread = CheckpointThread(
      database, trigger: checkpoints, status: status, sink: sink, latch: latch, logger: logger,
      released: { physicalCompactions.release(through: $0, sink) }
    ) { node.recycleSoon() }
    autoCompaction = AutoCompactionThread(
      store, consensus: singleNode, options: options.autoCompaction, logger: logger)
    leases = try LeaseThread(
      store, status: status, consensus: singleNode, sink: sink, latch: latch, options: options.leases, logger: logger)
    apply.leases = leases
    // An entry must fit a segment.
    let requestLimit = min(options.requestLimit, opened.log.maximumPayload)
    scrub = ScrubThread(database, figures: status.scrub, options: options.scrub, logger: logger)
    snapshots = SnapshotService(store, status: status, sink: sink, options: options.snapshots, logger: logger)
    hashes = HashService(store, status: status, sink: sink)
    watch = try WatchHub(store, status: status, sink: sink, latch: latch, options: options.watch, logger: logger)
    apply.feed = watch.feed
    recipes = RecipeThread(store, inbox, status: status, sink: sink, latch: latch, logger: logger)
    server = KVServer(
      store, status: status, consensus: singleNode, leases: leases, snapshots: snapshots, watch: watch, hashes: hashes,
      recipes: recipes, checkpoints: checkpoints, member: options.member, quota: quota, requestLimit: requestLimit,
      txnOperationsMax: options.txnOperationsMax)
    let server = server
    apply.raiseNoSpace = { server.raiseNoSpace() }
    recipes.server = server
    logger.info(
      "recovered",
      metadata: [
        "applied": "\(start.index)", "replayed": "\(replayedEntries)", "last": "\(opened.lastIndex)",
        "log": "\(opened.log.summary)",
      ])
  }

  /// Starts the threads: from here on writes are answered.
  package func start() throws(ServerError) {
    try checkpointThread.start()
    try watch.start()
    try apply.start()
    try singleNode.start()
    try leases.start()
    try recipes.start()
    try autoCompaction.start()
    try snapshots.start()
    try hashes.start()
    try scrub.start()
    if replayedEntries > 0, checkpointsAfterReplay { checkpoints.ask() }
  }

  /// Call when no reactor proposes or reads any more. What was proposed is made durable, applied and answered; then the
  /// tree is checkpointed, so that the next start replays nothing.
  package func stop() {
    autoCompaction.stop()
    recipes.stop()
    leases.stop()
    scrub.stop()
    snapshots.stop()
    hashes.stop()
    singleNode.stop()
    apply.stop()
    watch.stop()
    // They hold each other.
    apply.leases = nil
    apply.raiseNoSpace = nil
    recipes.server = nil
    checkpointThread.stop()
    if latch.failure == nil, !status.isApplyStalled.load(ordering: .relaxed) { _ = checkpointThread.checkpoint() }
    database.close()
    directory.close()
  }

  /// One checkpoint soon.
  package func askForCheckpoint() { checkpoints.ask() }

  private static func openDatabase(_ path: String, _ options: NodeOptions) throws(DatabaseError) -> Database {
    guard let makePageStore = options.makePageStore else { return try Database.open(path, options.database) }
    return try Database(store: try makePageStore(), path: path, options: options.database)
  }

  private struct Recovered {
    var store: Store
    var applier: Applier
    var opened: LogOpener.Opened
    /// Where the tree stood, and how many entries came on top.
    var start: (index: UInt64, term: UInt64)
    var replayed: UInt64
  }

  /// Opens store and log, and replays what the tree lacks.
  private static func recover(
    _ directory: DataDirectory, _ database: Database, _ options: NodeOptions
  ) throws(ServerError) -> Recovered {
    let store: Store
    do {
      store = try Store.open(
        database, identity: directory.identity, answerLimit: options.answerLimit,
        inlineLimit: options.inlineAnswerLimit)
    } catch {
      throw .store(error)
    }
    let start = try applied(database)
    let applier = Applier(store)
    var replayer = Replayer(applier)
    var logOptions = options.log
    logOptions.storeID = StoreID(high: directory.identity.clusterID, low: directory.identity.memberID)
    let opener = LogOpener(directory: directory.logPath, options: logOptions, makeDevice: options.makeLogDevice)
    let opened = try opener.open(appliedIndex: start.index, appliedTerm: start.term) {
      (entry) throws(ServerError) in try replayer.take(entry)
    }
    do throws(ServerError) { try replayer.flush() } catch {
      opened.log.close()
      throw error
    }
    return Recovered(store: store, applier: applier, opened: opened, start: start, replayed: replayer.count)
  }

  /// The last entry that the tree holds.
  private static func applied(_ database: Database) throws(ServerError) -> (index: UInt64, term: UInt64) {
    let reader: ReaderHandle
    do { reader = try database.makeReader() } catch { throw .database(error) }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    return (view.word(StoreWord.appliedIndex), view.word(StoreWord.appliedTerm))
  }
}
