// A position in a tree, moving in key order in both directions. It keeps the path from the root, so a step costs O(1)
// amortised and touches one page.

import CNeedletail
import Glibc

/// Valid while its reader is pinned (in a batch: until the next edit). Starts nowhere: seek, or go to an end, first.
package struct Cursor: ~Copyable {
  private struct Step {
    var page: UnsafeRawPointer
    var index: Int
  }

  private let tree: TreeView
  private var path: InlineArray<24, Step>
  /// Level of the entry path[0]; the leaf is path[rootLevel].
  private let depth: Int
  private var leaf: LeafPage
  private var index = 0
  private var leafCount = 0
  package private(set) var isValid = false
  /// What is left to fetch of the leaf that comes next, once the cursor moves through leaves in order.
  private var ahead: UnsafeRawPointer
  private var aheadLength = 0
  /// What is asked of the disk ahead; nil where the file stays in memory.
  private var readAhead: ReadAhead?
  /// Assembled key; allocated at the first use of `key`. It holds the prefix of `keyLeaf`.
  private var keyBuffer: UnsafeMutableRawPointer?
  private var keyLeaf: UnsafeRawPointer?

  init(_ tree: TreeView) {
    self.tree = tree
    let nowhere = tree.source.base
    path = InlineArray(repeating: Step(page: nowhere, index: 0))
    depth = min(Int(tree.root.level), depthLimit - 1)
    leaf = LeafPage(nowhere)
    ahead = nowhere
    readAhead = tree.source.isLargerThanMemory && depth > 0 ? ReadAhead() : nil
  }

  deinit { free(keyBuffer) }

  // MARK: The entry

  /// The entry's value: bytes in the page or its overflow run. Only while `isValid`.
  package var value: UnsafeRawBufferPointer {
    get throws(DatabaseError) {
      precondition(isValid)
      return try tree.source.value(of: leaf, index)
    }
  }

  /// Where the entry's value is, if in pages of its own. Only while `isValid`.
  var overflow: OverflowReference? {
    get throws(DatabaseError) {
      precondition(isValid)
      let record = leaf.recordOffset(index, count: leafCount)
      guard leaf.isRecordInside(record, pageSize: tree.source.pageSize) else { throw tree.source.damaged(leaf.page) }
      return leaf.isOverflow(record) ? OverflowReference(leaf.page + record + 4 + leaf.tailLength(record)) : nil
    }
  }

  /// The entry's key, assembled in the cursor's buffer: valid until the next call of `key`. Only while `isValid`.
  package var key: UnsafeRawBufferPointer {
    mutating get throws(DatabaseError) {
      precondition(isValid)
      let pageSize = tree.source.pageSize
      let buffer: UnsafeMutableRawPointer
      if let keyBuffer {
        buffer = keyBuffer
      } else {
        buffer = malloc(pageSize &+ 8)
        keyBuffer = buffer
      }
      let record = leaf.recordOffset(index, count: leafCount)
      guard record <= pageSize &- 4, record &+ 4 &+ leaf.tailLength(record) <= pageSize,
        leaf.keyLength(index) <= pageSize
      else { throw tree.source.damaged(leaf.page) }
      // The prefix stays in the buffer while the leaf stays the same.
      let prefix = leaf.prefixLength
      if keyLeaf != leaf.page {
        buffer.copyMemory(from: leaf.prefix, byteCount: prefix)
        keyLeaf = leaf.page
      }
      let rest = leaf.copyRest(index, to: buffer + prefix, count: leafCount)
      return UnsafeRawBufferPointer(start: buffer, count: prefix &+ rest)
    }
  }

  // MARK: Moving

  /// To the first entry whose key is not smaller than `key`. False: there is none. O(log n), and O(1) where the entry is in
  /// the leaf that the cursor is at: seeks to keys near each other.
  @discardableResult
  package mutating func seek(_ key: UnsafeRawBufferPointer) throws(DatabaseError) -> Bool {
    guard let bytes = key.baseAddress, key.count > 0 else { return try first() }
    if seekInLeaf(bytes, key.count) { return true }
    isValid = false
    aheadLength = 0
    if readAhead != nil { readAhead = ReadAhead() }
    guard tree.root.page != 0 else { return false }
    var page = try tree.source.page(tree.root.page, level: depth)
    let order = compareToPrefix(key, try tree.treePrefix(page))
    if order < 0 { return try first() }
    if order > 0 { return false }
    for step in 0..<depth {
      let branch = try checkedBranch(page)
      guard branch.prefixLength <= key.count else { throw tree.source.damaged(page) }
      let child = branch.childIndex(bytes, key.count, pageSize: tree.source.pageSize)
      path[step] = Step(page: page, index: child)
      let id = branch.child(child)
      fetch(id)
      if step == depth &- 1, child < branch.count { expect(branch.child(child &+ 1)) }
      page = try tree.source.page(id, level: depth &- step &- 1)
    }
    try enter(page)
    guard leaf.prefixLength <= key.count else { throw tree.source.damaged(page) }
    index = leaf.search(bytes, key.count, pageSize: tree.source.pageSize).index
    if index < leafCount {
      isValid = true
      return true
    }
    return try nextLeaf()
  }

  /// As `seek`, where the leaf alone tells: the key is its first entry's, or lies behind that and not behind its last one.
  /// A descent implies the leaf's prefix; here it has to be compared.
  private mutating func seekInLeaf(_ key: UnsafeRawPointer, _ length: Int) -> Bool {
    guard isValid else { return false }
    let prefix = leaf.prefixLength
    guard prefix <= length, mutant(.seeksWithoutPrefix) || equalBytes(leaf.prefix, key, prefix) else { return false }
    let (place, found) = leaf.search(key, length, pageSize: tree.source.pageSize)
    guard place < leafCount, place > 0 || found else { return false }
    index = place
    return true
  }

  @discardableResult
  package mutating func first() throws(DatabaseError) -> Bool {
    isValid = false
    guard tree.root.page != 0 else { return false }
    try descend(from: 0, tree.root.page, toLast: false)
    index = 0
    if leafCount == 0 { return try nextLeaf() }
    isValid = true
    return true
  }

  @discardableResult
  package mutating func last() throws(DatabaseError) -> Bool {
    isValid = false
    guard tree.root.page != 0 else { return false }
    try descend(from: 0, tree.root.page, toLast: true)
    if leafCount == 0 { return try previousLeaf() }
    index = leafCount &- 1
    isValid = true
    return true
  }

  /// To the next entry. False: there is none, and the cursor is no longer valid.
  @inline(__always) @discardableResult
  package mutating func next() throws(DatabaseError) -> Bool {
    guard isValid else { return false }
    if aheadLength > 0 { fetchAhead() }
    index &+= 1
    if _fastPath(index < leafCount) { return true }
    return try nextLeaf()
  }

  @inline(__always) @discardableResult
  package mutating func previous() throws(DatabaseError) -> Bool {
    guard isValid else { return false }
    if aheadLength > 0 { fetchAhead() }
    if _fastPath(index > 0) {
      index &-= 1
      return true
    }
    return try previousLeaf()
  }

  // MARK: Leaves

  @inline(__always) private mutating func enter(_ page: UnsafeRawPointer) throws(DatabaseError) {
    leaf = LeafPage(page)
    guard leaf.isWellFormed(pageSize: tree.source.pageSize) else { throw tree.source.damaged(page) }
    leafCount = leaf.count
  }

  private func checkedBranch(_ page: UnsafeRawPointer) throws(DatabaseError) -> BranchPage {
    let branch = BranchPage(page)
    guard branch.isWellFormed(pageSize: tree.source.pageSize) else { throw tree.source.damaged(page) }
    return branch
  }

  /// Down to a leaf along first or last children; where that goes on with a scan, the disk is asked for what comes next.
  private mutating func descend(
    from start: Int, _ id: PageID, toLast: Bool, scanning: Bool = false
  ) throws(DatabaseError) {
    var id = id
    for step in start..<depth {
      let page = try tree.source.page(id, level: depth &- step)
      let branch = try checkedBranch(page)
      let child = toLast ? branch.count : 0
      path[step] = Step(page: page, index: child)
      id = branch.child(child)
    }
    if scanning, readAhead != nil { askAhead(isForward: !toLast) }
    try enter(try tree.source.page(id, level: 0))
  }

  @inline(never) private mutating func askAhead(isForward: Bool) {
    let step = depth &- 1
    let branch = BranchPage(path[step].page)
    guard let wanted = readAhead?.next(at: path[step].index, of: branch, isForward: isForward) else { return }
    ReadAhead.ask(tree.source, branch, wanted)
    // The branch beside this one, when that has nothing left to ask for.
    guard step > 0, isForward ? wanted.upperBound > branch.count : wanted.lowerBound == 0 else { return }
    let above = BranchPage(path[step &- 1].page)
    let beside = path[step &- 1].index &+ (isForward ? 1 : -1)
    if beside >= 0, beside <= above.count { tree.source.readSoon(above.child(beside), count: 1) }
  }

  /// To the first entry behind this leaf; leaves may be empty.
  @inline(never) private mutating func nextLeaf() throws(DatabaseError) -> Bool {
    isValid = false
    var step = depth &- 1
    while step >= 0 {
      let branch = BranchPage(path[step].page)
      let child = path[step].index &+ 1
      if child > branch.count {
        step &-= 1
        continue
      }
      path[step].index = child
      if step == depth &- 1, child < branch.count { expect(branch.child(child &+ 1)) }
      try descend(from: step &+ 1, branch.child(child), toLast: false, scanning: true)
      if leafCount > 0 {
        index = 0
        isValid = true
        return true
      }
      step = depth &- 1
    }
    return false
  }

  @inline(never) private mutating func previousLeaf() throws(DatabaseError) -> Bool {
    isValid = false
    var step = depth &- 1
    while step >= 0 {
      if path[step].index == 0 {
        step &-= 1
        continue
      }
      let child = path[step].index &- 1
      path[step].index = child
      let branch = BranchPage(path[step].page)
      if step == depth &- 1, child > 0 { expect(branch.child(child &- 1)) }
      try descend(from: step &+ 1, branch.child(child), toLast: true, scanning: true)
      if leafCount > 0 {
        index = leafCount &- 1
        isValid = true
        return true
      }
      step = depth &- 1
    }
    return false
  }

  /// The lines of a page that a search reads first.
  @inline(__always) private func fetch(_ id: PageID) {
    guard id < tree.source.limit else { return }
    let page = tree.source.address(id)
    for line in 0..<3 { nt_prefetch(page + line &* 64) }
  }

  /// The leaf that follows the one the cursor is about to enter. Its lines are fetched a few at each step through that one:
  /// all at once would fill the processor's miss buffers and stall, none (or the first lines alone) leaves a scan waiting at
  /// every leaf, because its pages follow each other in key order, not in memory (a quarter to a third of a scan's time).
  @inline(__always) private mutating func expect(_ id: PageID) {
    guard id < tree.source.limit else { return }
    ahead = tree.source.address(id)
    aheadLength = tree.source.pageSize
  }

  @inline(__always) private mutating func fetchAhead() {
    for line in 0..<8 { nt_prefetch(ahead + line &* 64) }
    ahead += 512
    aheadLength &-= 512
  }
}
