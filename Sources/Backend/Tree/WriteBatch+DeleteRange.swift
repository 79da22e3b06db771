// Deleting a range of keys by cutting whole subtrees off.
//
// The first and the last entry of the range lie in two leaves. Below the branch where the paths to them part, everything
// right of the first path and left of the last is inside the range; so are the children between the two at that branch.
//
// Fences must not move under pages that stay, because a page's prefix follows from its fences and a full page has no room
// for a shorter prefix. So in each branch that loses children one empty child takes over their range: it holds nothing,
// so any prefix fits. Merging, the same as after a single deletion, then gets rid of the empty ones.
//
// The leaves cut off are read once: a page's header says since when it lives, which decides when it may be used again, and
// entries may refer to overflow runs. That is sequential work of a few hundred nanoseconds a page; entries are neither
// compared nor moved.

import Glibc

extension WriteBatch {
  /// Removes all entries from `from` on (the first, where nil) up to and without `to` (the last, where nil), and tells how
  /// many they were. O(log n + pages freed). Throws `corrupt` where a page on the way is damaged; nothing is removed then.
  package func delete(
    _ tree: TreeID, from: UnsafeRawBufferPointer?, to: UnsafeRawBufferPointer?
  ) throws(DatabaseError) -> UInt64 {
    let view = try view(tree)
    let low = try from.map { (key) throws(DatabaseError) in try view.rank(key) } ?? 0
    let high = try to.map { (key) throws(DatabaseError) in try view.rank(key) } ?? view.count
    guard low < high else { return 0 }
    let removed = high - low
    appendPosition = nil
    if removed == view.count {
      try clear(tree)
    } else {
      var cursor = view.cursor()
      if let from { try cursor.seek(from) } else { try cursor.first() }
      guard cursor.isValid else { return 0 }
      let first = try [UInt8](cursor.key)
      if let to, try cursor.seek(to) { try cursor.previous() } else { try cursor.last() }
      guard cursor.isValid else { return 0 }
      let last = try [UInt8](cursor.key)
      try cut(tree, first, last, removed)
    }
    lastInsert = (0, -1)
    changed()
    return removed
  }

  private func clear(_ tree: TreeID) throws(DatabaseError) {
    var dropped = DroppedPages()
    try drop(roots[Int(tree.raw)].page, level: Int(roots[Int(tree.raw)].level), &dropped)
    discard(dropped)
    roots[Int(tree.raw)] = .empty
  }

  // MARK: What goes

  /// Collects the pages of a subtree, each checked whole: what a damaged page refers to may be somebody else's.
  private func drop(_ id: PageID, level: Int, _ dropped: inout DroppedPages) throws(DatabaseError) {
    let page = try source.page(id, level: level)
    if id & dirtyBit == 0, !mutant(.rangeDeletionUnchecked) { try checkForEditing(page, level: level) }
    dropped.pages.append(id)
    if level == 0 {
      let leaf = LeafPage(page)
      try dropOverflows(leaf, from: 0, to: leaf.count, &dropped)
    } else {
      let branch = BranchPage(page)
      for i in 0...branch.count { try drop(branch.child(i), level: level - 1, &dropped) }
    }
  }

  private func dropOverflows(
    _ leaf: LeafPage, from: Int, to: Int, _ dropped: inout DroppedPages
  ) throws(DatabaseError) {
    let n = leaf.count
    for i in from..<to {
      let record = leaf.recordOffset(i, count: n)
      guard leaf.isOverflow(record) else { continue }
      let run = OverflowReference(leaf.page + record + 4 + leaf.tailLength(record))
      try checkOverflow(run)
      dropped.runs.append(run)
    }
  }

  /// Cannot fail: everything was checked when it was collected.
  private func discard(_ dropped: DroppedPages) {
    for id in dropped.pages where !mutant(.rangeDeletionKeepsPages) { discard(id) }
    for run in dropped.runs where !mutant(.rangeDeletionKeepsValues) { freeOverflow(run) }
  }

  // MARK: Cutting

