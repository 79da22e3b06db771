// Fetching what edits to come will touch. An edit at a random place of a large tree waits for memory: for a branch above the
// leaves, then for the leaf, of which it copies every line. Edits known beforehand can wait for all of that together.

import CNeedletail

extension WriteBatch {
  /// Begins to load the pages that edits of `keys` will need; says nothing about whether the keys are there. Worth while
  /// for some 16 keys right before their edits, where the tree is larger than the processor's caches.
  package func prefetch(_ tree: TreeID, _ keys: UnsafeBufferPointer<UnsafeRawBufferPointer>) {
    guard isOpen, Int(tree.raw) < roots.count, roots[Int(tree.raw)].page != 0 else { return }
    let root = roots[Int(tree.raw)]
    let isLarge = source.isLargerThanMemory
    withUnsafeTemporaryAllocation(of: PageID.self, capacity: Self.prefetchMax) { pages in
      var first = 0
      while first < keys.count {
        let some = UnsafeBufferPointer(rebasing: keys[first..<min(first + Self.prefetchMax, keys.count)])
        for i in 0..<some.count { pages[i] = root.page }
        for level in stride(from: Int(root.level), to: 0, by: -1) { step(level, some, pages) }
        if isLarge { for id in pages[..<some.count] where id != 0 { source.readSoon(id, count: 1) } }
        first += some.count
      }
    }
  }

  /// Lookups in flight at once: as many as keep the memory busy.
  private static let prefetchMax = 16

  /// From the pages of `level` to their children, one level below. A lookup ends, as page 0, where anything is not
  /// as it should be: the edit itself will say what.
  private func step(
    _ level: Int, _ keys: UnsafeBufferPointer<UnsafeRawBufferPointer>, _ pages: UnsafeMutableBufferPointer<PageID>
  ) {
    for i in 0..<keys.count where pages[i] != 0 {
      guard let key = keys[i].baseAddress, let page = try? source.page(pages[i], level: level) else {
        pages[i] = 0
        continue
      }
      let branch = BranchPage(page)
      guard branch.isSearchable(pageSize: geometry.pageSize), branch.prefixLength <= keys[i].count else {
        pages[i] = 0
        continue
      }
      let child = branch.child(branch.childIndex(key, keys[i].count, pageSize: geometry.pageSize))
      // What the batch copied already is at hand.
      pages[i] = child & dirtyBit == 0 && child < limit ? child : 0
      if pages[i] != 0 { fetch(source.address(child), all: level == 1) }
    }
  }

  private func fetch(_ page: UnsafeRawPointer, all: Bool) {
    for line in stride(from: 0, to: all ? geometry.pageSize : 192, by: 64) { nt_prefetch(page + line) }
  }
}
