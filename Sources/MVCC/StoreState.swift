// The trees that a read goes through: those of a pinned snapshot, or those of an open batch as its edits left them.
import NeedletailBackend
import NeedletailBytes

/// Trivial; valid as long as the snapshot is pinned, or until the batch's next edit.
struct StoreState {
  let current: TreeView
  let graveyard: TreeView
  let log: TreeView
  let leases: TreeView
  let meta: TreeView
  /// The newest revision that the trees hold.
  let revision: UInt64
  let compacted: UInt64
}

extension StoreState {
  func wasCompacted() throws(MVCCError) -> Bool {
    if compacted > 0 { return true }
    return try meta.wasCompactedToZero()
  }

  func hasLease(_ id: Int64) throws(MVCCError) -> Bool {
    var name = OutBuffer()
    defer { name.free() }
    LeaseName.build(id, in: &name)
    return try leases.find(name.bytes) != nil
  }
}

extension Store {
  @inline(__always)
  func state(_ view: SnapshotView) -> StoreState {
    StoreState(
      current: view.tree(current), graveyard: view.tree(graveyard), log: view.tree(log),
      leases: view.tree(lease), meta: view.tree(meta),
      revision: view.word(StoreWord.revision), compacted: view.word(StoreWord.compactedRevision))
  }
}