  /// Removes the `removed` entries from `first` to `last`, both of which exist, where others stay.
  private func cut(_ tree: TreeID, _ first: [UInt8], _ last: [UInt8], _ removed: UInt64) throws(DatabaseError) {
    let left = try edge(tree, first)
    let right = try edge(tree, last)
    if left.leaf.page == right.leaf.page {
      var dropped = DroppedPages()
      try dropOverflows(left.leaf.view, from: left.index, to: right.index + 1, &dropped)
      discard(dropped)
      rewrite(left.leaf, without: left.index..<right.index + 1)
      addLive(tree, -Int64(removed))
      merge(tree, around: [first])
      return
    }
    // Both paths have all steps, and part at one of them, because the leaves differ.
    guard let parting = (0..<depth).first(where: { left.path[$0].index != right.path[$0].index }) else { return }
    var dropped = DroppedPages()
    try dropOverflows(left.leaf.view, from: left.index, to: left.leaf.view.count, &dropped)
    try dropOverflows(right.leaf.view, from: 0, to: right.index + 1, &dropped)
    for step in parting..<depth {
      let level = depth - step - 1
      let before = BranchPage(UnsafeRawPointer(left.path[step].page))
      let end = step == parting ? right.path[step].index : before.count + 1
      for i in left.path[step].index + 1..<end { try drop(before.child(i), level: level, &dropped) }
      guard step > parting else { continue }
      let behind = BranchPage(UnsafeRawPointer(right.path[step].page))
      for i in 0..<right.path[step].index { try drop(behind.child(i), level: level, &dropped) }
    }

    discard(dropped)
    rewrite(left.leaf, without: left.index..<left.leaf.view.count)
    rewrite(right.leaf, without: 0..<right.index + 1)
    var keys = [first, last]
    let leftLive = trim(tree, left, below: parting, isLeft: true, &keys)
    let rightLive = trim(tree, right, below: parting, isLeft: false, &keys)
    join(tree, left, right, at: parting, leftLive, rightLive, &keys)
    for step in 0..<parting where !mutant(.rangeDeletionKeepsCounts) {
      BranchEditor(left.path[step].page, pageSize: geometry.pageSize)
        .addLiveCount(left.path[step].index, -Int64(removed))
    }
    roots[Int(tree.raw)].live -= removed
    merge(tree, around: keys)
  }

  /// Where a key is: the path to it, all of it writable, and its place in the leaf.
  private struct Edge {
    var path: [PathStep]
    var leaf: LeafEditor
    var index: Int
  }

