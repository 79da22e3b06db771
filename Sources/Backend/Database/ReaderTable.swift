// The reader slots: a fixed table of epochs, one cache-line pair each, where a reader says which snapshot it looks at.
//
// Why a reader never sees a page that was reused under it:
//
//   reader                                writer (before it reuses pages)
//   1 s = published                       1 published = new snapshot
//   2 slot = s.transaction                2 barrier
//   3 barrier                             3 read all slots, and the published transaction
//   4 published = s still? else again
//
// Suppose the writer's read of the slots missed a reader's store (2). Then, by the barriers, the reader's re-load (4)
// happens after the writer's publication (1): it sees the new snapshot, and retries with that one, which the writer counts
// as pinned while it is the published one. If the store was seen, the pages of s are kept. Either way what the reader
// goes on with is kept.
//
// The reader's barrier is a compiler fence when the kernel gives us membarrier(2): the writer's call then makes every
// running thread pass a full barrier, and threads not running have passed one. Where it is refused the reader
// pays for a real fence (60–90 ns in a pointer-chasing loop, hence the trouble).

import CNeedletail
import Synchronization

/// Unchecked Sendable: the slots are atomics, the rest is immutable.
final class ReaderTable: @unchecked Sendable {
  static let idle = UInt64.max
  /// Two cache lines: the adjacent-line prefetcher makes neighbours share.
  static let stride = 128

  let capacity: Int
  let usesMembarrier: Bool
  private let slots: UnsafeMutableRawPointer
  private let taken = Guarded<[Bool]>([])
  let published: UnsafeMutablePointer<Atomic<UInt>>

  init(capacity: Int, first: SnapshotPointer, membarrier: Bool) {
    self.capacity = capacity
    usesMembarrier = membarrier && nt_membarrier_register() == 0
    slots = .allocate(byteCount: Self.stride * (capacity + 1), alignment: Self.stride)
    for i in 0..<capacity {
      (slots + i * Self.stride).initializeMemory(as: UInt64.self, repeating: Self.idle, count: 1)
    }
    // The published pointer has a line of its own behind the slots.
    published = (slots + capacity * Self.stride).bindMemory(to: Atomic<UInt>.self, capacity: 1)
    published.initialize(to: Atomic(UInt(bitPattern: first)))
    taken.withLock { $0 = [Bool](repeating: false, count: capacity) }
  }

  deinit {
    published.deinitialize(count: 1)
    slots.deallocate()
  }

  func slot(_ i: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
    (slots + i * Self.stride).assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  func take() -> Int? {
    taken.withLock { taken in
      guard let free = taken.firstIndex(of: false) else { return nil }
      taken[free] = true
      return free
    }
  }

  func give(back slot: Int) {
    self.slot(slot).pointee.store(Self.idle, ordering: .releasing)
    taken.withLock { $0[slot] = false }
  }

  var current: SnapshotPointer {
    // The pointer is set at init and only ever replaced by another valid one.
    SnapshotPointer(bitPattern: published.pointee.load(ordering: .acquiring)).unsafelyUnwrapped
  }

  func publish(_ snapshot: SnapshotPointer) {
    published.pointee.store(UInt(bitPattern: snapshot), ordering: .releasing)
  }

  /// Epochs of all pinned readers, unsorted. The writer's half of the argument above.
  func pinned() -> [UInt64] {
    if usesMembarrier { _ = nt_membarrier() } else { atomicMemoryFence(ordering: .sequentiallyConsistent) }
    var epochs: [UInt64] = []
    for i in 0..<capacity {
      let epoch = slot(i).pointee.load(ordering: .acquiring)
      if epoch != Self.idle { epochs.append(epoch) }
    }
    return epochs
  }
}

/// One reader's slot: pin, look, unpin. Trivial, so that a reactor can hold it in its own state; used by one thread at a
/// time, and given back with `free()` before the database closes.
package struct ReaderHandle {
  private let slot: UnsafeMutablePointer<Atomic<UInt64>>
  private let published: UnsafeMutablePointer<Atomic<UInt>>
  private let base: UnsafeRawPointer
  private let shift: UInt64
  private let pageSize: Int
  private let index: Int
  private let table: Unmanaged<ReaderTable>
  private let usesMembarrier: Bool
  private let verified: VerifiedPages?

  init(
    table: ReaderTable, index: Int, base: UnsafeRawPointer, geometry: PageGeometry, verified: VerifiedPages?
  ) {
    self.verified = verified
    slot = table.slot(index)
    published = table.published
    self.base = base
    shift = geometry.shift
    pageSize = geometry.pageSize
    self.index = index
    self.table = .passRetained(table)
    usesMembarrier = table.usesMembarrier
  }

  /// Pins the published snapshot. Not nested: one pin at a time per handle.
  package func pin() -> SnapshotView {
    while true {
      let bits = published.pointee.load(ordering: .acquiring)
      let snapshot = SnapshotPointer(bitPattern: bits).unsafelyUnwrapped
      let transaction = snapshot.pointee.transaction.load(ordering: .relaxed)
      slot.pointee.store(transaction, ordering: .relaxed)
      if _fastPath(usesMembarrier) {
        nt_compiler_fence()
      } else {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
      }
      // Same pointer and same number: not recycled in between (transactions are never used twice).
      if _fastPath(
        published.pointee.load(ordering: .acquiring) == bits
          && snapshot.pointee.transaction.load(ordering: .relaxed) == transaction)
      {
        return SnapshotView(snapshot: snapshot, base: base, shift: shift, pageSize: pageSize, verified: verified)
      }
    }
  }

  /// The view's pages may be reused from here on.
  package func unpin() { slot.pointee.store(ReaderTable.idle, ordering: .releasing) }

  /// Gives the slot back. The handle must not be used again.
  package func free() {
    table._withUnsafeGuaranteedRef { $0.give(back: index) }
    table.release()
  }
}
