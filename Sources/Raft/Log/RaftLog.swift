// The log: what storage has, then what is on its way there, and how far it is committed and applied.

struct RaftLog {
  let storage: any LogStorage
  private(set) var unstable: UnstableLog
  /// Invariant: `applied <= applying <= committed <= lastIndex`.
  private(set) var committed: UInt64
  /// The program was told to apply up to here.
  private(set) var applying: UInt64
  /// The program has applied up to here.
  private(set) var applied: UInt64

  /// At most so many bytes are given for applying and not yet applied; one entry may exceed it.
  let applyingSizeMax: UInt64
  private var applyingSize: UInt64 = 0
  private var isApplyingPaused = false

  let listener: LogListener?

  init(storage: any LogStorage, applyingSizeMax: UInt64, listener: LogListener?) {
    self.storage = storage
    self.applyingSizeMax = applyingSizeMax
    self.listener = listener
    unstable = UnstableLog(after: storage.lastIndex)
    committed = storage.firstIndex - 1
    applying = committed
    applied = committed
  }

  func log(_ level: LogLevel, _ text: @autoclosure () -> String) {
    if let listener { listener(level, text()) }
  }

  var summary: String {
    "committed=\(committed), applied=\(applied), applying=\(applying), unstable.offset=\(unstable.offset), "
      + "unstable.offsetInProgress=\(unstable.offsetInProgress), len(unstable.Entries)=\(unstable.entries.count)"
  }

  // MARK: Reading

  var firstIndex: UInt64 { unstable.firstIndex ?? storage.firstIndex }

  var lastIndex: UInt64 { unstable.lastIndex ?? storage.lastIndex }

  func term(at index: UInt64) throws(StorageError) -> UInt64 {
    if let term = unstable.term(at: index) { return term }
    // The entry before the first is compacted away, but its term is known: appends after it are matched by it.
    if index < firstIndex - 1 { throw .compacted }
    if index > lastIndex { throw .unavailable }
    return try storage.term(at: index)
  }

  /// Zero where the term is not known.
  func termOrZero(at index: UInt64) -> UInt64 { (try? term(at: index)) ?? 0 }

  var lastID: EntryID {
    let index = lastIndex
    return EntryID(term: termOrZero(at: index), index: index)
  }

  func has(_ id: EntryID) -> Bool {
    guard let term = try? term(at: id.index) else { return false }
    return term == id.term
  }

  /// A log that ends with `id` has all that this one has committed, or may have.
  func isUpToDate(_ id: EntryID) -> Bool {
    let last = lastID
    return id.term > last.term || (id.term == last.term && id.index >= last.index)
  }

  /// Entries from `index` to the end, as many as fit.
  func entries(from index: UInt64, encodedSizeMax bytes: UInt64) throws(StorageError) -> [Entry] {
    if index > lastIndex { return [] }
    return try slice(index..<lastIndex + 1, encodedSizeMax: bytes)
  }

  /// A prefix of `range`, of at most so many bytes and at least one entry.
  func slice(_ range: Range<UInt64>, encodedSizeMax bytes: UInt64) throws(StorageError) -> [Entry] {
    if range.isEmpty { return [] }
    if range.lowerBound < firstIndex { throw .compacted }
    if range.upperBound > lastIndex + 1 { throw .unavailable }
    if range.lowerBound >= unstable.offset {
      return Array(unstable.slice(range).prefix(encodedSizeMax: bytes))
    }
    let cut = min(range.upperBound, unstable.offset)
    var found = try storage.entries(range.lowerBound..<cut, encodedSizeMax: bytes)
    if range.upperBound <= unstable.offset || UInt64(found.count) < cut - range.lowerBound { return found }
    let size = found.encodedSize
    if size >= bytes { return found }
    let more = unstable.slice(unstable.offset..<range.upperBound).prefix(encodedSizeMax: bytes - size)
    // The prefix has one entry at least; only then can it be too large.
    if more.count == 1, size + more.encodedSize > bytes { return found }
    found += more
    return found
  }

  func snapshot() throws(StorageError) -> Snapshot {
    if let snapshot = unstable.snapshot { return snapshot }
    return try storage.snapshot()
  }

  /// The best guess where this log and one whose entry at some index has `term` still agree: the largest index up to
  /// `index` whose term is not larger, or is unknown (then 0).
  ///
  /// Terms never decrease along a log, so that halving finds it, however long the log.
  func conflict(upTo index: UInt64, term: UInt64) -> EntryID {
    if index > lastIndex { return EntryID(term: 0, index: index) }
    // Invariant: entries from `high` on have larger terms; `low` is before all whose term is known, or hasn't a larger.
    let first = firstIndex - 1
    var low = first == 0 ? 0 : first - 1
    if index <= low { return EntryID(term: 0, index: index) }
    var high = index + 1
    while high - low > 1 {
      let middle = low + (high - low) / 2
      if termOrZero(at: middle) <= term { low = middle } else { high = middle }
    }
    return EntryID(term: termOrZero(at: low), index: low)
  }

