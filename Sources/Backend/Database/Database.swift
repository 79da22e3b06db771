// A database: one file, any number of readers, one writer at a time.
//
// State is divided by who may touch it: the reader table by anyone (atomics), `writer` under the writer lock,
// `checkpointLock` serialises checkpoints and is always taken before the writer lock.

import CNeedletail
import Glibc
import Synchronization

/// Unchecked Sendable: all mutable state is `writer`, reached only through `withWriter`, and the atomics of `readers`.
public final class Database: @unchecked Sendable {
  /// What the writer lock guards.
  struct Writer {
    var free: FreeSpace
    var reclaimer = Reclaimer()
    var snapshots = SnapshotPool()
    var names: [String]
    /// The durable checkpoint's epoch and meta slot, and the epoch of the one being written.
    var durable: UInt64
    var durableSlot: Int
    var checkpointNumber: UInt64
    var inFlight: UInt64?
    var durableWords: [UInt64]
    var latch: String?
    var isClosed = false
    var bytesSinceCheckpoint: UInt64 = 0
    var statistics = DatabaseStatistics()
  }

  let path: String
  let geometry: PageGeometry
  let store: any PageStore
  let readers: ReaderTable
  let storeID: UInt64
  /// Nil where the options say not to verify reads.
  private let verified: VerifiedPages?
  private var writer: Writer
  private let writerLock = Lock()
  let checkpointLock = Lock()
  /// Taken before all others.
  let shrinkLock = Lock()
  private var batch: WriteBatch!

  // MARK: Opening

  /// Opens the database in the file `path`, creating it where there is none.
  ///
  /// The file is locked: a second open, from this process or another, throws `inUse`. After a crash the database is at its
  /// last checkpoint.
  public static func open(
    _ path: String, _ options: DatabaseOptions = DatabaseOptions()
  ) throws(DatabaseError) -> Database {
    let store = try FilePageStore.open(
      path, create: options.create, readOnly: options.readOnly, reservation: options.reservation,
      hugePages: options.hugePages)
    do throws(DatabaseError) {
      return try Database(store: store, path: path, options: options)
    } catch {
      store.close()
      throw error
    }
  }

  /// Opens what `store` holds; an empty store becomes an empty database. On an error the store is the caller's to close,
  /// who may find it closed.
  package init(store: any PageStore, path: String, options: DatabaseOptions) throws(DatabaseError) {
    self.store = store
    self.path = path
    let isNew = mutant(.unfinishedCreationKept) ? store.size == 0 : Self.isUnfinished(store)
    if isNew, !options.readOnly { try Self.format(store, pageSize: options.pageSize) }
    let opened = try Self.recover(store, path: path, readOnly: options.readOnly)
    geometry = opened.geometry
    storeID = opened.meta.storeID
    verified = options.verifiesReads ? try VerifiedPages(pages: store.capacity >> geometry.shift) : nil
    var snapshots = SnapshotPool()
    let first = snapshots.take()
    Snapshot.fill(first, from: opened.meta, limit: PageID(opened.free.pages))
    readers = ReaderTable(capacity: options.readersMax, first: first, membarrier: options.membarrier)
    writer = Writer(
      free: opened.free, snapshots: snapshots, names: opened.meta.trees.map { $0.name },
      durable: opened.meta.transaction, durableSlot: opened.slot, checkpointNumber: opened.meta.checkpoint,
      durableWords: opened.meta.words)
    batch = WriteBatch(geometry: geometry, allocator: self, base: store.base, verified: verified)
    if opened.isDoubtful, !options.readOnly, !mutant(.olderCheckpointTrusted) { try verifyDoubtful() }
    if options.readOnly {
      writer.latch = "opened read-only"
    } else if !mutant(.transactionsUsedAgain) {
      try settle()
    }
  }

  func withWriter<R, E: Error>(_ body: (inout Writer) throws(E) -> R) throws(E) -> R {
    writerLock.lock()
    defer { writerLock.unlock() }
    return try body(&writer)
  }

  // MARK: Reading

  /// A reader slot. Throws `readersFull`.
  package func makeReader() throws(DatabaseError) -> ReaderHandle {
    guard let slot = readers.take() else { throw .readersFull(maximum: readers.capacity) }
    return ReaderHandle(table: readers, index: slot, base: store.base, geometry: geometry, verified: verified)
  }

