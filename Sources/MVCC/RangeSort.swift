// Ranges in the order of another field than the key: gather, filter, sort, cut; in etcd's order of these steps.
//
// Pages stay pinned, so that a pair costs an entry and its key until it is written. With a limit only so many are kept, the
// best so far; without one all are, in a heap, so that ordering is paid for pair by pair and no step takes long. What all
// sorted ranges of a store hold together is bounded, beyond it they are refused.
import NeedletailBytes
import Synchronization

extension RangeReader {
  /// Entries that a range may look at in one go where a larger one is answered in pieces: about the time of a large answer.
  private static var inlineEntries: Int { 1 << 16 }

  func sorted(_ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    let run = SortedRun(self, query)
    let isInline = bound < store.answerLimit
    guard try run.gather(entriesMax: isInline ? RangeReader.inlineEntries : .max), run.byteCount <= bound else {
      throw .answerTooLarge(limit: bound)
    }
    while let entry = run.next() { try appendEntry(entry.key, entry.fields, keysOnly: query.keysOnly, to: &out) }
    if run.hasMore {
      out.append(byte: AnswerTag.rangeMore)
      out.append(byte: 1)
    }
    appendCount(run.hasMore ? try count() : run.seen, to: &out)
  }
}

/// What sorted ranges hold in memory, of all of a store's readers.
package final class SortBudget: Sendable {
  private let held = Atomic<Int>(0)
  let bytesMax: Int

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  func take(_ count: Int) -> Bool {
    let sum = held.wrappingAdd(count, ordering: .relaxed).newValue
    if sum <= bytesMax { return true }
    held.wrappingSubtract(count, ordering: .relaxed)
    return false
  }

  package var heldBytes: Int { held.load(ordering: .relaxed) }

  func giveBack(_ count: Int) { held.wrappingSubtract(count, ordering: .relaxed) }
}

/// The pairs of one range, gathered and then given in order. Its reader's snapshot stays pinned meanwhile.
final class SortedRun {
  private let reader: RangeReader
  private let query: RangeQuery
  private var scan: AnyScan
  /// Entries that are looked at at most, and kept at most.
  private let lookedAtMax: UInt64
  private let keptMax: UInt64
  /// A heap until all is gathered. With a limit the last in order is its root, and makes room; else the first is.
  private var entries: [SortEntry] = []
  private var isGathered = false
  private var given = 0
  private var keys = OutBuffer()
  private var liveKeyBytes = 0
  /// Bytes taken from the store's budget.
  private var reserved = 0
  private(set) var seen: UInt64 = 0
  private var passed: UInt64 = 0
  /// Bytes of the pairs as an answer holds them.
  private(set) var byteCount = 0

  /// etcd's quirk, kept: only an explicit order switches off the limit's push-down. With a target other than the key and
  /// order NONE, the first limit + 1 keys are taken, and those are sorted ascending.
  init(_ reader: RangeReader, _ query: RangeQuery) {
    self.reader = reader
    self.query = query
    scan = AnyScan(reader, descends: false)
    let limit = query.limit > 0 ? UInt64(query.limit) : UInt64.max
    let pushesLimitDown = query.order == .none && !query.hasFilters && query.limit > 0
    lookedAtMax = pushesLimitDown ? limit + 1 : UInt64.max
    keptMax = limit
  }

  deinit {
    keys.free()
    reader.store.sortBudget.giveBack(reserved)
  }

  /// Whether the limit left any out; known when all is gathered.
  var hasMore: Bool { passed > keptMax }

  /// Looks at up to so many entries more. True when all have been.
  func gather(entriesMax: Int) throws(MVCCError) -> Bool {
    if isGathered { return true }
    var entry = ScanEntry()
    var left = entriesMax
    while seen < lookedAtMax {
      guard left > 0 else { return false }
      left -= 1
      guard try scan.next(&entry) else { break }
      seen += 1
      let fields = try RecordFields(entry.fields)
      guard query.passes(createRevision: fields.createRevision, modRevision: fields.modRevision) else { continue }
      passed += 1
      try take(entry, fields)
    }
    isGathered = true
    if isLimited { entries.sort { isBefore($0, $1) } }
    return true
  }

  /// The next in order, once all are gathered. Its key is valid as long as the run.
  func next() -> ScanEntry? {
    assert(isGathered)
    let entry: SortEntry
    if isLimited {
      guard given < entries.count else { return nil }
      entry = entries[given]
    } else {
      guard let first = entries.first else { return nil }
      entry = first
      let last = entries.removeLast()
      if !entries.isEmpty {
        entries[0] = last
        sink(0)
      }
    }
    given += 1
    return ScanEntry(key: entry.key(in: keys.bytes), fields: entry.bytes)
  }

  // MARK: The heap

  private var isLimited: Bool { query.limit > 0 }

