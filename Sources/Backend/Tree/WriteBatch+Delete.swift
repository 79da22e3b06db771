// Deleting entries, and merging pages that grew too empty.

import Glibc

extension WriteBatch {
  /// Removes `key`; false where it was not there. O(log n).
  package func delete(_ tree: TreeID, _ key: UnsafeRawBufferPointer) throws(DatabaseError) -> Bool {
    // Look first: a miss must not copy the path.
    guard try view(tree).get(key) != nil, let bytes = key.baseAddress else { return false }
    let (id, page) = try descend(tree, bytes, key.count)
    let leaf = LeafEditor(page, pageSize: geometry.pageSize)
    let (index, found) = leaf.view.search(bytes, key.count, pageSize: geometry.pageSize)
    guard found else { return false }
    try discardOverflow(leaf.view, index)
    leaf.remove(at: index)
    addLive(tree, -1)
    changed()
    lastInsert = (0, -1)
    rebalanceLeaf(tree, leaf, id, key)
    return true
  }

  /// Merging starts below a third and stops at seven eighths: what was merged neither splits nor merges again soon.
  private func isUnderfull(_ used: Int) -> Bool { used * 3 < geometry.capacity }
  private var mergedMax: Int { geometry.capacity / 8 * 7 }

  func rebalanceLeaf(
    _ tree: TreeID, _ leaf: LeafEditor, _ id: PageID, _ key: UnsafeRawBufferPointer
  ) {
    guard depth > 0 else {
      if leaf.view.count == 0 {
        scratch.release(id)
        roots[Int(tree.raw)] = .empty
      }
      return
    }
    guard isUnderfull(leaf.used) else { return }
    let step = depth - 1
    let parent = BranchEditor(path[step].page, pageSize: geometry.pageSize)
    let index = path[step].index
    for neighbour in [index + 1, index - 1] where neighbour >= 0 && neighbour <= parent.view.count {
      if mergeLeaves(tree, leaf, id, with: neighbour, key) {
        rebalanceBranch(tree, step: step, key)
        return
      }
    }
  }

  /// Merges the leaf at the end of `path` with its neighbour under the same parent, where both fit in one page.
  private func mergeLeaves(
    _ tree: TreeID, _ leaf: LeafEditor, _ id: PageID, with neighbour: Int, _ key: UnsafeRawBufferPointer
  ) -> Bool {
    let step = depth - 1
    let parent = BranchEditor(path[step].page, pageSize: geometry.pageSize)
    let index = path[step].index
    let siblingID = parent.view.child(neighbour)
    guard let sibling = readable(siblingID, level: 0) else { return false }
    let prefixLength = mergedPrefix(step, min(index, neighbour), key)
    let other = LeafPage(sibling)
    let size =
      prefixLength + leaf.view.weight(from: 0, to: leaf.view.count, prefixLength: prefixLength)
      + other.weight(from: 0, to: other.count, prefixLength: prefixLength)
    // An empty leaf has nothing that could split again soon: it goes wherever its neighbour fits at all.
    let limit = leaf.view.count == 0 ? geometry.capacity : mergedMax
    guard size <= limit else { return false }

    memcpy(pageBuffer, leaf.page, geometry.pageSize)
    let own = LeafPage(UnsafeRawPointer(pageBuffer))
    reformat(leaf.page)
    var builder = LeafBuilder(
      leaf.page, pageSize: geometry.pageSize, count: own.count + other.count,
      prefix: key.baseAddress.unsafelyUnwrapped, prefixLength: prefixLength)
    let (first, second) = index < neighbour ? (own, other) : (other, own)
    builder.append(first, from: 0, to: first.count, buffer: entryBuffer)
    builder.append(second, from: 0, to: second.count, buffer: entryBuffer)
    discard(siblingID)
    removeSeparator(step, min(index, neighbour), keeping: id)
    return true
  }

  /// Prefix of the page that children `first` and `first` + 1 of `path[step]` become: what the fences around both share.
  /// `key` lies between them.
  private func mergedPrefix(_ step: Int, _ first: Int, _ key: UnsafeRawBufferPointer) -> Int {
    let index = path[step].index
    defer { path[step].index = index }
    // Of three keys in order, the outer two share what the shorter-sharing neighbours share.
    path[step].index = first
    let low = sharedWithFence(step, lower: true, key)
    path[step].index = first + 1
    let high = sharedWithFence(step, lower: false, key)
    let treePrefix = PageHeader(UnsafeRawPointer(path[0].page)).prefixLength
    guard let low, let high else { return treePrefix }
    return mutant(.mergeKeepsLongerPrefix) ? max(low, high) : min(low, high)
  }

