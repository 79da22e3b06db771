// A tree as a snapshot shows it: point lookups and order statistics.

import CNeedletail

/// A read-only tree at one snapshot. Trivial: copying it costs nothing and keeps nothing alive; it is valid while the
/// reader that made it stays pinned.
package struct TreeView {
  let source: PageSource
  let root: TreeRoot
  /// What all keys of the tree begin with: the root's prefix, since both its fences are infinite. It is the only prefix
  /// that a lookup compares: below the root the fences vouch for the rest. It lies in the root page.
  let prefix: UnsafeRawPointer
  /// Negative: not known, because the tree is empty, its root is a batch's own, or damaged.
  let prefixLength: Int

  init(source: PageSource, root: TreeRoot) {
    self.source = source
    self.root = root
    (prefix, prefixLength) = Self.knownPrefix(source, root)
  }

  private static func knownPrefix(_ source: PageSource, _ root: TreeRoot) -> (UnsafeRawPointer, Int) {
    guard root.page != 0, root.page < source.limit,
      let page = try? source.page(root.page, level: Int(root.level)),
      let prefix = try? storedPrefix(of: page, level: Int(root.level), source)
    else { return (source.base, -1) }
    return (prefix.baseAddress ?? source.base, prefix.count)
  }

  /// Live entries. O(1).
  package var count: UInt64 { root.live }

  /// The value of `key`, or nil. O(log n); takes no lock, allocates nothing.
  ///
  /// The bytes lie in the mapped file (or, in a batch, in its scratch pages). Throws `corrupt` where a page is not
  /// what its parent says.
  @inline(__always)
  package func get(_ key: UnsafeRawBufferPointer) throws(DatabaseError) -> UnsafeRawBufferPointer? {
    guard let bytes = key.baseAddress, key.count > 0 else { return nil }
    let answer = quickGet(bytes, key.count)
    if _fastPath(answer.count >= 0) { return UnsafeRawBufferPointer(start: answer.start, count: answer.count) }
    return answer.count == QuickAnswer.missing ? nil : try rest(of: answer, key)
  }

  /// What a quick lookup left to do: it found neither a value in its page nor that there is none.
  @inline(never)
  func rest(
    of answer: QuickAnswer, _ key: UnsafeRawBufferPointer
  ) throws(DatabaseError) -> UnsafeRawBufferPointer? {
    if answer.count == QuickAnswer.elsewhere, let reference = answer.start {
      return try source.overflowValue(OverflowReference(reference))
    }
    return try getChecked(key)
  }

  /// As `get`, for whatever a quick lookup leaves alone.
  @inline(never)
  func getChecked(_ key: UnsafeRawBufferPointer) throws(DatabaseError) -> UnsafeRawBufferPointer? {
    guard root.page != 0, let bytes = key.baseAddress, key.count > 0 else { return nil }
    let length = key.count
    var page = try source.page(root.page, level: Int(root.level))
    guard try sharesTreePrefix(page, bytes, length) else { return nil }
    var level = Int(root.level)
    while level > 0 {
      let branch = BranchPage(page)
      guard _fastPath(branch.isSearchable(pageSize: source.pageSize) && branch.prefixLength <= length) else {
        throw source.damaged(page)
      }
      let child = branch.child(branch.childIndex(bytes, length, pageSize: source.pageSize))
      level &-= 1
      page = try source.page(child, level: level)
    }
    let leaf = LeafPage(page)
    guard _fastPath(leaf.isWellFormed(pageSize: source.pageSize) && leaf.prefixLength <= length) else {
      throw source.damaged(page)
    }
    let (index, found) = leaf.search(bytes, length, pageSize: source.pageSize)
    return found ? try source.value(of: leaf, index) : nil
  }

  /// Whether `key` begins with what all keys of the tree begin with: the root's prefix, since both its fences are
  /// infinite. It is the only prefix a lookup compares: below the root the fences vouch for the rest.
  @inline(__always) func sharesTreePrefix(
    _ root: UnsafeRawPointer, _ key: UnsafeRawPointer, _ length: Int
  ) throws(DatabaseError) -> Bool {
    let prefix = try treePrefix(root)
    return prefix.count <= length && equalBytes(prefix.baseAddress.unsafelyUnwrapped, key, prefix.count)
  }

  @inline(__always) func treePrefix(_ root: UnsafeRawPointer) throws(DatabaseError) -> UnsafeRawBufferPointer {
    try Self.storedPrefix(of: root, level: Int(self.root.level), source)
  }

  @inline(__always) private static func storedPrefix(
    of page: UnsafeRawPointer, level: Int, _ source: PageSource
  ) throws(DatabaseError) -> UnsafeRawBufferPointer {
    if level == 0 {
      let leaf = LeafPage(page)
      guard leaf.isWellFormed(pageSize: source.pageSize) else { throw source.damaged(page) }
      return UnsafeRawBufferPointer(start: leaf.prefix, count: leaf.prefixLength)
    }
    let branch = BranchPage(page)
    guard branch.isWellFormed(pageSize: source.pageSize) else { throw source.damaged(page) }
    return UnsafeRawBufferPointer(start: branch.prefix, count: branch.prefixLength)
  }

  /// Number of entries whose key is smaller than `key`. O(log n): branches know their children's counts.
  package func rank(_ key: UnsafeRawBufferPointer) throws(DatabaseError) -> UInt64 {
    guard root.page != 0, let bytes = key.baseAddress, key.count > 0 else { return 0 }
    let length = key.count
    var page = try source.page(root.page, level: Int(root.level))
    let prefix = try treePrefix(page)
    let order = compareToPrefix(key, prefix)
    if order != 0 { return order < 0 ? 0 : root.live }
    var rank: UInt64 = 0
    var level = Int(root.level)
    while level > 0 {
      let branch = BranchPage(page)
      guard branch.isWellFormed(pageSize: source.pageSize), branch.prefixLength <= length else {
        throw source.damaged(page)
      }
      let index = branch.childIndex(bytes, length, pageSize: source.pageSize)
      rank &+= branch.liveCount(before: index)
      level &-= 1
      page = try source.page(branch.child(index), level: level)
    }
    let leaf = LeafPage(page)
    guard leaf.isWellFormed(pageSize: source.pageSize), leaf.prefixLength <= length else {
      throw source.damaged(page)
    }
    return rank &+ UInt64(leaf.search(bytes, length, pageSize: source.pageSize).index)
  }

  package func cursor() -> Cursor { Cursor(self) }
}

/// Where a key lies beside everything that begins with `prefix`: 0 inside, negative before, positive behind.
func compareToPrefix(_ key: UnsafeRawBufferPointer, _ prefix: UnsafeRawBufferPointer) -> Int {
  let shared = commonPrefix(key, prefix)
  if shared == prefix.count { return 0 }
  if shared == key.count { return -1 }
  return key[shared] < prefix[shared] ? -1 : 1
}
