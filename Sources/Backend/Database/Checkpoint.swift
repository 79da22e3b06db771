// Making what is published durable, and finding it again.
//
// A checkpoint pins the published snapshot S, and then:
//   1. writes the changed bitmap pages of the meta slot it will use — the slot that the durable checkpoint does not use
//   2. fdatasync: pages of S (published with plain writes) and the bitmap are on disk
//   3. writes that slot's meta page
//   4. fdatasync: from here on, S is what a crash leaves
// Until 4 returns, the old meta page names an old checkpoint none of whose pages were touched: its pages are kept
// by the reclamation rule (its epoch is pinned), its bitmap area is the other one. So steps 1 and 2 need no sync between
// them, and a crash anywhere finds one complete checkpoint.

import CNeedletail
import Glibc
import Synchronization

extension Database {
  /// Makes everything published so far durable. Costs the dirty pages and two fdatasyncs; nothing if nothing changed.
  ///
  /// Throws `io` (and the database takes no more writes: what the disk holds is unknown), `latched`, `closed`.
  package func checkpoint() throws(DatabaseError) { try checkpoint(force: false) }

  /// `force`: also where nothing changed.
  func checkpoint(force: Bool) throws(DatabaseError) {
    checkpointLock.lock()
    defer { checkpointLock.unlock() }
    if let work = try begin(force: force) { try finish(work) }
  }

  /// The part of a checkpoint that writers wait for. Under the checkpoint lock, as `finish` is.
  func begin(force: Bool = false) throws(DatabaseError) -> Work? {
    try withWriter { (writer) throws(DatabaseError) in try pin(&writer, force: force) }
  }

  /// User words of the durable checkpoint: what a log may forget.
  package var durableWords: [UInt64] { withWriter { $0.durableWords } }
  /// Bytes published since the last checkpoint began.
  package var bytesSinceCheckpoint: UInt64 { withWriter { $0.bytesSinceCheckpoint } }

  struct Work {
    var meta: Meta
    var slot: Int
    var groups: [(group: Int, words: [UInt64])]
  }

  /// Step 0, under the writer lock, at a batch boundary: S and the bitmap as it is for S.
  private func pin(_ writer: inout Writer, force: Bool) throws(DatabaseError) -> Work? {
    if writer.isClosed { throw .closed }
    if let cause = writer.latch { throw .latched(cause: cause) }
    let snapshot = readers.current
    let transaction = snapshot.pointee.transaction.load(ordering: .relaxed)
    guard force || transaction != writer.durable else { return nil }
    let slot = 1 - writer.durableSlot
    var meta = Meta(
      checkpoint: writer.checkpointNumber + 1, transaction: transaction, pages: UInt64(writer.free.pages),
      storeID: storeID)
    meta.words = snapshot.pointee.wordList
    meta.trees = Array(zip(writer.names, snapshot.pointee.rootList)).map { (name: $0.0, root: $0.1) }
    writer.inFlight = transaction
    writer.bytesSinceCheckpoint = 0
    return Work(meta: meta, slot: slot, groups: writer.free.takeChangedGroups(area: slot))
  }

  /// The part that goes on beside writers.
  func finish(_ work: Work) throws(DatabaseError) {
    do throws(DatabaseError) {
      try writeBitmap(work)
      if !mutant(.metaBeforeData) { try store.sync() }
      try Self.writeMeta(work.meta, slot: work.slot, store: store, pageSize: geometry.pageSize)
      if !mutant(.lastSyncMissing) { try store.sync() }
    } catch {
      if !mutant(.failedCheckpointForgotten) { withWriter { $0.latch = $0.latch ?? error.description } }
      throw error
    }
    withWriter { writer in
      writer.durable = work.meta.transaction
      writer.durableSlot = work.slot
      writer.durableWords = work.meta.words
      writer.checkpointNumber = work.meta.checkpoint
      writer.inFlight = nil
      writer.statistics.checkpoints += 1
    }
  }

