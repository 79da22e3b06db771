// Figures about a database, for metrics and people.

public struct DatabaseStatistics: Sendable, Equatable {
  /// Bytes of the file, and of the pages in it that hold live data.
  public var fileBytes: UInt64 = 0
  public var liveBytes: UInt64 = 0
  /// Bytes of pages that wait for a reader or a checkpoint, and that are free.
  public var pendingBytes: UInt64 = 0
  public var reusableBytes: UInt64 = 0
  /// Since open.
  public var batches: UInt64 = 0
  public var checkpoints: UInt64 = 0
  public var bytesWritten: UInt64 = 0
  /// Published now, and pinned by the oldest reader (the same when there is none).
  public var transaction: UInt64 = 0
  public var oldestPinned: UInt64 = 0
  public var readers = 0
}

extension Database {
  /// Bytes per page of this file.
  public var pageSize: Int { geometry.pageSize }

  /// Bytes of pages that hold live data: one of the statistics alone, cheap enough for every batch.
  package var liveBytes: UInt64 { withWriter { UInt64($0.free.livePages) } << UInt64(geometry.shift) }

  public var statistics: DatabaseStatistics {
    withWriter { writer in
      var figures = writer.statistics
      let pageSize = UInt64(geometry.pageSize)
      figures.fileBytes = writer.isClosed ? 0 : store.size
      figures.liveBytes = UInt64(writer.free.livePages) * pageSize
      figures.pendingBytes = UInt64(writer.reclaimer.pendingPages) * pageSize
      figures.reusableBytes = UInt64(writer.free.reusablePages) * pageSize
      guard !writer.isClosed else { return figures }
      let pinned = readers.pinned()
      figures.transaction = readers.current.pointee.transaction.load(ordering: .relaxed)
      figures.oldestPinned = min(pinned.min() ?? figures.transaction, figures.transaction)
      figures.readers = pinned.count
      return figures
    }
  }
}
