// Walking a range in key order: the latest versions by one cursor, past ones by merging the living and the dead.
import NeedletailBackend

/// What a scan stands on; pointers are valid until the next step (key) or the unpin (fields).
struct ScanEntry {
  var key = UnsafeRawBufferPointer(start: nil, count: 0)
  var fields = UnsafeRawBufferPointer(start: nil, count: 0)
}

/// Implemented by non-generic structs of this module, so that loops over them specialise.
protocol RangeScan: ~Copyable {
  /// Moves to the next entry of the range; false at its end, after which it may not be called again.
  mutating func next(_ entry: inout ScanEntry) throws(MVCCError) -> Bool
}

/// The range at the newest revision: `current` as it lies there.
struct LatestScan: ~Copyable, RangeScan {
  private var cursor: Cursor
  private let range: KeyRange
  private var isStarted = false

  init(_ state: StoreState, _ range: KeyRange) {
    cursor = state.current.cursor()
    self.range = range
  }

  mutating func next(_ entry: inout ScanEntry) throws(MVCCError) -> Bool {
    let found = isStarted ? try cursor.step() : try cursor.move(to: range.lower)
    isStarted = true
    guard found else { return false }
    entry.key = try cursor.name
    guard range.isBelowUpper(entry.key) else { return false }
    let record = try cursor.record
    entry.fields = UnsafeRawBufferPointer(rebasing: record[(try VersionHead.size(of: record))...])
    return true
  }
}

/// The same from the range's last key to its first.
struct DescendingScan: ~Copyable, RangeScan {
  private var cursor: Cursor
  private let range: KeyRange
  private var isStarted = false

  init(_ state: StoreState, _ range: KeyRange) {
    cursor = state.current.cursor()
    self.range = range
  }

  mutating func next(_ entry: inout ScanEntry) throws(MVCCError) -> Bool {
    let found = isStarted ? try cursor.stepBack() : try cursor.moveToLast(of: range)
    isStarted = true
    guard found else { return false }
    entry.key = try cursor.name
    guard range.isFromLower(entry.key) else { return false }
    let record = try cursor.record
    entry.fields = UnsafeRawBufferPointer(rebasing: record[(try VersionHead.size(of: record))...])
    return true
  }
}

/// The range at an older revision. A key is in `current` or in `graveyard`, never in both, so merging the two in key
/// order meets every key that existed at any revision since the last compaction; each is then resolved.
struct PastScan: ~Copyable, RangeScan {
  private var living: Cursor
  private var dead: Cursor
  /// The cursors' keys, each nil once its cursor is past the range.
  private var livingKey: UnsafeRawBufferPointer?
  private var deadKey: UnsafeRawBufferPointer?
  /// Which cursor the last entry came from: it moves on before the next is chosen, since its key was handed out.
  private enum Position {
    case beforeFirst
    case living
    case dead
  }
  private var position = Position.beforeFirst
  private let range: KeyRange
  private let revision: UInt64
  private let descends: Bool
  private var history: History

  init(_ reader: RangeReader, descends: Bool) {
    living = reader.state.current.cursor()
    dead = reader.state.graveyard.cursor()
    range = reader.range
    revision = reader.revision
    self.descends = descends
    history = History(reader.state.log)
  }

  mutating func next(_ entry: inout ScanEntry) throws(MVCCError) -> Bool {
    while try advance() {
      let isLiving = position == .living
      guard let key = isLiving ? livingKey : deadKey else { return false }
      let newest = isLiving ? try Version(record: try living.record) : try Version(tombstone: try dead.record)
      guard let version = try history.version(of: key, from: newest, at: revision) else { continue }
      entry.key = key
      entry.fields = version.fields
      return true
    }
    return false
  }

  /// Moves to the nearer of the two cursors' keys; false when both are past the range.
  private mutating func advance() throws(MVCCError) -> Bool {
    switch position {
    case .beforeFirst:
      livingKey = try living.enter(range, descends: descends) ? try living.name : nil
      deadKey = try dead.enter(range, descends: descends) ? try dead.name : nil
    case .living: livingKey = try living.step(descends: descends) ? try living.name : nil
    case .dead: deadKey = try dead.step(descends: descends) ? try dead.name : nil
    }
    if let key = livingKey, !range.isInside(key, descends: descends) { livingKey = nil }
    if let key = deadKey, !range.isInside(key, descends: descends) { deadKey = nil }
    guard let livingKey, let deadKey else {
      position = livingKey != nil ? .living : .dead
      return livingKey != nil || deadKey != nil
    }
    let order = compareBytes(livingKey, deadKey)
    guard order != 0 else { throw .corrupt("a key is both living and deleted") }
    position = (order < 0) != descends ? .living : .dead
    return true
  }
}

extension KeyRange {
  /// For keys known to be below the upper end.
  @inline(__always)
  func isFromLower(_ key: UnsafeRawBufferPointer) -> Bool { compareBytes(key, lower) >= 0 }

  /// For keys that a walk in this direction meets.
  func isInside(_ key: UnsafeRawBufferPointer, descends: Bool) -> Bool {
    descends ? isFromLower(key) : isBelowUpper(key)
  }
}

extension Cursor {
  /// To the last entry below the range's upper end; it may lie below the lower one.
  mutating func moveToLast(of range: KeyRange) throws(MVCCError) -> Bool {
    do {
      switch range.kind {
      case .unbounded: return try last()
      case .bounded: return try seek(range.upper) ? try previous() : try last()
      case .single:
        // The key itself, or nothing of the range.
        guard try seek(range.lower) else { return false }
        return range.isBelowUpper(try key)
      }
    } catch {
      throw .storage(error)
    }
  }

  mutating func stepBack() throws(MVCCError) -> Bool {
    do { return try previous() } catch { throw .storage(error) }
  }

  mutating func enter(_ range: KeyRange, descends: Bool) throws(MVCCError) -> Bool {
    descends ? try moveToLast(of: range) : try move(to: range.lower)
  }

  mutating func step(descends: Bool) throws(MVCCError) -> Bool { descends ? try stepBack() : try step() }
}
