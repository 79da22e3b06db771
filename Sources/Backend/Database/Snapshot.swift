// A published state of the database: the roots of its trees and the user words, immutable once published.

import Synchronization

/// Words of a database that its user sets in the same commit as data (applied index, revision, …).
let wordsMax = 8

/// Snapshots live in a pool and are recycled, never unmapped: a reader may look at one that has just been recycled
/// before it notices that the published pointer moved on (see `ReaderTable`). `transaction` is atomic for that one
/// look; all else is read only by who has pinned the snapshot.
struct Snapshot: ~Copyable {
  let transaction: Atomic<UInt64>
  var limit: PageID = 0
  var treeCount = 0
  var words: InlineArray<8, UInt64>
  var roots: InlineArray<48, TreeRoot>

  init() {
    transaction = Atomic(0)
    words = InlineArray(repeating: 0)
    roots = InlineArray(repeating: .empty)
  }
}

typealias SnapshotPointer = UnsafeMutablePointer<Snapshot>

/// The snapshots not in use. Touched by the writer only.
struct SnapshotPool {
  private var idle: [SnapshotPointer] = []
  private var retired: [SnapshotPointer] = []
  private var all: [SnapshotPointer] = []

  mutating func take() -> SnapshotPointer {
    if let snapshot = idle.popLast() { return snapshot }
    let snapshot = SnapshotPointer.allocate(capacity: 1)
    snapshot.initialize(to: Snapshot())
    all.append(snapshot)
    return snapshot
  }

  /// No longer published; readers may still have it pinned.
  mutating func retire(_ snapshot: SnapshotPointer) { retired.append(snapshot) }

  /// Makes retired snapshots idle that no epoch in `epochs` (ascending) holds.
  mutating func recycle(epochs: [UInt64]) {
    retired.removeAll { snapshot in
      let transaction = snapshot.pointee.transaction.load(ordering: .relaxed)
      if epochs.contains(transaction) { return false }
      idle.append(snapshot)
      return true
    }
  }

  mutating func free() {
    for snapshot in all {
      snapshot.deinitialize(count: 1)
      snapshot.deallocate()
    }
    all = []
    idle = []
    retired = []
  }
}

/// A pinned snapshot as its reader sees it. Trivial; valid until the reader unpins.
package struct SnapshotView {
  let snapshot: SnapshotPointer
  let base: UnsafeRawPointer
  let shift: UInt64
  let pageSize: Int
  let verified: VerifiedPages?

  package var transaction: UInt64 { snapshot.pointee.transaction.load(ordering: .relaxed) }
  package func word(_ i: Int) -> UInt64 { snapshot.pointee.words[i] }

  package func tree(_ id: TreeID) -> TreeView {
    TreeView(
      source: PageSource(
        base: base, shift: shift, pageSize: pageSize, limit: snapshot.pointee.limit, verified: verified,
        scratch: nil),
      root: Int(id.raw) < treesMax ? snapshot.pointee.roots[Int(id.raw)] : .empty)
  }
}
