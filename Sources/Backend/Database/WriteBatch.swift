// A batch of edits: built in scratch memory, published at once or not at all. How trees change is in the extensions of
// this type under Tree/.

import CNeedletail
import Glibc

/// Where a batch gets page numbers for overflow runs; the database implements it.
protocol PageAllocator: AnyObject {
  func allocateRun(_ count: Int) throws(DatabaseError) -> PageID
  func releaseRun(_ first: PageID, count: Int)
  /// Whether the published snapshot reaches the page.
  func isLive(_ id: PageID) -> Bool
}

/// The edits of one `Database.write` call. Used by one thread, and only inside that call: kept longer, its methods
/// throw `batchClosed`. Every method either does the whole edit or throws and changes nothing a reader of the batch
/// can see.
///
/// Its state and that of `ScratchPages` is used by one thread, and no access to a part of it calls what uses that part: so
/// exclusive access need not be noted at run time, which took a tenth of a bulk load.
package final class WriteBatch {
  struct PathStep {
    var page: UnsafeMutableRawPointer
    var index: Int
  }

  let geometry: PageGeometry
  let scratch: ScratchPages
  private unowned let allocator: any PageAllocator
  private let base: UnsafeRawPointer
  private let verified: VerifiedPages?
  @exclusivity(unchecked) private(set) var isOpen = false
  @exclusivity(unchecked) private(set) var transaction: UInt64 = 0
  @exclusivity(unchecked) private(set) var limit: PageID = 0
  @exclusivity(unchecked) var roots: [TreeRoot] = []
  @exclusivity(unchecked) private(set) var names: [String] = []
  @exclusivity(unchecked) private(set) var words = [UInt64](repeating: 0, count: wordsMax)
  /// Published pages that the batch replaced; `freed` is this batch's transaction.
  @exclusivity(unchecked) private(set) var freed: [FreedPage] = []
  /// Anything to publish?
  @exclusivity(unchecked) private(set) var isChanged = false

  /// The branches from the root to the leaf of the last descent, all of them scratch pages.
  let path: UnsafeMutablePointer<PathStep>
  @exclusivity(unchecked) var depth = 0
  /// Room for two pages, and for keys with 8 bytes more than the longest.
  let pageBuffer: UnsafeMutableRawPointer
  let siblingBuffer: UnsafeMutableRawPointer
  let separatorBuffer: UnsafeMutableRawPointer
  let fenceBuffer: UnsafeMutableRawPointer
  let entryBuffer: UnsafeMutableRawPointer
  /// The leaf and index of the last insertion: a run of ascending keys in the middle of a tree splits like an append.
  @exclusivity(unchecked) var lastInsert: (leaf: PageID, index: Int) = (0, -1)
  /// Where `append` goes on.
  @exclusivity(unchecked) var appendPosition: AppendPosition?

  init(
    geometry: PageGeometry, allocator: any PageAllocator, base: UnsafeRawPointer, verified: VerifiedPages?
  ) {
    self.verified = verified
    self.geometry = geometry
    self.allocator = allocator
    self.base = base
    scratch = ScratchPages(pageSize: geometry.pageSize)
    path = .allocate(capacity: depthLimit)
    pageBuffer = .allocate(byteCount: geometry.pageSize, alignment: 64)
    siblingBuffer = .allocate(byteCount: geometry.pageSize, alignment: 64)
    separatorBuffer = .allocate(byteCount: geometry.pageSize + 8, alignment: 64)
    fenceBuffer = .allocate(byteCount: geometry.pageSize + 8, alignment: 64)
    entryBuffer = .allocate(byteCount: geometry.pageSize + 8, alignment: 64)
  }

  deinit {
    path.deallocate()
    pageBuffer.deallocate()
    siblingBuffer.deallocate()
    separatorBuffer.deallocate()
    fenceBuffer.deallocate()
    entryBuffer.deallocate()
  }

  // MARK: Life of a batch

  func open(transaction: UInt64, limit: PageID, roots: [TreeRoot], names: [String], words: [UInt64]) {
    self.transaction = transaction
    self.limit = limit
    self.roots = roots
    self.names = names
    self.words = words
    isOpen = true
    isChanged = false
    lastInsert = (0, -1)
    appendPosition = nil
  }

  func close() {
    isOpen = false
    freed.removeAll(keepingCapacity: true)
    scratch.reset()
  }

  /// The file grew while the batch was open.
  func raiseLimit(to limit: PageID) { self.limit = limit }

  // MARK: Trees and words

  package func tree(named name: String) -> TreeID? {
    names.firstIndex(of: name).map { TreeID(UInt8($0)) }
  }

  /// The tree of that name, created empty where there is none.
  package func openTree(_ name: String) throws(DatabaseError) -> TreeID {
    guard isOpen else { throw .batchClosed }
    if let tree = tree(named: name) { return tree }
    guard Meta.isValidName(name) else { throw .treeName(name) }
    guard names.count < treesMax else { throw .treesFull(maximum: treesMax) }
    names.append(name)
    roots.append(.empty)
    isChanged = true
    return TreeID(UInt8(names.count - 1))
  }

  package func word(_ i: Int) -> UInt64 { words[i] }

  package func setWord(_ i: Int, _ value: UInt64) {
    guard words[i] != value else { return }
    words[i] = value
    isChanged = true
  }

  // MARK: Reading its own writes

  /// The tree as the batch left it; any edit makes it invalid.
  package func view(_ tree: TreeID) throws(DatabaseError) -> TreeView {
    guard isOpen else { throw .batchClosed }
    guard Int(tree.raw) < roots.count else { throw .noSuchTree("#\(tree.raw)") }
    return TreeView(source: source, root: roots[Int(tree.raw)])
  }

  var source: PageSource {
    PageSource(
      base: base, shift: geometry.shift, pageSize: geometry.pageSize, limit: limit, verified: verified,
      scratch: Unmanaged.passUnretained(scratch))
  }

  /// The value of `key` as the batch left it; valid until the next edit.
  package func get(
    _ tree: TreeID, _ key: UnsafeRawBufferPointer
  ) throws(DatabaseError) -> UnsafeRawBufferPointer? {
    try view(tree).get(key)
  }

  /// Live entries of a tree.
  package func count(_ tree: TreeID) -> UInt64 { Int(tree.raw) < roots.count ? roots[Int(tree.raw)].live : 0 }

  /// A cursor over the tree as the batch left it; any edit makes it invalid.
  package func cursor(_ tree: TreeID) throws(DatabaseError) -> Cursor { try view(tree).cursor() }

  // MARK: Pages

  /// A scratch copy of a page on the way down, made at most once per batch.
  /// `id` is replaced by the copy's reference.
  func writable(_ id: inout PageID, level: Int) throws(DatabaseError) -> UnsafeMutableRawPointer {
    if id & dirtyBit != 0 { return scratch[id] }
    let published = try source.page(id, level: level)
    try checkForEditing(published, level: level)
    let copy = scratch.allocate()
    let page = scratch[copy]
    memcpy(page, published, geometry.pageSize)
    let header = MutablePageHeader(page)
    header.setID(copy)
    header.setTransaction(transaction)
    free(published)
    id = copy
    return page
  }

  /// Edits follow offsets without looking, and give the page a new checksum: whatever comes from the file is checked
  /// whole first, so that damage neither leads astray nor becomes legitimate.
  func checkForEditing(_ page: UnsafeRawPointer, level: Int) throws(DatabaseError) {
    let pageSize = geometry.pageSize
    let header = PageHeader(page)
    guard header.transaction <= transaction else { throw .corrupt(page: header.id, reason: .transaction) }
    guard header.checksum(pageSize: pageSize) == header.crc || mutant(.editsUnchecked) else {
      throw .corrupt(page: header.id, reason: .checksum)
    }
    let lower: Int
    if level == 0 {
      let leaf = LeafPage(page)
      guard leaf.isWellFormed(pageSize: pageSize) else { throw .corrupt(page: header.id, reason: .bounds) }
      lower = leaf.lower
      let n = leaf.count
      for i in 0..<n {
        guard leaf.isRecordInside(leaf.recordOffset(i, count: n), pageSize: pageSize),
          leaf.keyLength(i) <= geometry.keyMax
        else { throw .corrupt(page: header.id, reason: .bounds) }
      }
    } else {
      let branch = BranchPage(page)
      guard branch.isWellFormed(pageSize: pageSize), branch.tailsAreInside(pageSize: pageSize) else {
        throw .corrupt(page: header.id, reason: .bounds)
      }
      lower = branch.lower
    }
    guard header.upper >= lower, header.upper + header.garbage <= pageSize else {
      throw .corrupt(page: header.id, reason: .bounds)
    }
  }

  func newPage(tree: TreeID, level: Int) -> (id: PageID, page: UnsafeMutableRawPointer) {
    let id = scratch.allocate()
    let page = scratch[id]
    MutablePageHeader(page).format(
      id: id, transaction: transaction, level: level, tree: tree.raw, pageSize: geometry.pageSize)
    return (id, page)
  }

  /// Empties a scratch page for rewriting.
  func reformat(_ page: UnsafeMutableRawPointer) {
    let header = PageHeader(UnsafeRawPointer(page))
    MutablePageHeader(page).format(
      id: header.id, transaction: transaction, level: header.level, tree: header.tree, pageSize: geometry.pageSize)
  }

  /// A page that the batch no longer needs: scratch, or published and then freed at publication.
  func discard(_ id: PageID) {
    if id & dirtyBit != 0 { scratch.release(id) } else { free(source.address(id)) }
  }

  private func free(_ published: UnsafeRawPointer) {
    let header = PageHeader(published)
    freed.append(FreedPage(first: header.id, count: 1, born: header.transaction, freed: transaction))
  }

  func changed() { isChanged = true }

  func isLive(_ id: PageID) -> Bool { allocator.isLive(id) }

  // MARK: Values

  /// How a leaf stores `value`: as it is, or in an overflow run that this allocates and fills.
  func store(
    _ value: UnsafeRawBufferPointer, keyLength: Int, tree: TreeID, reference: UnsafeMutableRawPointer
  ) throws(DatabaseError) -> StoredValue {
    if leafEntryOverhead + keyLength + value.count <= geometry.entryMax {
      return StoredValue(bytes: value, isOverflow: false)
    }
    let pages = Int(OverflowReference.pages(length: UInt64(value.count), pageSize: geometry.pageSize))
    guard pages <= FreeSpace.runMax(pageSize: geometry.pageSize), value.count <= Int(Int32.max) else {
      let maximum = min(FreeSpace.runMax(pageSize: geometry.pageSize) * geometry.pageSize - headerSize, Int(Int32.max))
      throw .valueLength(value.count, maximum: maximum)
    }
    let first = try allocator.allocateRun(pages)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: pages * geometry.pageSize, alignment: 64)
    memset(memory + (pages - 1) * geometry.pageSize, 0, geometry.pageSize)
    let header = MutablePageHeader(memory)
    header.format(id: first, transaction: transaction, level: 0, tree: tree.raw, pageSize: geometry.pageSize)
    memory.storeBytes(of: PageType.overflow.rawValue, toByteOffset: 16, as: UInt8.self)
    header.setUpper(pages)
    if let source = value.baseAddress { memcpy(memory + headerSize, source, value.count) }
    // The header's own checksum covers the header alone; the value's stands in the leaf.
    memory.setU32(0, PageHeader(UnsafeRawPointer(memory)).overflowChecksum)
    scratch.addOverflow(first, .init(memory: memory, pages: pages, valueLength: value.count))
    let crc = value.baseAddress.map { nt_crc32c(0, $0, value.count) } ?? 0
    OverflowReference(first: first, crc: crc, length: UInt64(value.count)).store(reference)
    return StoredValue(
      bytes: UnsafeRawBufferPointer(start: reference, count: overflowReferenceSize), isOverflow: true)
  }

  /// Frees the run that an entry's value lives in, if it does.
  func discardOverflow(_ leaf: LeafPage, _ i: Int) throws(DatabaseError) {
    let record = leaf.recordOffset(i, count: leaf.count)
    guard leaf.isOverflow(record), !mutant(.replacedValueKept) else { return }
    try discardOverflow(OverflowReference(leaf.page + record + 4 + leaf.tailLength(record)))
  }

  private func discardOverflow(_ run: OverflowReference) throws(DatabaseError) {
    try checkOverflow(run)
    freeOverflow(run)
  }

  /// What a reference names is an overflow run, of this batch or published: how long a run must be kept follows from its
  /// header.
  func checkOverflow(_ run: OverflowReference) throws(DatabaseError) {
    if scratch.overflowValue(run.first) != nil { return }
    _ = try source.overflowValue(run)
    guard PageHeader(source.address(run.first)).isOverflowIntact else {
      throw .corrupt(page: run.first, reason: .checksum)
    }
  }

  /// Frees a run that `checkOverflow` has seen.
  func freeOverflow(_ run: OverflowReference) {
    if let scratchRun = scratch.removeOverflow(run.first) {
      allocator.releaseRun(run.first, count: scratchRun.pages)
      return
    }
    freed.append(
      FreedPage(
        first: run.first,
        count: UInt32(OverflowReference.pages(length: run.length, pageSize: geometry.pageSize)),
        born: PageHeader(source.address(run.first)).transaction, freed: transaction))
  }

  /// Takes back what `store` allocated for an edit that failed.
  func undo(_ value: StoredValue) {
    guard value.isOverflow, let reference = value.bytes.baseAddress else { return }
    let run = OverflowReference(reference)
    if let scratchRun = scratch.removeOverflow(run.first) { allocator.releaseRun(run.first, count: scratchRun.pages) }
  }
}
