// A log in memory, for tests and scripts, and as the smallest example of what a storage must do.

package final class MemoryStorage: LogStorage {
  package private(set) var hardState = HardState()
  package private(set) var latestSnapshot = Snapshot()
  /// What the log begins after: compacted entries, or a snapshot's.
  private var base = EntryID(term: 0, index: 0)
  package private(set) var log: [Entry] = []
  /// Asked for a snapshot instead of `latestSnapshot`, where set.
  package var makeSnapshot: (() throws(StorageError) -> Snapshot)?
  /// The membership as of what the program has applied, where that is kept apart from snapshots.
  package var members: ConfigState?

  package init() {}

  package var initialState: (hardState: HardState, members: ConfigState) {
    (hardState, members ?? latestSnapshot.members)
  }
  package var firstIndex: UInt64 { base.index + 1 }
  package var lastIndex: UInt64 { base.index + UInt64(log.count) }

  package func term(at index: UInt64) throws(StorageError) -> UInt64 {
    if index == base.index { return base.term }
    if index < base.index { throw .compacted }
    if index > lastIndex { throw .unavailable }
    return log[Int(index - firstIndex)].term
  }

  package func entries(_ range: Range<UInt64>, encodedSizeMax bytes: UInt64) throws(StorageError) -> [Entry] {
    if range.lowerBound < firstIndex { throw .compacted }
    if range.upperBound > lastIndex + 1 { throw .unavailable }
    let wanted = log[Int(range.lowerBound - firstIndex)..<Int(range.upperBound - firstIndex)]
    return Array(wanted.prefix(encodedSizeMax: bytes))
  }

  package func snapshot() throws(StorageError) -> Snapshot {
    if let makeSnapshot { return try makeSnapshot() }
    return latestSnapshot
  }

  // MARK: Writing

  package func set(_ state: HardState) { hardState = state }

  /// The log begins anew after the snapshot.
  package func apply(_ snapshot: Snapshot) throws(StorageError) {
    if latestSnapshot.index != 0, latestSnapshot.index >= snapshot.index { throw .snapshotOutOfDate }
    latestSnapshot = snapshot
    base = EntryID(term: snapshot.term, index: snapshot.index)
    log = []
  }

  /// The snapshot of what was applied, for compaction.
  package func remember(_ snapshot: Snapshot) {
    if snapshot.index > latestSnapshot.index { latestSnapshot = snapshot }
  }

  /// Forgets entries up to and including `index`.
  package func compact(to index: UInt64) throws(StorageError) {
    if index <= base.index { throw .compacted }
    if index > lastIndex { throw .unavailable }
    let term = try term(at: index)
    log.removeFirst(Int(index - base.index))
    base = EntryID(term: term, index: index)
  }

  /// Entries replace all from the first one's index on.
  package func append(_ entries: [Entry]) throws(StorageError) {
    let new = entries.drop { $0.index < firstIndex }
    guard let first = new.first else { return }
    if first.index > lastIndex + 1 { throw .unavailable }
    log.removeLast(Int(lastIndex + 1 - first.index))
    log += new
  }
}
