// Inserting and replacing entries.

import Glibc

extension WriteBatch {
  /// Sets `key` to `value`. O(log n) page copies at most, none where the batch has touched the path before.
  ///
  /// Throws `keyLength`, `valueLength`, `noSpace` (a large value found no room), `corrupt`.
  package func put(
    _ tree: TreeID, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) throws(DatabaseError) {
    _ = try view(tree)
    if !mutant(.appendPositionKept) { appendPosition = nil }
    guard let bytes = key.baseAddress, key.count >= 1, key.count <= geometry.keyMax else {
      throw .keyLength(key.count, maximum: geometry.keyMax)
    }
    // 16 bytes for an overflow reference, as two words on the stack.
    var reference: (UInt64, UInt64) = (0, 0)
    try withUnsafeMutableBytes(of: &reference) { (buffer) throws(DatabaseError) in
      // A tuple of two words has an address.
      let memory = buffer.baseAddress.unsafelyUnwrapped
      let stored = try store(value, keyLength: key.count, tree: tree, reference: memory)
      do throws(DatabaseError) {
        try put(tree, bytes, key.count, stored)
      } catch {
        undo(stored)
        throw error
      }
    }
    changed()
  }

  private func put(
    _ tree: TreeID, _ key: UnsafeRawPointer, _ length: Int, _ value: StoredValue
  ) throws(DatabaseError) {
    if roots[Int(tree.raw)].page == 0 { plant(tree, key, length) }
    let whole = UnsafeRawBufferPointer(start: key, count: length)
    try admit(tree, whole)
    var hasRedistributed = false
    while true {
      let (id, page) = try descend(tree, key, length)
      let leaf = LeafEditor(page, pageSize: geometry.pageSize)
      let (index, found) = leaf.view.search(key, length, pageSize: geometry.pageSize)
      if found {
        try discardOverflow(leaf.view, index)
        if leaf.replaceInPlace(at: index, value: value) { return }
        leaf.remove(at: index)
        addLive(tree, -1)
      }
      if makeRoom(leaf, length - leaf.view.prefixLength, value) {
        let prefix = leaf.view.prefixLength
        let rest = length - prefix
        leaf.insert(
          at: index, head: keyHead(key, prefix, length), rest: rest, tail: key + (length - max(0, rest - 8)),
          value: value)
        addLive(tree, +1)
        lastInsert = (id, index)
        return
      }
      if !hasRedistributed, !isAppend(leaf, id, index), redistribute(leaf, index, whole, value) {
        hasRedistributed = true
        continue
      }
      // Each split leaves fewer entries beside the new one, and two entries always fit: this ends.
      splitLeaf(tree, leaf, id, at: splitPoint(leaf, id, index), newKey: whole)
    }
  }

  /// First entry of a tree: a leaf whose prefix is the whole key, as far as prefixes go.
  private func plant(_ tree: TreeID, _ key: UnsafeRawPointer, _ length: Int) {
    let (id, page) = newPage(tree: tree, level: 0)
    let prefix = min(length, geometry.prefixMax)
    _ = LeafBuilder(page, pageSize: geometry.pageSize, count: 0, prefix: key, prefixLength: prefix)
    roots[Int(tree.raw)] = TreeRoot(page: id, level: 0, live: 0)
  }

  /// Down to the leaf for `key`, every page on the way made writable and noted in `path`.
  func descend(
    _ tree: TreeID, _ key: UnsafeRawPointer, _ length: Int
  ) throws(DatabaseError) -> (PageID, UnsafeMutableRawPointer) {
    let slot = Int(tree.raw)
    if !mutant(.appendPositionKept) { appendPosition = nil }
    depth = Int(roots[slot].level)
    var id = roots[slot].page
    var page = try writable(&id, level: depth)
    roots[slot].page = id
    for step in 0..<depth {
      let branch = BranchEditor(page, pageSize: geometry.pageSize)
      guard branch.view.prefixLength <= length else { throw source.damaged(UnsafeRawPointer(page)) }
      let index = branch.view.childIndex(key, length, pageSize: geometry.pageSize)
      path[step] = PathStep(page: page, index: index)
      page = try writableChild(branch, index, level: depth - step - 1, id: &id)
    }
    guard PageHeader(UnsafeRawPointer(page)).prefixLength <= length else {
      throw source.damaged(UnsafeRawPointer(page))
    }
    return (id, page)
  }

  func writableChild(
    _ branch: BranchEditor, _ index: Int, level: Int, id: inout PageID
  ) throws(DatabaseError) -> UnsafeMutableRawPointer {
    let child = branch.view.child(index)
    id = child
    let page = try writable(&id, level: level)
    if id != child { branch.setChild(index, id) }
    return page
  }

  /// One entry more or less under every branch of `path`, and in the tree.
  func addLive(_ tree: TreeID, _ delta: Int64) {
    for step in 0..<depth where !mutant(.countsInLowestBranchOnly) || step == depth - 1 {
      BranchEditor(path[step].page, pageSize: geometry.pageSize).addLiveCount(path[step].index, delta)
    }
    roots[Int(tree.raw)].live &+= UInt64(bitPattern: delta)
  }

  private func makeRoom(_ leaf: LeafEditor, _ rest: Int, _ value: StoredValue) -> Bool {
    let needed = leafEntryOverhead + max(0, rest - 8) + value.bytes.count
    if leaf.free >= needed { return true }
    if leaf.freeAfterRewrite < needed { return false }
    rewrite(leaf, prefixLength: leaf.view.prefixLength)
    return true
  }

  /// Lays a leaf out anew, without garbage, with a prefix of its own prefix.
  func rewrite(_ leaf: LeafEditor, prefixLength: Int) {
    memcpy(pageBuffer, leaf.page, geometry.pageSize)
    let old = LeafPage(UnsafeRawPointer(pageBuffer))
    reformat(leaf.page)
    var builder = LeafBuilder(
      leaf.page, pageSize: geometry.pageSize, count: old.count, prefix: old.prefix, prefixLength: prefixLength)
    builder.append(old, from: 0, to: old.count, buffer: entryBuffer)
  }
}