  private func writeBitmap(_ work: Work) throws(DatabaseError) {
    let pageSize = geometry.pageSize
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(1, work.groups.count) * pageSize, alignment: 64)
    defer { memory.deallocate() }
    var runs: [PageRun] = []
    for (i, group) in work.groups.enumerated() {
      let page = memory + i * pageSize
      let id = FreeSpace.bitmapPage(group: group.group, area: work.slot, pageSize: pageSize)
      let header = MutablePageHeader(page)
      header.format(
        id: PageID(id), transaction: work.meta.transaction, level: 0, tree: 0, pageSize: pageSize)
      page.storeBytes(of: PageType.bitmap.rawValue, toByteOffset: 16, as: UInt8.self)
      let words = mutant(.bitmapOfTheMoment) ? withWriter { $0.free.words(of: group.group) } : group.words
      words.withUnsafeBytes { words in
        guard let source = words.baseAddress else { return }
        memcpy(page + headerSize, source, min(words.count, pageSize - headerSize))
      }
      header.seal(pageSize: pageSize)
      runs.append(PageRun(offset: UInt64(id) << geometry.shift, bytes: .init(start: page, count: pageSize)))
    }
    try store.write(runs)
  }

  static func writeMeta(
    _ meta: Meta, slot: Int, store: any PageStore, pageSize: Int
  ) throws(DatabaseError) {
    let page = UnsafeMutableRawPointer.allocate(byteCount: metaSize, alignment: 64)
    defer { page.deallocate() }
    meta.encode(into: page, pageSize: pageSize)
    let offset = UInt64(slot * FreeSpace.metaStride(pageSize: pageSize))
    try store.write([PageRun(offset: offset, bytes: .init(start: page, count: metaSize))])
  }

  // MARK: Creating

  private static let sizeAtCreation: UInt64 = 2 << 20

  /// Did a crash cut `format` short? Then no meta page is valid, the store is no longer than `format` makes it, and it
  /// holds zeros but for what `format` writes, all or part of it: the first meta page and the headers of
  /// bitmap pages. Anything else is somebody's data and stays.
  static func isUnfinished(_ store: any PageStore) -> Bool {
    guard store.size <= sizeAtCreation else { return false }
    let bytes = UnsafeRawBufferPointer(start: store.base, count: Int(store.size))
    guard store.size >= UInt64(metaSize) else { return bytes.allSatisfy { $0 == 0 } }
    guard Meta.isFragment(store.base) else { return false }
    var headers: [Int] = []
    for pageSize in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
      let groupBytes = FreeSpace.groupPages(pageSize: pageSize) * pageSize
      for group in 0...bytes.count / groupBytes {
        headers.append(FreeSpace.bitmapPage(group: group, area: 0, pageSize: pageSize) * pageSize)
      }
    }
    var position = metaSize
    for header in headers.sorted() where header >= position && header + headerSize <= bytes.count {
      guard isZero(bytes[position..<header]) else { return false }
      position = header + headerSize
    }
    return isZero(bytes[position...])
  }

  private static func isZero(_ bytes: Slice<UnsafeRawBufferPointer>) -> Bool {
    let bytes = UnsafeRawBufferPointer(rebasing: bytes)
    guard let first = bytes.baseAddress else { return true }
    return first.load(as: UInt8.self) == 0 && memcmp(first, first + 1, bytes.count - 1) == 0
  }

  /// Makes an empty store an empty database. The meta page comes last: until it is whole, `isUnfinished`.
  static func format(_ store: any PageStore, pageSize: Int) throws(DatabaseError) {
    let geometry = try PageGeometry(pageSize: pageSize)
    let stride = FreeSpace.metaStride(pageSize: pageSize)
    try store.grow(to: max(sizeAtCreation, UInt64(8 * stride)))
    let pages = store.size >> geometry.shift
    let meta = Meta(checkpoint: 1, transaction: 1, pages: pages, storeID: .random(in: 1...UInt64.max))
    let free = FreeSpace(geometry: geometry, pages: Int(pages))
    try writeEmptyBitmap(free, area: 0, store: store)
    try store.sync()
    try writeMeta(meta, slot: 0, store: store, pageSize: pageSize)
    try store.sync()
  }

  private static func writeEmptyBitmap(
    _ free: FreeSpace, area: Int, store: any PageStore
  ) throws(DatabaseError) {
    let pageSize = free.geometry.pageSize
    let page = UnsafeMutableRawPointer.allocate(byteCount: pageSize, alignment: 64)
    defer { page.deallocate() }
    for group in 0..<free.groups {
      let id = FreeSpace.bitmapPage(group: group, area: area, pageSize: pageSize)
      memset(page, 0, pageSize)
      let header = MutablePageHeader(page)
      header.format(id: PageID(id), transaction: 1, level: 0, tree: 0, pageSize: pageSize)
      page.storeBytes(of: PageType.bitmap.rawValue, toByteOffset: 16, as: UInt8.self)
      header.seal(pageSize: pageSize)
      try store.write([PageRun(offset: UInt64(id) << free.geometry.shift, bytes: .init(start: page, count: pageSize))])
    }
  }

  // MARK: Opening

  struct Recovered {
    var meta: Meta
    var slot: Int
    var geometry: PageGeometry
    var free: FreeSpace
    /// The other meta page is damaged: it may have named a newer checkpoint, after which pages of this one were reused.
    var isDoubtful: Bool
  }

  /// Transactions are never used twice, also not by a life of the database whose last batches a crash undid: each open
  /// begins a range of its own.
  private static let transactionsPerLife: UInt64 = 1 << 40

  /// After `recover`, before any page can be reused: a checkpoint that moves the transaction numbers on, into the
  /// slot that was not chosen.
  func settle() throws(DatabaseError) {
    let work = try withWriter { (writer) throws(DatabaseError) -> Work? in
      let current = readers.current
      let transaction = current.pointee.transaction.load(ordering: .relaxed)
      let next = (transaction / Self.transactionsPerLife + 1) * Self.transactionsPerLife
      republish(&writer, transaction: next)
      return try pin(&writer, force: true)
    }
    if let work { try finish(work) }
  }

  /// The published state again, under another number and for the file as long as it is now.
  func republish(_ writer: inout Writer, transaction: UInt64) {
    let current = readers.current
    let snapshot = writer.snapshots.take()
    Snapshot.fill(
      snapshot, transaction: transaction, limit: PageID(writer.free.pages), roots: current.pointee.rootList,
      words: current.pointee.wordList)
    readers.publish(snapshot)
    writer.snapshots.retire(current)
  }

  static func recover(
    _ store: any PageStore, path: String, readOnly: Bool
  ) throws(DatabaseError) -> Recovered {
    let (meta, slot, pageSize) = try chooseMeta(store, path: path)
    let geometry = try PageGeometry(pageSize: pageSize)
    // After a process death the page cache may show a meta page that the disk does not have yet: write it again,
    // the same bytes, and sync before any page that an older checkpoint needs can be reused.
    if !readOnly {
      if !mutant(.metaNotRewritten) { try writeMeta(meta, slot: slot, store: store, pageSize: pageSize) }
      if !mutant(.opensWithoutSync) { try store.sync() }
    }
    var free = FreeSpace(geometry: geometry, pages: Int(meta.pages))
    try loadBitmap(&free, area: slot, store: store)
    free.extend(to: Int(min(store.size >> geometry.shift, UInt64(dirtyBit))))
    return Recovered(
      meta: meta, slot: slot, geometry: geometry, free: free,
      isDoubtful: isOtherMetaDamaged(store, slot: slot, pageSize: pageSize))
  }

  private static func isOtherMetaDamaged(_ store: any PageStore, slot: Int, pageSize: Int) -> Bool {
    let page = store.base + (1 - slot) * FreeSpace.metaStride(pageSize: pageSize)
    if (try? Meta(decoding: page, fileSize: store.size)) != nil { return false }
    let bytes = UnsafeRawBufferPointer(start: page, count: metaSize)
    return !isZero(bytes[...])
  }

  /// With one meta page damaged, either its write was torn by a crash, and this checkpoint is the newest and whole;
  /// or the page went bad later, and this checkpoint's pages may have been used again. Every page of the tree knows its
  /// transaction and the bitmap its pages, so a walk over everything tells.
  func verifyDoubtful() throws(DatabaseError) {
    let report = try check()
    guard let problem = report.problems.first else { return }
    throw .noValidMeta(
      path: path,
      detail: "one meta page is damaged and the checkpoint of the other is not whole: page \(problem.page): "
        + problem.reason.rawValue)
  }

  /// The valid meta page with the higher checkpoint number. The second one's place depends on the page size, which only
  /// the first one states; where the first is damaged every possible place is tried.
  private static func chooseMeta(
    _ store: any PageStore, path: String
  ) throws(DatabaseError) -> (Meta, Int, Int) {
    var candidates: [(meta: Meta, slot: Int, pageSize: Int)] = []
    var problems: [Meta.Problem] = []
    func look(at offset: Int, slot: Int) {
      guard UInt64(offset + metaSize) <= store.size else { return }
      do throws(Meta.Problem) {
        let page = store.base + offset
        let pageSize = try Meta.statedPageSize(page)
        guard slot * FreeSpace.metaStride(pageSize: pageSize) == offset else { return }
        candidates.append((try Meta(decoding: page, fileSize: store.size), slot, pageSize))
      } catch {
        problems.append(error)
      }
    }
    look(at: 0, slot: 0)
    for stride in [4096, 8192, 16384, 32768, 65536] { look(at: stride, slot: 1) }
    if let best = candidates.max(by: { $0.meta.checkpoint < $1.meta.checkpoint }) {
      return (best.meta, best.slot, best.pageSize)
    }
    for case .version(let found) in problems { throw .unsupportedVersion(found: found, supported: formatVersion) }
    if problems.allSatisfy({ $0 == .notOurs }) { throw .notADatabase(path: path) }
    throw .noValidMeta(path: path, detail: problems.map { "\($0)" }.joined(separator: "; "))
  }

  /// Reads the area of the chosen meta page: pages marked there are live, all others free.
  private static func loadBitmap(
    _ free: inout FreeSpace, area: Int, store: any PageStore
  ) throws(DatabaseError) {
    let pageSize = free.geometry.pageSize
    let groupPages = free.groupPages
    for group in 0..<free.groups {
      let id = FreeSpace.bitmapPage(group: group, area: area, pageSize: pageSize)
      guard id < free.pages else { break }
      let page = store.base + id * pageSize
      let header = PageHeader(page)
      guard header.id == PageID(id) else { throw .corrupt(page: PageID(id), reason: .identity) }
      guard header.type == PageType.bitmap.rawValue else { throw .corrupt(page: PageID(id), reason: .kind) }
      guard header.checksum(pageSize: pageSize) == header.crc else {
        throw .corrupt(page: PageID(id), reason: .checksum)
      }
      for i in 0..<groupPages / 64 {
        var word = page.u64(headerSize + 8 * i)
        while word != 0 {
          let bit = group * groupPages + i * 64 + word.trailingZeroBitCount
          guard free.markLive(bit) else { throw .corrupt(page: PageID(id), reason: .bounds) }
          word &= word - 1
        }
      }
    }
  }
}
