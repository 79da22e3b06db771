// Moving pages to other places in the file, which is what a batch does with whatever it touches.

import CNeedletail

extension WriteBatch {
  /// Gives the tree page `id` another place. Nothing happens where the page is not part of a tree (any more).
  ///
  /// A page knows its tree, and its first key leads to it: so does the first separator of a branch, whose subtree
  /// it lies in.
  func move(_ id: PageID) throws(DatabaseError) {
    guard id < limit, isLive(id) else { return }
    let page = source.address(id)
    let header = PageHeader(page)
    let level = header.level
    guard header.id == id, header.kind == PageHeader.kind(level: level), header.count > 0, level < depthLimit,
      Int(header.tree) < roots.count, roots[Int(header.tree)].page != 0
    else { return }
    // Inside a run of pages anything may look like a header.
    guard (try? checkForEditing(page, level: level)) != nil else { return }
    let length =
      level == 0 ? LeafPage(page).copyKey(0, to: fenceBuffer) : BranchPage(page).copySeparator(0, to: fenceBuffer)
    let tree = TreeID(header.tree)
    let view = TreeView(source: source, root: roots[Int(tree.raw)])
    let root = try source.page(roots[Int(tree.raw)].page, level: Int(roots[Int(tree.raw)].level))
    guard try view.sharesTreePrefix(root, fenceBuffer, length) else { return }
    _ = try descend(tree, fenceBuffer, length)
    changed()
  }

  /// Gives values in pages of their own that reach to `end` or beyond another place. Looks at some entries from `key` on
  /// (all, if empty) and returns the key to go on with; nil: that was the tree's last.
  func moveValues(
    _ tree: TreeID, reaching end: PageID, from key: [UInt8]
  ) throws(DatabaseError) -> [UInt8]? {
    var keys: [[UInt8]] = []
    let next = try findValues(tree, reaching: end, from: key, &keys)
    for key in keys { try rewrite(tree, key) }
    return next
  }

  /// Bounds of one batch: entries looked at, values moved and their bytes.
  private static let entriesMax = 20_000
  private static let valuesMax = 64
  private static let bytesMax = 4 << 20

  private func findValues(
    _ tree: TreeID, reaching end: PageID, from key: [UInt8], _ keys: inout [[UInt8]]
  ) throws(DatabaseError) -> [UInt8]? {
    var cursor = try self.cursor(tree)
    var more = try key.span.bytes.withUnsafeBytes { (key) throws(DatabaseError) -> Bool in
      try key.isEmpty ? cursor.first() : cursor.seek(key)
    }
    var seen = 0
    var bytes = 0
    while more {
      if seen == Self.entriesMax || keys.count == Self.valuesMax || bytes > Self.bytesMax {
        return try [UInt8](cursor.key)
      }
      if let run = try cursor.overflow, run.first & dirtyBit == 0,
        UInt64(run.first) + OverflowReference.pages(length: run.length, pageSize: geometry.pageSize) > UInt64(end)
      {
        keys.append(try [UInt8](cursor.key))
        bytes += Int(truncatingIfNeeded: run.length)
      }
      seen += 1
      more = try cursor.next()
    }
    return nil
  }

  private func rewrite(_ tree: TreeID, _ key: [UInt8]) throws(DatabaseError) {
    try key.span.bytes.withUnsafeBytes { (key) throws(DatabaseError) -> Void in
      // The bytes lie in the file, and stay there: what a batch replaces is free only after its publication.
      guard let value = try get(tree, key) else { return }
      try put(tree, key, value)
    }
  }
}
