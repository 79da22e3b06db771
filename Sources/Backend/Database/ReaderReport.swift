// Who holds old pages back: a reader that stays on a snapshot keeps all that writers have replaced since.

import Synchronization

/// A reader that is on a snapshot which is no longer the newest.
public struct ReaderReport: Sendable, Equatable {
  /// Its place in the reader table, the same for as long as it is open.
  public var slot: Int
  /// The batch that it sees.
  public var transaction: UInt64
  /// Bytes of replaced pages that are kept for it and for no newer reader.
  public var heldBytes: UInt64
}

extension Database {
  /// Readers that hold pages back, oldest first. Waits for a writer at work.
  ///
  /// A reader on the newest snapshot holds nothing and is not listed: one that is listed at two times with the same
  /// transaction has been pinned all the while, because a new pin would have found a newer snapshot.
  public var readersHoldingBack: [ReaderReport] {
    withWriter { writer in
      guard !writer.isClosed else { return [] }
      _ = readers.pinned()
      let published = readers.current.pointee.transaction.load(ordering: .relaxed)
      var reports: [ReaderReport] = []
      for slot in 0..<readers.capacity {
        let transaction = readers.slot(slot).pointee.load(ordering: .acquiring)
        guard transaction < published else { continue }
        let held = UInt64(writer.reclaimer.pages(heldBy: transaction)) << geometry.shift
        reports.append(ReaderReport(slot: slot, transaction: transaction, heldBytes: held))
      }
      return reports.sorted { ($0.transaction, $0.slot) < ($1.transaction, $1.slot) }
    }
  }
}