  /// The tree of that name in the published snapshot. A tree keeps its id for as long as the database is open.
  package func tree(named name: String) -> TreeID? {
    withWriter { writer in writer.names.firstIndex(of: name).map { TreeID(UInt8($0)) } }
  }

  // MARK: Writing

  /// Runs `body` on a batch and publishes what it did, atomically; when `body` throws, nothing happened.
  ///
  /// Readers that pin after this returns see the batch. It is durable after the next `checkpoint`. One writer at a
  /// time: others wait. Throws what `body` throws, `noSpace` (the file cannot grow; nothing happened), `latched`, `io`.
  package func write<R>(_ body: (WriteBatch) throws -> R) throws -> R {
    writerLock.lock()
    defer { writerLock.unlock() }
    try checkWritable()
    reclaim(&writer)
    let current = readers.current
    let transaction = current.pointee.transaction.load(ordering: .relaxed) + 1
    batch.open(
      transaction: transaction, limit: current.pointee.limit, roots: current.pointee.rootList,
      names: writer.names, words: current.pointee.wordList)
    defer { batch.close() }
    let result: R
    do {
      result = try body(batch)
      if batch.isChanged { try publish() }
    } catch {
      for (first, run) in batch.scratch.overflows where !mutant(.abandonedValuesKept) {
        releaseRun(first, count: run.pages)
      }
      throw error
    }
    return result
  }

  private func checkWritable() throws(DatabaseError) {
    if writer.isClosed { throw .closed }
    if let cause = writer.latch { throw .latched(cause: cause) }
  }

  /// Frees what no pinned epoch holds any more.
  func reclaim(_ writer: inout Writer) {
    let epochs = pinnedEpochs(writer)
    release(writer.reclaimer.reclaim(epochs: mutant(.reclaimsWithoutAsking) ? [] : epochs), &writer)
    writer.snapshots.recycle(epochs: epochs)
  }

  private func release(_ pages: [FreedPage], _ writer: inout Writer) {
    for page in pages { release(page.first, count: Int(page.count), &writer) }
  }

  private func release(_ first: PageID, count: Int, _ writer: inout Writer) {
    writer.free.release(first, count: count)
    store.release(offset: offset(of: first), count: UInt64(count) << geometry.shift)
  }

  private func pinnedEpochs(_ writer: borrowing Writer) -> [UInt64] {
    var epochs = readers.pinned()
    if !mutant(.durableNotPinned) { epochs.append(writer.durable) }
    if let inFlight = writer.inFlight, !mutant(.checkpointInFlightNotPinned) { epochs.append(inFlight) }
    epochs.append(readers.current.pointee.transaction.load(ordering: .relaxed))
    return epochs.sorted()
  }

  /// Gives the batch's pages numbers, writes them, and makes the new snapshot the published one.
  private func publish() throws(DatabaseError) {
    let numbers = try allocatePages(batch.scratch.liveCount)
    var runs: [PageRun] = []
    runs.reserveCapacity(numbers.count + batch.scratch.overflows.count)
    batch.scratch.seal(numbers: numbers) { id, page in
      runs.append(PageRun(offset: offset(of: id), bytes: .init(start: page, count: geometry.pageSize)))
    }
    for (first, run) in batch.scratch.overflows {
      runs.append(
        PageRun(offset: offset(of: first), bytes: .init(start: run.memory, count: run.pages * geometry.pageSize)))
    }
    runs.sort { $0.offset < $1.offset }
    do throws(DatabaseError) { try store.publish(runs) } catch {
      latch(error)
      throw error
    }
    // What we wrote needs no second look.
    if let verified {
      for id in numbers { verified.insert(id) }
      for first in batch.scratch.overflows.keys { verified.insert(first) }
    }
    publishSnapshot()
    for id in numbers { writer.free.becameLive(id, count: 1) }
    for (first, run) in batch.scratch.overflows { writer.free.becameLive(first, count: run.pages) }
    for page in batch.freed { writer.free.becamePending(page.first, count: Int(page.count)) }
    release(writer.reclaimer.add(batch.freed, epochs: pinnedEpochs(writer)), &writer)
    let bytes = runs.reduce(0) { $0 + UInt64($1.bytes.count) }
    writer.bytesSinceCheckpoint += bytes
    writer.statistics.bytesWritten += bytes
    writer.statistics.batches += 1
  }

