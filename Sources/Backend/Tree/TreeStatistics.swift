// Figures about each tree: how deep, how full, how many bytes of what. Read from a pinned snapshot, so that readers and
// the writer go on; `check` proves more, and makes writers wait.

import CNeedletail

/// A tree as one snapshot shows it.
public struct TreeStatistics: Sendable, Equatable {
  public var name = ""
  public var entries: UInt64 = 0
  /// Pages from root to leaf; 0 where the tree is empty.
  public var levels = 0
  public var leafPages: UInt64 = 0
  public var branchPages: UInt64 = 0
  /// Values in pages of their own, and the pages they take.
  public var overflowValues: UInt64 = 0
  public var overflowPages: UInt64 = 0
  /// Bytes of leaf and branch pages that are in use, headers included.
  public var leafBytes: UInt64 = 0
  public var branchBytes: UInt64 = 0
  /// Bytes of all keys and all values, as they were put.
  public var keyBytes: UInt64 = 0
  public var valueBytes: UInt64 = 0

  public var pages: UInt64 { leafPages + branchPages + overflowPages }
}

extension Database {
  /// Figures of every tree in the published snapshot. O(pages): it reads every leaf and branch.
  ///
  /// Throws `corrupt`, `readersFull`.
  public func treeStatistics() throws(DatabaseError) -> [TreeStatistics] {
    let reader = try makeReader()
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    var all: [TreeStatistics] = []
    for (i, name) in treeNames.prefix(view.treeCount).enumerated() {
      let tree = view.tree(TreeID(UInt8(i)))
      var figures = TreeStatistics()
      figures.name = name
      figures.entries = tree.count
      figures.levels = tree.root.page == 0 ? 0 : Int(tree.root.level) + 1
      if tree.root.page != 0 { try figures.add(tree.source, tree.root.page, level: Int(tree.root.level)) }
      all.append(figures)
    }
    return all
  }
}

extension TreeStatistics {
  /// A subtree. Levels strictly fall, so this ends on any file.
  fileprivate mutating func add(_ source: PageSource, _ id: PageID, level: Int) throws(DatabaseError) {
    let page = try source.page(id, level: level)
    if level == 0 { return try addLeaf(source, page) }
    let branch = BranchPage(page)
    guard branch.isWellFormed(pageSize: source.pageSize), branch.header.upper <= source.pageSize else {
      throw source.damaged(page)
    }
    branchPages += 1
    branchBytes += UInt64(branch.lower + source.pageSize - branch.header.upper)
    for i in 0...branch.count { try add(source, branch.child(i), level: level - 1) }
  }

  private mutating func addLeaf(_ source: PageSource, _ page: UnsafeRawPointer) throws(DatabaseError) {
    let leaf = LeafPage(page)
    guard leaf.isWellFormed(pageSize: source.pageSize) else { throw source.damaged(page) }
    leafPages += 1
    leafBytes += UInt64(leaf.lower)
    let n = leaf.count
    for i in 0..<n {
      let record = leaf.recordOffset(i, count: n)
      guard leaf.isRecordInside(record, pageSize: source.pageSize) else { throw source.damaged(page) }
      leafBytes += UInt64(leaf.recordLength(record))
      keyBytes += UInt64(leaf.keyLength(i))
      guard leaf.isOverflow(record) else {
        valueBytes += UInt64(leaf.storedValueLength(record))
        continue
      }
      let run = OverflowReference(page + record + 4 + leaf.tailLength(record))
      guard run.length <= UInt64(Int32.max) else { throw source.damaged(page) }
      valueBytes += run.length
      overflowValues += 1
      overflowPages += OverflowReference.pages(length: run.length, pageSize: source.pageSize)
    }
  }
}
