// A large range in pieces: looked through once for its size, then written piece by piece, on a snapshot that stays pinned
// meanwhile. What it holds in memory is two cursors' worth, however large the answer is.
//
// Every face needs the size before the first byte, because a message's length stands in front of it; a face that sends
// pieces as messages of their own leaves the measuring out.
import NeedletailBackend
import NeedletailBytes

/// Used by one thread. Gives its reader back when it goes.
package final class RangeStream {
  package enum Form: Sendable {
    /// One RangeResponse, cut anywhere between pairs: `measure`, then `write`.
    case measured
    /// Pieces that are RangeResponses themselves and give the whole when merged; header, more and count are the last.
    case pieces
  }

  private let reader: ReaderHandle
  private let range: RangeReader
  private let query: RangeQuery
  private let keys: UnsafeMutableRawPointer
  private let form: Form
  private var scan: AnyScan
  /// In place of the walk where the order is not that of keys.
  private let sorted: SortedRun?
  private var seen: UInt64 = 0
  private var emitted: UInt64 = 0
  /// What stands in front of the pairs and behind them, once it is known.
  private var head = OutBuffer()
  private var tail: OutBuffer?
  private var isBegun = false
  /// Bytes of the whole answer, when it has been measured.
  package private(set) var size = 0

  /// Takes `reader` over. In pieces only queries in the order of keys.
  package init(_ store: Store, _ reader: ReaderHandle, _ asked: RangeQuery, _ form: Form) throws(MVCCError) {
    // The request's bytes go away long before the answer is written.
    let room = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(1, asked.key.count + asked.rangeEnd.count), alignment: 1)
    let state = store.state(reader.pin())
    var query = asked
    if let start = room.baseAddress {
      if let key = asked.key.baseAddress { start.copyMemory(from: key, byteCount: asked.key.count) }
      let end = start + asked.key.count
      if let source = asked.rangeEnd.baseAddress { end.copyMemory(from: source, byteCount: asked.rangeEnd.count) }
      query.key = UnsafeRawBufferPointer(start: start, count: asked.key.count)
      query.rangeEnd = UnsafeRawBufferPointer(start: end, count: asked.rangeEnd.count)
    }
    let revision = query.revision <= 0 ? state.revision : UInt64(query.revision)
    range = RangeReader(
      store: store, state: state, range: KeyRange(key: query.key, rangeEnd: query.rangeEnd), revision: revision,
      bound: store.answerLimit)
    self.reader = reader
    self.query = query
    self.form = form
    keys = room.baseAddress.unsafelyUnwrapped
    let isSorted = query.target != .key && !query.countOnly && form == .measured
    sorted = isSorted && !range.range.isEmpty ? SortedRun(range, query) : nil
    scan = isSorted ? AnyScan() : AnyScan(range, descends: query.order == .descend)
    let start = head.reserve(AnswerHeader.maxSize)
    head.advance(store.header.write(start, revision: state.revision, term: query.term) - start)
    // As `Store.range` judges; and between its look and this pin a compaction may have passed.
    guard query.key.count > 0 else { throw .keyNotProvided }
    guard revision <= state.revision else { throw .futureRevision }
    guard revision >= state.compacted else { throw .compacted }
    guard query.countOnly else { return }
    var count = OutBuffer()
    if !range.range.isEmpty { appendCount(try range.count(), to: &count) }
    tail = count
    scan = AnyScan()
  }

  deinit {
    head.free()
    tail?.free()
    keys.deallocate()
    reader.unpin()
    reader.free()
  }

  /// The next pair that the query wants; false at the end, which the limit may be.
  private func next(_ entry: inout ScanEntry, _ left: inout Int) throws(MVCCError) -> Step {
    while left > 0 {
      left -= 1
      guard try scan.next(&entry) else { return .end(more: false) }
      seen += 1
      if query.hasFilters {
        let fields = try RecordFields(entry.fields)
        guard query.passes(createRevision: fields.createRevision, modRevision: fields.modRevision) else { continue }
      }
      if query.limit > 0, emitted == UInt64(query.limit) { return .end(more: true) }
      emitted += 1
      return .pair
    }
    return .pause
  }

  private enum Step {
    case pair
    case pause
    case end(more: Bool)
  }

  /// Looks at up to so many entries more. True when all are measured: `size` is known, and writing may begin.
  package func measure(entriesMax: Int) throws(MVCCError) -> Bool {
    if let sorted { return try measure(sorted, entriesMax) }
    var entry = ScanEntry()
    var left = entriesMax
    while true {
      switch try next(&entry, &left) {
      case .pause: return false
      case .pair:
        size += try RangeReader.size(of: entry, keysOnly: query.keysOnly)
        guard size <= range.bound else { throw .answerTooLarge(limit: range.bound) }
      case .end(let more):
        try finish(more)
        size += head.count + (tail?.count ?? 0)
        seen = 0
        emitted = 0
        scan = AnyScan(range, descends: query.order == .descend)
        return true
      }
    }
  }

  private func measure(_ sorted: SortedRun, _ entriesMax: Int) throws(MVCCError) -> Bool {
    guard try sorted.gather(entriesMax: entriesMax) else { return false }
    guard sorted.byteCount <= range.bound else { throw .answerTooLarge(limit: range.bound) }
    seen = sorted.seen
    try finish(sorted.hasMore)
    size = head.count + sorted.byteCount + (tail?.count ?? 0)
    return true
  }

  private func finish(_ more: Bool) throws(MVCCError) {
    guard tail == nil else { return }
    var tail = OutBuffer()
    if more {
      tail.append(byte: AnswerTag.rangeMore)
      tail.append(byte: 1)
    }
    do throws(MVCCError) { appendCount(more ? try range.count() : seen, to: &tail) } catch {
      tail.free()
      throw error
    }
    self.tail = tail
  }

  /// Appends about so many bytes more, at least one pair. True when that was the last piece.
  package func write(into out: inout OutBuffer, bytesMax: Int) throws(MVCCError) -> Bool {
    let mark = out.count
    if !isBegun, form == .measured { out.append(head.bytes) }
    isBegun = true
    if let sorted { return try write(sorted, into: &out, bytesMax) }
    var entry = ScanEntry()
    // A filter may pass over any number of entries: looking ends somewhere too.
    var left = max(1, bytesMax / 8)
    while out.count - mark < bytesMax {
      switch try next(&entry, &left) {
      case .pause: return false
      case .pair: try range.appendEntry(entry.key, entry.fields, keysOnly: query.keysOnly, to: &out)
      case .end(let more):
        // In pieces, the end is a piece of its own.
        if form == .pieces, out.count > mark, tail == nil { return try hold(more) }
        try finish(more)
        if form == .pieces { out.append(head.bytes) }
        if let tail { out.append(tail.bytes) }
        return true
      }
    }
    return false
  }

  private func write(_ sorted: SortedRun, into out: inout OutBuffer, _ bytesMax: Int) throws(MVCCError) -> Bool {
    let mark = out.count
    while out.count - mark < bytesMax {
      guard let entry = sorted.next() else {
        if let tail { out.append(tail.bytes) }
        return true
      }
      try range.appendEntry(entry.key, entry.fields, keysOnly: query.keysOnly, to: &out)
    }
    return false
  }

  /// The walk is over; the next call writes the last piece.
  private func hold(_ more: Bool) throws(MVCCError) -> Bool {
    try finish(more)
    scan = AnyScan()
    return false
  }
}

/// One of the walks, chosen when it is made.
struct AnyScan: ~Copyable, RangeScan {
  private var latest: LatestScan?
  private var descending: DescendingScan?
  private var past: PastScan?

  init(_ reader: RangeReader, descends: Bool) {
    latest = nil
    descending = nil
    past = nil
    if !reader.isLatest {
      past = PastScan(reader, descends: descends)
    } else if descends {
      descending = DescendingScan(reader.state, reader.range)
    } else {
      latest = LatestScan(reader.state, reader.range)
    }
  }

  /// One that has nothing more.
  init() {
    latest = nil
    descending = nil
    past = nil
  }

  mutating func next(_ entry: inout ScanEntry) throws(MVCCError) -> Bool {
    if let found = try latest?.next(&entry) { return found }
    if let found = try descending?.next(&entry) { return found }
    return try past?.next(&entry) ?? false
  }
}