  private func publishSnapshot() {
    let old = readers.current
    let new = writer.snapshots.take()
    let roots = batch.roots.map {
      TreeRoot(page: batch.scratch.numberAfterSeal($0.page), level: $0.level, live: $0.live)
    }
    Snapshot.fill(
      new, transaction: batch.transaction, limit: PageID(writer.free.pages), roots: roots, words: batch.words)
    writer.names = batch.names
    readers.publish(new)
    writer.snapshots.retire(old)
  }

  private func offset(of id: PageID) -> UInt64 { UInt64(id) << geometry.shift }

  /// Stops all further writing. What an error left on disk is unknown; only opening anew finds out.
  private func latch(_ error: DatabaseError) { writer.latch = writer.latch ?? error.description }

  // MARK: Space

  private func allocatePages(_ count: Int) throws(DatabaseError) -> [PageID] {
    while true {
      if let numbers = writer.free.allocate(count) { return numbers }
      if writer.free.allowAll() { continue }
      try grow(by: count - writer.free.reusablePages)
    }
  }

  /// Grows the file by at least `count` pages, in steps of 2 MiB or a 32nd of the file, at most 8 MiB more than asked.
  private func grow(by count: Int) throws(DatabaseError) {
    let step: UInt64 = 2 << 20
    let size = store.size
    let wanted = UInt64(count) << geometry.shift
    let generous = max(wanted, min(size / 32, 8 << 20))
    // A group's bitmap pages come out of the new pages: two for each group begun.
    let newSize = (size + generous + UInt64(4 * geometry.pageSize) + step - 1) / step * step
    guard newSize <= store.capacity, newSize >> geometry.shift <= UInt64(dirtyBit) else {
      throw .noSpace(bytes: wanted)
    }
    do throws(DatabaseError) { try store.grow(to: newSize) } catch {
      // A full disk leaves the file as it was; any other failure leaves nobody knows what.
      if case .noSpace = error { throw error }
      latch(error)
      throw error
    }
    writer.free.extend(to: Int(newSize >> geometry.shift))
  }

  // MARK: Closing

  /// Also where opening failed after everything was set up. Readers of the public face hold the database.
  deinit { close() }

  /// Closes the file, as letting go of the database does. Nothing is made durable that a checkpoint has not: call
  /// `checkpoint` first. All readers must have unpinned.
  public func close() {
    checkpointLock.lock()
    defer { checkpointLock.unlock() }
    writerLock.lock()
    defer { writerLock.unlock() }
    guard !writer.isClosed else { return }
    writer.isClosed = true
    writer.snapshots.free()
    verified?.free()
    store.close()
  }
}

extension Database: PageAllocator {
  /// Called by the open batch, under the writer lock.
  func allocateRun(_ count: Int) throws(DatabaseError) -> PageID {
    while true {
      if let first = writer.free.allocateRun(count) { return first }
      if writer.free.allowAll() { continue }
      try grow(by: count + count / 8 + 2 * 4)
      batch.raiseLimit(to: PageID(writer.free.pages))
    }
  }

  func releaseRun(_ first: PageID, count: Int) { release(first, count: count, &writer) }

  func isLive(_ id: PageID) -> Bool { writer.free.isLive(id) }
}

extension Snapshot {
  /// Field by field: a reader that comes late may look at the transaction of a recycled snapshot meanwhile (see
  /// `ReaderTable`), so nobody may claim the whole of it.
  static func fill(
    _ snapshot: SnapshotPointer, transaction: UInt64, limit: PageID, roots: [TreeRoot], words: [UInt64]
  ) {
    snapshot.pointee.limit = limit
    snapshot.pointee.treeCount = roots.count
    for i in 0..<treesMax { snapshot.pointee.roots[i] = i < roots.count ? roots[i] : .empty }
    for i in 0..<wordsMax { snapshot.pointee.words[i] = words[i] }
    snapshot.pointee.transaction.store(transaction, ordering: .relaxed)
  }

  static func fill(_ snapshot: SnapshotPointer, from meta: Meta, limit: PageID) {
    fill(
      snapshot, transaction: meta.transaction, limit: limit, roots: meta.trees.map { $0.root }, words: meta.words)
  }

  var rootList: [TreeRoot] { (0..<treeCount).map { roots[$0] } }
  var wordList: [UInt64] { (0..<wordsMax).map { words[$0] } }
}
