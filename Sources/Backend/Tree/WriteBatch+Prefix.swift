// The tree-wide prefix. All keys of a tree begin with its root's prefix; a key that does not shortens it first.

import Glibc

extension WriteBatch {
  /// Makes the tree ready for `key`: if the key does not begin with the tree's prefix, the pages whose prefix is the
  /// tree's — those on both spines, having an infinite fence — are rewritten with the part that is shared. Pages inside
  /// have prefixes from two finite fences, which no key changes.
  func admit(_ tree: TreeID, _ key: UnsafeRawBufferPointer) throws(DatabaseError) {
    let view = TreeView(source: source, root: roots[Int(tree.raw)])
    let root = try source.page(view.root.page, level: Int(view.root.level))
    let prefix = try view.treePrefix(root)
    let shared = commonPrefix(key, prefix)
    if shared == prefix.count { return }
    // Both spines or none: a damaged page must show before anything has changed.
    for rightSpine in [false, true] { try copySpine(tree, right: rightSpine) }
    for rightSpine in [false, true] where !(rightSpine && mutant(.rightSpineKeepsPrefix)) {
      while try !shortenSpine(tree, to: shared, right: rightSpine) {}
    }
  }

  private func copySpine(_ tree: TreeID, right: Bool) throws(DatabaseError) {
    let slot = Int(tree.raw)
    var id = roots[slot].page
    var page = try writable(&id, level: Int(roots[slot].level))
    roots[slot].page = id
    for level in stride(from: Int(roots[slot].level) - 1, through: 0, by: -1) {
      let branch = BranchEditor(page, pageSize: geometry.pageSize)
      page = try writableChild(branch, right ? branch.view.count : 0, level: level, id: &id)
    }
  }

  /// Walks down a spine and rewrites what has a longer prefix. True when all of it is done; false when a page had to be
  /// split first, after which the walk starts anew. Each split leaves fewer entries on the spine, so this ends.
  private func shortenSpine(
    _ tree: TreeID, to prefixLength: Int, right: Bool
  ) throws(DatabaseError) -> Bool {
    let slot = Int(tree.raw)
    depth = Int(roots[slot].level)
    var id = roots[slot].page
    var page = try writable(&id, level: depth)
    roots[slot].page = id
    for step in 0..<depth {
      let branch = BranchEditor(page, pageSize: geometry.pageSize)
      let index = right ? branch.view.count : 0
      path[step] = PathStep(page: page, index: index)
      if branch.view.prefixLength > prefixLength, !shorten(tree, branch, step: step, to: prefixLength) { return false }
      page = try writableChild(branch, index, level: depth - step - 1, id: &id)
    }
    let leaf = LeafEditor(page, pageSize: geometry.pageSize)
    return leaf.view.prefixLength <= prefixLength || shorten(tree, leaf, id, to: prefixLength)
  }

  private func shorten(_ tree: TreeID, _ branch: BranchEditor, step: Int, to prefixLength: Int) -> Bool {
    let contents = BranchContents(branch.view, keyBuffer: entryBuffer)
    let level = branch.view.level
    guard contents.encodedSize(prefixLength: prefixLength, level: level) <= geometry.pageSize else {
      // Its separators all begin with the longer prefix, so it splits like any page.
      splitBranch(tree, step: step, contents, appended: false)
      return false
    }
    memcpy(fenceBuffer, branch.view.prefix, prefixLength)
    reformat(branch.page)
    contents.encode(
      into: branch.page, pageSize: geometry.pageSize, level: level,
      prefix: UnsafeRawBufferPointer(start: fenceBuffer, count: prefixLength))
    return true
  }

  private func shorten(_ tree: TreeID, _ leaf: LeafEditor, _ id: PageID, to prefixLength: Int) -> Bool {
    let n = leaf.view.count
    let size = leaf.view.weight(from: 0, to: n, prefixLength: prefixLength) + prefixLength
    guard size <= geometry.capacity else {
      splitLeaf(
        tree, leaf, id, at: max(1, n / 2), newKey: UnsafeRawBufferPointer(start: nil, count: 0))
      return false
    }
    rewrite(leaf, prefixLength: prefixLength)
    return true
  }
}