  private func edge(_ tree: TreeID, _ key: [UInt8]) throws(DatabaseError) -> Edge {
    let pageSize = geometry.pageSize
    key.withUnsafeBytes { separatorBuffer.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: $0.count) }
    let bytes = UnsafeRawPointer(separatorBuffer)
    let leaf = LeafEditor(try descend(tree, bytes, key.count).1, pageSize: pageSize)
    let (index, found) = leaf.view.search(bytes, key.count, pageSize: pageSize)
    guard found else { throw source.damaged(UnsafeRawPointer(leaf.page)) }
    return Edge(path: (0..<depth).map { path[$0] }, leaf: leaf, index: index)
  }

  private func rewrite(_ leaf: LeafEditor, without gap: Range<Int>) {
    memcpy(pageBuffer, leaf.page, geometry.pageSize)
    let old = LeafPage(UnsafeRawPointer(pageBuffer))
    let n = old.count
    reformat(leaf.page)
    var builder = LeafBuilder(
      leaf.page, pageSize: geometry.pageSize, count: n - gap.count, prefix: old.prefix,
      prefixLength: old.prefixLength)
    builder.append(old, from: 0, to: gap.lowerBound, buffer: entryBuffer)
    builder.append(old, from: gap.upperBound, to: n, buffer: entryBuffer)
  }

  /// Takes the children beside a path off, from the leaf's parent up to below step `parting`; returns how many entries are
  /// left under the last branch. `keys` gains one inside each empty child.
  private func trim(
    _ tree: TreeID, _ edge: Edge, below parting: Int, isLeft: Bool, _ keys: inout [[UInt8]]
  ) -> UInt64 {
    var live = UInt64(edge.leaf.view.count)
    for step in stride(from: depth - 1, to: parting, by: -1) {
      let branch = BranchPage(UnsafeRawPointer(edge.path[step].page))
      let index = edge.path[step].index
      var contents = BranchContents(branch, keyBuffer: entryBuffer)
      contents.children[index].live = live
      // The fence above is asked of branches that are still as they were. It is finite: the paths part at a separator.
      if isLeft, index < branch.count, let high = fence(edge.path, above: step, lower: false) {
        let low = contents.separators[index]
        let empty = plantEmpty(tree, level: branch.level - 1, low, high)
        contents = contents.slice(from: 0, to: index)
        contents.separators.append(low)
        contents.children.append(.init(id: empty, live: 0))
        keys.append(low)
      } else if !isLeft, index > 0, let low = fence(edge.path, above: step, lower: true) {
        let high = contents.separators[index - 1]
        let empty = plantEmpty(tree, level: branch.level - 1, low, high)
        contents = contents.slice(from: index, to: branch.count)
        contents.separators.insert(high, at: 0)
        contents.children.insert(.init(id: empty, live: 0), at: 0)
        keys.append(low)
      }
      rewrite(edge.path[step].page, contents)
      live = contents.live
    }
    return live
  }

  /// The branch where the paths part: what is between them gives way to one empty child.
  private func join(
    _ tree: TreeID, _ left: Edge, _ right: Edge, at step: Int, _ leftLive: UInt64, _ rightLive: UInt64,
    _ keys: inout [[UInt8]]
  ) {
    let branch = BranchPage(UnsafeRawPointer(left.path[step].page))
    let (first, last) = (left.path[step].index, right.path[step].index)
    var contents = BranchContents(branch, keyBuffer: entryBuffer)
    contents.children[first].live = leftLive
    contents.children[last].live = rightLive
    if last > first + 1 {
      let low = contents.separators[first]
      let high = contents.separators[last - 1]
      let empty = plantEmpty(tree, level: branch.level - 1, low, high)
      contents.children.replaceSubrange(first + 1..<last, with: [.init(id: empty, live: 0)])
      contents.separators.removeSubrange(first + 1..<last - 1)
      keys.append(low)
    }
    rewrite(left.path[step].page, contents)
  }

  /// The lower (or upper) fence of the page at `steps[step]`; nil where it is infinite.
  private func fence(_ steps: [PathStep], above step: Int, lower: Bool) -> [UInt8]? {
    for above in steps[..<step].reversed() {
      let branch = BranchPage(UnsafeRawPointer(above.page))
      let separator = lower ? above.index - 1 : above.index
      guard separator >= 0, separator < branch.count else { continue }
      let length = branch.copySeparator(separator, to: fenceBuffer)
      return [UInt8](UnsafeRawBufferPointer(start: fenceBuffer, count: length))
    }
    return nil
  }

  /// Fewer or the same separators, the same prefix: it fits.
  private func rewrite(_ page: UnsafeMutableRawPointer, _ contents: BranchContents) {
    let branch = BranchPage(UnsafeRawPointer(page))
    let level = branch.level
    let prefix = [UInt8](UnsafeRawBufferPointer(start: branch.prefix, count: branch.prefixLength))
    reformat(page)
    prefix.withUnsafeBytes { contents.encode(into: page, pageSize: geometry.pageSize, level: level, prefix: $0) }
  }

  /// A subtree without entries between two fences: an empty leaf, under branches of one child.
  private func plantEmpty(_ tree: TreeID, level: Int, _ low: [UInt8], _ high: [UInt8]) -> PageID {
    let common = low.withUnsafeBytes { low in high.withUnsafeBytes { commonPrefix(low, $0) } }
    let shared = mutant(.emptyChildOfAnyPrefix) ? low.count : common
    let prefix = low[..<min(shared, geometry.prefixMax)]
    var (id, page) = newPage(tree: tree, level: 0)
    prefix.withUnsafeBytes { bytes in
      // An empty array has an address too; nothing is read from it then.
      let start = bytes.baseAddress ?? UnsafeRawPointer(entryBuffer)
      _ = LeafBuilder(page, pageSize: geometry.pageSize, count: 0, prefix: start, prefixLength: bytes.count)
    }
    for level in stride(from: 1, through: level, by: 1) {
      var contents = BranchContents()
      contents.children = [.init(id: id, live: 0)]
      (id, page) = newPage(tree: tree, level: level)
      prefix.withUnsafeBytes { contents.encode(into: page, pageSize: geometry.pageSize, level: level, prefix: $0) }
    }
    return id
  }

  // MARK: Merging

  /// Merges what grew too empty on the way to each key, from the leaf up. It only tidies: what is damaged stays as it is.
  private func merge(_ tree: TreeID, around keys: [[UInt8]]) {
    for key in keys {
      key.withUnsafeBytes { key in
        guard let bytes = key.baseAddress else { return }
        var level = 0
        while level <= Int(roots[Int(tree.raw)].level), roots[Int(tree.raw)].page != 0,
          let (id, page) = try? descend(tree, bytes, key.count)
        {
          if level == 0 {
            rebalanceLeaf(tree, LeafEditor(page, pageSize: geometry.pageSize), id, key)
          } else {
            rebalanceBranch(tree, step: depth - level, key)
          }
          level += 1
        }
      }
    }
  }
}

/// What a range deletion will let go of, collected before anything changes.
private struct DroppedPages {
  var pages: [PageID] = []
  var runs: [OverflowReference] = []
}