  // MARK: Appending

  /// Follows `previous` with `entries`, which are consecutive, and commits as far as both logs are known to agree. Nil:
  /// there is no such previous entry here. The caller has checked that no committed entry would be replaced.
  mutating func append(after previous: EntryID, _ entries: [Entry], leaderCommit: UInt64) -> UInt64? {
    guard has(previous) else { return nil }
    let last = previous.index + UInt64(entries.count)
    if mutant(.truncatesMatchingPrefix) {
      append(entries[...])
    } else if let conflict = firstConflict(entries) {
      append(entries[conflict...])
    }
    commit(to: mutant(.commitsLeaderCommit) ? min(leaderCommit, lastIndex) : min(leaderCommit, last))
    return mutant(.acknowledgesOwnLastIndex) ? lastIndex : last
  }

  /// Position of the first entry that is not here, or is here with another term.
  private func firstConflict(_ entries: [Entry]) -> Int? {
    for (position, entry) in entries.enumerated() where !has(entry.id) {
      if entry.index <= lastIndex {
        log(
          .info,
          "found conflict at index \(entry.index) [existing term: \(termOrZero(at: entry.index)), conflicting term: "
            + "\(entry.term)]")
      }
      return position
    }
    return nil
  }

  mutating func append(_ entries: ArraySlice<Entry>) {
    guard let first = entries.first else { return }
    precondition(
      first.index > committed || mutant(.truncatesMatchingPrefix), "an append below the commit index")
    let listener = listener
    unstable.truncateAndAppend(entries) { level, text in listener?(level, text()) }
  }

  /// The log begins anew after a snapshot.
  mutating func restore(_ snapshot: Snapshot) {
    log(
      .info,
      "log [\(summary)] starts to restore snapshot [index: \(snapshot.index), term: \(snapshot.term)]")
    committed = snapshot.index
    unstable.restore(snapshot)
  }

  // MARK: Committing

  /// Never goes back. The caller has checked that the log reaches so far.
  mutating func commit(to index: UInt64) {
    if index <= committed { return }
    precondition(index <= lastIndex, "a commit beyond the log")
    committed = index
  }

  /// A quorum has `index`. It commits only where its term is the leader's own: an entry of an earlier term that a quorum
  /// has may still be replaced by a leader that doesn't have it.
  mutating func commitIfCurrent(_ index: UInt64, term: UInt64) -> Bool {
    if index <= committed || term == 0 { return false }
    let termThere = termOrZero(at: index)
    if termThere != term, !(mutant(.commitsEarlierTerms) && termThere != 0) { return false }
    commit(to: index)
    return true
  }

  mutating func setCommitted(atStart index: UInt64) { committed = index }

  // MARK: Applying

  var hasSnapshotPending: Bool { unstable.snapshot != nil }

  /// Committed entries may be applied before they are durable here only where writing and applying are one step.
  private func appliableIndex(allowUnstable: Bool) -> UInt64 {
    allowUnstable ? committed : min(committed, unstable.offset - 1)
  }

  func hasNextCommitted(allowUnstable: Bool) -> Bool {
    !isApplyingPaused && !hasSnapshotPending && applying < appliableIndex(allowUnstable: allowUnstable)
  }

  func nextCommitted(allowUnstable: Bool) throws(StorageError) -> [Entry] {
    guard hasNextCommitted(allowUnstable: allowUnstable) else { return [] }
    let range = applying + 1..<appliableIndex(allowUnstable: allowUnstable) + 1
    return try slice(range, encodedSizeMax: applyingSizeMax - applyingSize)
  }

  mutating func acceptApplying(to index: UInt64, size: UInt64, allowUnstable: Bool) {
    precondition(index <= committed, "applying what is not committed")
    applying = index
    applyingSize += size
    // Not everything fitted: the next entry would exceed the limit, so wait.
    isApplyingPaused =
      applyingSize >= applyingSizeMax || index < appliableIndex(allowUnstable: allowUnstable)
  }

  mutating func applied(to index: UInt64, size: UInt64) {
    precondition(index <= committed && index >= applied, "applied beyond what is committed, or backwards")
    applied = index
    applying = max(applying, index)
    applyingSize -= min(applyingSize, size)
    isApplyingPaused = applyingSize >= applyingSizeMax
  }

  // MARK: Durability

  mutating func acceptUnstable() { unstable.acceptInProgress() }

  mutating func stable(to id: EntryID) {
    let listener = listener
    unstable.stable(to: id) { level, text in listener?(level, text()) }
  }

  mutating func stableSnapshot(at index: UInt64) { unstable.stableSnapshot(at: index) }
}
