// Splitting pages and growing the tree.
//
// A page's prefix follows from its fences, the separators around it: all keys between two fences share what the fences
// share. Where a fence is infinite (the tree's left and right spine) the prefix is what all keys of the tree share; such
// a page keeps the prefix it has. A new separator lies between a page's fences, so the halves' prefixes are at least as
// long as the page's own.

import Glibc

extension WriteBatch {
  // MARK: Fences

  /// Length of what a page's lower (or upper) fence shares with `key`, or nil where that fence is infinite. The page is
  /// the child at `path[step].index` of `path[step]`.
  func sharedWithFence(_ step: Int, lower: Bool, _ key: UnsafeRawBufferPointer) -> Int? {
    var step = step
    while step >= 0 {
      let branch = BranchPage(UnsafeRawPointer(path[step].page))
      let separator = lower ? path[step].index - 1 : path[step].index
      if separator >= 0, separator < branch.count {
        let length = branch.copySeparator(separator, to: fenceBuffer)
        return min(commonPrefix(UnsafeRawBufferPointer(start: fenceBuffer, count: length), key), geometry.prefixMax)
      }
      step -= 1
    }
    return nil
  }

  // MARK: Leaves

  /// Where to cut a full leaf that a new entry at `index` overflows: entries before the cut stay.
  func splitPoint(_ leaf: LeafEditor, _ id: PageID, _ index: Int) -> Int {
    let view = leaf.view
    let n = view.count
    // Ascending keys leave full pages behind.
    // The leaf's upper fence moves down to the new key, which may lengthen the prefix by up to 8 bytes that its entries do
    // not save (a head takes 8 bytes however short the rest of a key is): where they aren't free, the last entry goes too.
    if isAppend(leaf, id, index) { return leaf.freeAfterRewrite >= 8 ? n : max(1, n - 1) }
    // Otherwise halve by weight: cut before the first entry that would take the left half past the middle by more than
    // it lacks.
    precondition(n >= 2)
    let total = view.weight(from: 0, to: n, prefixLength: view.prefixLength)
    var left = 0
    for i in 0..<n {
      let weight = view.weight(from: i, to: i + 1, prefixLength: view.prefixLength)
      if 2 * left + weight >= total { return max(1, i) }
      left += weight
    }
    return n - 1
  }

  /// Ascending keys: at the tree's right edge, and where the last insertion was right here.
  func isAppend(_ leaf: LeafEditor, _ id: PageID, _ index: Int) -> Bool {
    let n = leaf.view.count
    return index == n && (isRightmost || lastInsert == (id, n - 1))
  }

  private var isRightmost: Bool {
    for step in 0..<depth where path[step].index < BranchPage(UnsafeRawPointer(path[step].page)).count { return false }
    return true
  }

  /// Cuts a leaf before entry `cut`; with `cut` = count the right half is empty, to receive `newKey`.
  func splitLeaf(_ tree: TreeID, _ leaf: LeafEditor, _ id: PageID, at cut: Int, newKey: UnsafeRawBufferPointer) {
    memcpy(pageBuffer, leaf.page, geometry.pageSize)
    let old = LeafPage(UnsafeRawPointer(pageBuffer))
    let n = old.count
    precondition(n >= 1 && cut >= 1 && cut <= n)

    let separator = shortestSeparator(old, before: cut, newKey)
    let left = sharedWithFence(depth - 1, lower: true, separator) ?? old.prefixLength
    let right = sharedWithFence(depth - 1, lower: false, separator) ?? old.prefixLength
    // The separator begins with either prefix: it lies between the fences.
    let prefix = separator.baseAddress.unsafelyUnwrapped

    reformat(leaf.page)
    var builder = LeafBuilder(
      leaf.page, pageSize: geometry.pageSize, count: cut, prefix: prefix, prefixLength: left)
    builder.append(old, from: 0, to: cut, buffer: entryBuffer)
    let (rightID, rightPage) = newPage(tree: tree, level: 0)
    builder = LeafBuilder(
      rightPage, pageSize: geometry.pageSize, count: n - cut, prefix: prefix, prefixLength: right)
    builder.append(old, from: cut, to: n, buffer: entryBuffer)
    insertSeparator(
      tree, step: depth - 1, separator, left: .init(id: id, live: UInt64(cut)),
      right: .init(id: rightID, live: UInt64(n - cut)), prefixLength: old.prefixLength)
  }

  /// The shortest key that is greater than entry cut−1 and not greater than entry `cut` (or `newKey` behind the last).
  private func shortestSeparator(
    _ leaf: LeafPage, before cut: Int, _ newKey: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    let low = UnsafeRawBufferPointer(start: entryBuffer, count: leaf.copyKey(cut - 1, to: entryBuffer))
    let length: Int
    if cut < leaf.count {
      length = leaf.copyKey(cut, to: separatorBuffer)
    } else {
      length = newKey.count
      memcpy(separatorBuffer, newKey.baseAddress.unsafelyUnwrapped, length)
    }
    let high = UnsafeRawBufferPointer(start: separatorBuffer, count: length)
    let beyond = mutant(.shortSeparator) ? 0 : 1
    return UnsafeRawBufferPointer(start: separatorBuffer, count: min(length, commonPrefix(low, high) + beyond))
  }