  /// A sibling to read from: scratch or published. Nil where it is damaged: the entry is deleted by now, which must not
  /// fail because a neighbour cannot be merged with; whoever reads the neighbour gets the error.
  func readable(_ id: PageID, level: Int) -> UnsafeRawPointer? {
    guard let page = try? source.page(id, level: level) else { return nil }
    if id & dirtyBit == 0, (try? checkForEditing(page, level: level)) == nil { return nil }
    return page
  }

  /// Children `first` and `first` + 1 of `path[step]` are now the one page `id`.
  private func removeSeparator(_ step: Int, _ first: Int, keeping id: PageID) {
    let parent = BranchEditor(path[step].page, pageSize: geometry.pageSize)
    let level = parent.view.level
    var contents = BranchContents(parent.view, keyBuffer: entryBuffer)
    contents.separators.remove(at: first)
    let gained = mutant(.mergeLosesCount) ? 0 : contents.children[first + 1].live
    contents.children[first] = .init(id: id, live: contents.children[first].live + gained)
    contents.children.remove(at: first + 1)
    let prefixLength = parent.view.prefixLength
    memcpy(fenceBuffer, parent.view.prefix, prefixLength)
    reformat(parent.page)
    contents.encode(
      into: parent.page, pageSize: geometry.pageSize, level: level,
      prefix: UnsafeRawBufferPointer(start: fenceBuffer, count: prefixLength))
    path[step].index = first
  }

  func rebalanceBranch(
    _ tree: TreeID, step: Int, _ key: UnsafeRawBufferPointer
  ) {
    let branch = BranchEditor(path[step].page, pageSize: geometry.pageSize)
    guard step > 0 else {
      collapseRoot(tree)
      return
    }
    let header = branch.view.header
    let used = branch.view.lower - headerSize + geometry.pageSize - header.upper - header.garbage
    guard isUnderfull(used) || branch.view.count == 0 else { return }
    let parent = BranchEditor(path[step - 1].page, pageSize: geometry.pageSize)
    let index = path[step - 1].index
    for neighbour in [index + 1, index - 1] where neighbour >= 0 && neighbour <= parent.view.count {
      if mergeBranches(branch, step: step, with: neighbour, key) {
        rebalanceBranch(tree, step: step - 1, key)
        return
      }
    }
  }

  /// Merges the branch at `path[step]` with its neighbour; the separator between them comes down.
  private func mergeBranches(
    _ branch: BranchEditor, step: Int, with neighbour: Int, _ key: UnsafeRawBufferPointer
  ) -> Bool {
    let parent = BranchEditor(path[step - 1].page, pageSize: geometry.pageSize)
    let index = path[step - 1].index
    let level = branch.view.level
    let siblingID = parent.view.child(neighbour)
    guard let siblingPage = readable(siblingID, level: level) else { return false }
    let sibling = BranchPage(siblingPage)
    let prefixLength = mergedPrefix(step - 1, min(index, neighbour), key)

    let own = BranchContents(branch.view, keyBuffer: entryBuffer)
    let other = BranchContents(sibling, keyBuffer: entryBuffer)
    let (first, second) = index < neighbour ? (own, other) : (other, own)
    let length = parent.view.copySeparator(min(index, neighbour), to: entryBuffer)
    var merged = first
    merged.separators.append([UInt8](UnsafeRawBufferPointer(start: entryBuffer, count: length)))
    merged.separators += second.separators
    merged.children += second.children
    // A branch with one child and no separator is merged whenever it fits at all.
    let limit = branch.view.count == 0 ? geometry.pageSize : headerSize + mergedMax
    guard merged.encodedSize(prefixLength: prefixLength, level: level) <= limit else { return false }

    let id = PageHeader(UnsafeRawPointer(branch.page)).id
    reformat(branch.page)
    merged.encode(
      into: branch.page, pageSize: geometry.pageSize, level: level,
      prefix: UnsafeRawBufferPointer(start: key.baseAddress, count: prefixLength))
    discard(siblingID)
    removeSeparator(step - 1, min(index, neighbour), keeping: id)
    return true
  }

  /// A root with one child gives way to it. The child's fences are infinite like the root's, so its prefix is right.
  private func collapseRoot(_ tree: TreeID) {
    let slot = Int(tree.raw)
    while roots[slot].level > 0 {
      let id = roots[slot].page
      guard id & dirtyBit != 0 else { return }
      let root = BranchPage(UnsafeRawPointer(scratch[id]))
      guard root.count == 0 else { return }
      roots[slot].page = root.child(0)
      roots[slot].level -= 1
      scratch.release(id)
    }
  }
}
