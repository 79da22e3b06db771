// The end of the log that storage does not yet surely have.

/// Entries, and perhaps a snapshot before them, that were not yet handed over for writing, or were and are not yet known
/// to be durable. Until they are, this is where they are read: storage might still hold what they replace.
struct UnstableLog {
  private(set) var snapshot: Snapshot?
  private(set) var entries: [Entry] = []
  /// The index of `entries[0]`. May lie before storage's last entry: writing then truncates storage.
  private(set) var offset: UInt64
  /// Entries before this were handed over. Invariant: `offset <= offsetInProgress <= offset + entries.count`.
  private(set) var offsetInProgress: UInt64
  private var isSnapshotInProgress = false

  init(after lastIndex: UInt64) {
    offset = lastIndex + 1
    offsetInProgress = lastIndex + 1
  }

  var firstIndex: UInt64? { snapshot.map { $0.index + 1 } }

  var lastIndex: UInt64? {
    entries.isEmpty ? snapshot?.index : offset + UInt64(entries.count) - 1
  }

  func term(at index: UInt64) -> UInt64? {
    if index < offset { return snapshot?.index == index ? snapshot?.term : nil }
    guard index - offset < UInt64(entries.count) else { return nil }
    return entries[Int(index - offset)].term
  }

  /// The caller keeps within bounds.
  func slice(_ range: Range<UInt64>) -> ArraySlice<Entry> {
    entries[Int(range.lowerBound - offset)..<Int(range.upperBound - offset)]
  }

  // MARK: Handing over

  var nextEntries: ArraySlice<Entry> { entries[Int(offsetInProgress - offset)...] }

  var nextSnapshot: Snapshot? { isSnapshotInProgress ? nil : snapshot }

  mutating func acceptInProgress() {
    offsetInProgress = offset + UInt64(entries.count)
    isSnapshotInProgress = snapshot != nil
  }

  // MARK: Durable

  /// Entries up to `id` are durable, and no write under way can replace them: the caller knows that by the term.
  mutating func stable(to id: EntryID, log: (LogLevel, @autoclosure () -> String) -> Void) {
    guard let term = term(at: id.index) else {
      log(.info, "entry at index \(id.index) missing from unstable log; ignoring")
      return
    }
    if id.index < offset {
      log(.info, "entry at index \(id.index) matched unstable snapshot; ignoring")
      return
    }
    if term != id.term {
      log(
        .info,
        "entry at (index,term)=(\(id.index),\(id.term)) mismatched with entry at (\(id.index),\(term)) in unstable log;"
          + " ignoring")
      return
    }
    entries.removeFirst(Int(id.index + 1 - offset))
    offset = id.index + 1
    offsetInProgress = max(offsetInProgress, offset)
  }

  mutating func stableSnapshot(at index: UInt64) {
    guard snapshot?.index == index else { return }
    snapshot = nil
    isSnapshotInProgress = false
  }

  // MARK: Replacing

  mutating func restore(_ new: Snapshot) {
    snapshot = new
    isSnapshotInProgress = false
    entries = []
    offset = new.index + 1
    offsetInProgress = offset
  }

  /// The first of `new` follows, or replaces, an entry that is here or in storage.
  mutating func truncateAndAppend(
    _ new: ArraySlice<Entry>, log: (LogLevel, @autoclosure () -> String) -> Void
  ) {
    guard let from = new.first?.index else { return }
    if from == offset + UInt64(entries.count) {
      entries += new
    } else if from <= offset {
      log(.info, "replace the unstable entries from index \(from)")
      entries = Array(new)
      offset = from
      offsetInProgress = from
    } else {
      log(.info, "truncate the unstable entries before index \(from)")
      entries.removeLast(entries.count - Int(from - offset))
      entries += new
      offsetInProgress = min(offsetInProgress, from)
    }
  }
}