  // MARK: Branches

  /// Tells the parent at `path[step]` that its child became two. Splits it where it has no room; grows the tree at
  /// the root. `prefixLength` is the split page's own, which a new root takes over.
  func insertSeparator(
    _ tree: TreeID, step: Int, _ separator: UnsafeRawBufferPointer, left: BranchContents.Child,
    right: BranchContents.Child, prefixLength: Int
  ) {
    guard step >= 0 else {
      growRoot(tree, separator, left: left, right: right, prefixLength: prefixLength)
      return
    }
    let parent = BranchEditor(path[step].page, pageSize: geometry.pageSize)
    let index = path[step].index
    assert(parent.view.child(index) == left.id)
    parent.setLiveCount(index, left.live)
    if parent.insert(at: index, separator: separator, right: right, scratch: pageBuffer) { return }

    var contents = BranchContents(parent.view, keyBuffer: entryBuffer)
    contents.separators.insert([UInt8](separator), at: index)
    contents.children.insert(right, at: index + 1)
    // Replaced separators may have left garbage, which a rewrite wins back.
    let level = parent.view.level
    let prefixLength = parent.view.prefixLength
    if contents.encodedSize(prefixLength: prefixLength, level: level) <= geometry.pageSize {
      memcpy(fenceBuffer, parent.view.prefix, prefixLength)
      reformat(parent.page)
      contents.encode(
        into: parent.page, pageSize: geometry.pageSize, level: level,
        prefix: UnsafeRawBufferPointer(start: fenceBuffer, count: prefixLength))
      return
    }
    splitBranch(tree, step: step, contents, appended: index == parent.view.count)
  }

  private func growRoot(
    _ tree: TreeID, _ separator: UnsafeRawBufferPointer, left: BranchContents.Child, right: BranchContents.Child,
    prefixLength: Int
  ) {
    let slot = Int(tree.raw)
    let level = Int(roots[slot].level) + 1
    precondition(level < depthLimit)
    let (id, page) = newPage(tree: tree, level: level)
    var contents = BranchContents()
    contents.separators = [[UInt8](separator)]
    contents.children = [left, right]
    contents.encode(
      into: page, pageSize: geometry.pageSize, level: level,
      prefix: UnsafeRawBufferPointer(rebasing: separator[..<prefixLength]))
    roots[slot].page = id
    roots[slot].level = Int32(level)
  }

  /// Writes `contents`, one separator too many for the page at `path[step]`, to that page and a new one to its right.
  func splitBranch(_ tree: TreeID, step: Int, _ contents: BranchContents, appended: Bool) {
    let page = path[step].page
    let old = BranchPage(UnsafeRawPointer(page))
    let level = old.level
    let prefixLength = old.prefixLength
    let middle = appended ? contents.separators.count - 2 : middleByWeight(contents, level: level)
    let up = contents.separators[middle]
    let leftPart = contents.slice(from: 0, to: middle)
    let rightPart = contents.slice(from: middle + 1, to: contents.separators.count)

    up.withUnsafeBytes { up in
      let left = sharedWithFence(step - 1, lower: true, up) ?? prefixLength
      let right = sharedWithFence(step - 1, lower: false, up) ?? prefixLength
      let id = PageHeader(UnsafeRawPointer(page)).id
      reformat(page)
      leftPart.encode(
        into: page, pageSize: geometry.pageSize, level: level, prefix: UnsafeRawBufferPointer(rebasing: up[..<left]))
      let (rightID, rightPage) = newPage(tree: tree, level: level)
      rightPart.encode(
        into: rightPage, pageSize: geometry.pageSize, level: level,
        prefix: UnsafeRawBufferPointer(rebasing: up[..<right]))
      insertSeparator(
        tree, step: step - 1, up, left: .init(id: id, live: leftPart.live),
        right: .init(id: rightID, live: rightPart.live), prefixLength: prefixLength)
    }
  }

  /// The separator that, sent up, halves the rest; both halves keep at least one.
  private func middleByWeight(_ contents: BranchContents, level: Int) -> Int {
    let entry = 14 + BranchPage.countWidth(level: level)
    let weights = contents.separators.map { entry + $0.count }
    let total = weights.reduce(0, +)
    var left = 0
    for (i, weight) in weights.enumerated() {
      left += weight
      if 2 * left >= total { return max(1, min(contents.separators.count - 2, i)) }
    }
    return contents.separators.count / 2
  }
}