  private func take(_ entry: ScanEntry, _ fields: RecordFields) throws(MVCCError) {
    var candidate = SortEntry(entry, rank: rank(fields, entry), place: passed, keyOffset: keys.count)
    if isLimited, UInt64(entries.count) == keptMax {
      // All keys so far are before this one: among equals it is the last.
      guard let last = entries.first, isBefore(candidate, last) else { return }
      byteCount -= try size(of: last)
      liveKeyBytes -= Int(last.keyCount)
      try keep(&candidate, entry)
      entries[0] = candidate
      sink(0)
    } else {
      try keep(&candidate, entry)
      entries.append(candidate)
      rise()
    }
    byteCount += try size(of: candidate)
    // With a limit what is kept may yet be exchanged for less.
    guard isLimited || byteCount <= reader.bound else { throw .answerTooLarge(limit: reader.bound) }
  }

  /// Copies the key: the walk takes it back.
  private func keep(_ candidate: inout SortEntry, _ entry: ScanEntry) throws(MVCCError) {
    if keys.count > 2 * liveKeyBytes + 1 << 16 { sweepKeys() }
    candidate.keyOffset = keys.count
    keys.append(entry.key)
    liveKeyBytes += entry.key.count
    let held = keys.count + (entries.count + 1) * MemoryLayout<SortEntry>.stride
    guard held > reserved else { return }
    let more = max(1 << 16, held)
    guard reader.store.sortBudget.take(more) else {
      throw .sortTooLarge(limit: reader.store.sortBudget.bytesMax)
    }
    reserved += more
  }

  /// Drops the keys of entries that were exchanged.
  private func sweepKeys() {
    var kept = OutBuffer(capacity: liveKeyBytes)
    for at in entries.indices {
      let key = entries[at].key(in: keys.bytes)
      entries[at].keyOffset = kept.count
      kept.append(key)
    }
    keys.free()
    keys = kept
  }

  private func isAbove(_ a: Int, _ b: Int) -> Bool {
    isLimited ? isBefore(entries[b], entries[a]) : isBefore(entries[a], entries[b])
  }

  private func rise() {
    var at = entries.count - 1
    while at > 0, isAbove(at, (at - 1) / 2) {
      entries.swapAt(at, (at - 1) / 2)
      at = (at - 1) / 2
    }
  }

  private func sink(_ start: Int) {
    var at = start
    while true {
      var top = at
      for child in [2 * at + 1, 2 * at + 2] where child < entries.count && isAbove(child, top) { top = child }
      guard top != at else { return }
      entries.swapAt(at, top)
      at = top
    }
  }

  // MARK: The order

  private func rank(_ fields: RecordFields, _ entry: ScanEntry) -> UInt64 {
    switch query.target {
    case .version: return fields.version
    case .createRevision: return fields.createRevision
    case .modRevision: return fields.modRevision
    case .key: return 0
    case .value:
      // Where in the fields it lies, and how long it is.
      guard let start = fields.value.baseAddress, let base = entry.fields.baseAddress else { return 0 }
      return UInt64(start - base) << 32 | UInt64(fields.value.count)
    }
  }

  /// Equal ones keep the keys' order, in both directions, as etcd's short sorts do.
  private func isBefore(_ a: SortEntry, _ b: SortEntry) -> Bool {
    let order: Int
    if query.target == .value {
      order = compareBytes(a.value, b.value)
    } else {
      order = a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : 0
    }
    guard order != 0 else { return a.place < b.place }
    return (order < 0) != (query.order == .descend)
  }

  private func size(of entry: SortEntry) throws(MVCCError) -> Int {
    let scanned = ScanEntry(key: entry.key(in: keys.bytes), fields: entry.bytes)
    return try RangeReader.size(of: scanned, keysOnly: query.keysOnly)
  }
}

/// A pair waiting for its turn: its key is in an arena, the rest in the pinned page.
struct SortEntry {
  /// What it is ordered by; of a value, where that lies.
  let rank: UInt64
  /// Its place in the order of keys.
  let place: UInt64
  private let start: UnsafeRawPointer?
  private let count: UInt32
  let keyCount: UInt32
  var keyOffset: Int

  init(_ entry: ScanEntry, rank: UInt64, place: UInt64, keyOffset: Int) {
    self.rank = rank
    self.place = place
    self.keyOffset = keyOffset
    start = entry.fields.baseAddress
    // Both are below 2^31 by the engine's limits.
    count = UInt32(clamping: entry.fields.count)
    keyCount = UInt32(clamping: entry.key.count)
  }

  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: Int(count)) }

  var value: UnsafeRawBufferPointer {
    guard let start else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: start + Int(rank >> 32), count: Int(rank & 0xFFFF_FFFF))
  }

  func key(in keys: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: keys[keyOffset..<(keyOffset + Int(keyCount))])
  }
}
