// Range: one answer body from one pinned snapshot. The point get of the latest revision is the main street: it neither
// allocates nor locks, and copies the stored fields once.
import NeedletailBackend
import NeedletailBytes

extension Store {
  /// Appends a RangeResponse body to `out`. On an error nothing is left behind in `out`. A point get is O(log n); a range
  /// is O(log n + answer), its count included. A range whose answer is larger than `inlineLimit`, or takes long to sort,
  /// throws `answerTooLarge` with that limit: it is for a `RangeStream`.
  package func range(_ view: SnapshotView, _ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    guard query.key.count > 0 else { throw .keyNotProvided }
    if query.isPlainGet { return try pointGet(view, query, into: &out) }
    let mark = out.count
    do { try generalRange(view, query, min(inlineLimit, answerLimit), into: &out) } catch {
      out.truncate(to: mark)
      throw error
    }
  }

  /// The same at once, however much there is to look at, for a thread that may take its time.
  package func wholeRange(_ view: SnapshotView, _ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    guard query.key.count > 0 else { throw .keyNotProvided }
    try generalRange(view, query, answerLimit, into: &out)
  }

  @inline(__always)
  private func pointGet(_ view: SnapshotView, _ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    let revision = view.word(StoreWord.revision)
    guard query.key.count <= keyLimit, let record = try view.tree(current).find(query.key) else {
      let start = out.reserve(AnswerHeader.maxSize)
      out.advance(header.write(start, revision: revision, term: query.term) - start)
      return
    }
    let fields = UnsafeRawBufferPointer(rebasing: record[(try VersionHead.size(of: record))...])
    let start = out.reserve(AnswerHeader.maxSize &+ keyValueOverhead &+ query.key.count &+ fields.count &+ 2)
    var at = header.write(start, revision: revision, term: query.term)
    at = writeKeyValue(at, tag: AnswerTag.rangeKVs, key: query.key, fields: fields)
    at = writeByte(1, writeByte(AnswerTag.rangeCount, at))
    out.advance(at - start)
  }

  private func generalRange(
    _ view: SnapshotView, _ query: RangeQuery, _ bound: Int, into out: inout OutBuffer
  ) throws(MVCCError) {
    try range(state(view), query, .whole(term: query.term), bound, into: &out)
  }

  /// Appends the RangeResponse that is a part of a transaction's answer. What an error leaves behind is the caller's to
  /// cut off.
  func rangePart(_ state: StoreState, _ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    try range(state, query, .part, answerLimit, into: &out)
  }

  private func range(
    _ state: StoreState, _ query: RangeQuery, _ scope: AnswerHeader.Scope, _ bound: Int, into out: inout OutBuffer
  ) throws(MVCCError) {
    let asked = query.revision <= 0 ? state.revision : UInt64(query.revision)
    guard asked <= state.revision else { throw .futureRevision }
    guard asked >= state.compacted else { throw .compacted }

    let start = out.reserve(AnswerHeader.maxSize)
    out.advance(header.write(start, revision: state.revision, scope) - start)
    let range = KeyRange(key: query.key, rangeEnd: query.rangeEnd)
    guard !range.isEmpty, query.key.count <= keyLimit || range.kind != .single else { return }

    let reader = RangeReader(store: self, state: state, range: range, revision: asked, bound: bound)
    if query.countOnly {
      appendCount(try reader.count(), to: &out)
    } else if query.target != .key {
      try reader.sorted(query, into: &out)
    } else {
      try reader.inOrder(query, into: &out)
    }
  }
}

func appendCount(_ count: UInt64, to out: inout OutBuffer) {
  guard count > 0 else { return }
  let start = out.reserve(11)
  out.advance(writeVarint(count, writeByte(AnswerTag.rangeCount, start)) - start)
}

/// One range of one state at one revision.
struct RangeReader {
  let store: Store
  let state: StoreState
  let range: KeyRange
  let revision: UInt64
  /// Most bytes of pairs.
  let bound: Int

  var isLatest: Bool { revision == state.revision }

  /// Filters and the limit applied while walking in key order, up or down: one pass, straight into the answer.
  func inOrder(_ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    let more: Bool
    let emitted: UInt64
    let seen: UInt64
    let descends = query.order == .descend
    if isLatest && descends {
      var scan = DescendingScan(state, range)
      (emitted, seen, more) = try emit(&scan, query, into: &out)
    } else if isLatest {
      var scan = LatestScan(state, range)
      (emitted, seen, more) = try emit(&scan, query, into: &out)
    } else {
      var scan = PastScan(self, descends: descends)
      (emitted, seen, more) = try emit(&scan, query, into: &out)
    }
    assert(emitted <= seen)
    if more {
      out.append(byte: AnswerTag.rangeMore)
      out.append(byte: 1)
    }
    // A walk that reached the end has met every key; one that was cut asks the branch pages.
    appendCount(more ? try count() : seen, to: &out)
  }

  /// Returns how many entries were written, how many were met, and whether the limit left any out.
  private func emit<Scan: RangeScan & ~Copyable>(
    _ scan: inout Scan, _ query: RangeQuery, into out: inout OutBuffer
  ) throws(MVCCError) -> (emitted: UInt64, seen: UInt64, more: Bool) {
    let mark = out.count
    let limit = query.limit > 0 ? UInt64(query.limit) : UInt64.max
    var emitted: UInt64 = 0
    var seen: UInt64 = 0
    var entry = ScanEntry()
    while try scan.next(&entry) {
      seen += 1
      if query.hasFilters {
        let fields = try RecordFields(entry.fields)
        guard query.passes(createRevision: fields.createRevision, modRevision: fields.modRevision) else { continue }
      }
      if emitted == limit { return (emitted, seen, true) }
      try appendEntry(entry.key, entry.fields, keysOnly: query.keysOnly, to: &out)
      emitted += 1
      if let cuts = query.cuts, out.count > cuts.pointee.next { cuts.pointee.cut(&out) }
      guard out.count - mark <= bound else { throw .answerTooLarge(limit: bound) }
    }
    return (emitted, seen, false)
  }

  /// Bytes that `appendEntry` appends.
  static func size(of entry: ScanEntry, keysOnly: Bool) throws(MVCCError) -> Int {
    let fields = keysOnly ? try RecordFields(entry.fields).encodedSize(keysOnly: true) : entry.fields.count
    let size = 1 &+ varintSize(UInt64(entry.key.count)) &+ entry.key.count &+ fields
    return 1 &+ varintSize(UInt64(size)) &+ size
  }

  func appendEntry(
    _ key: UnsafeRawBufferPointer, _ fields: UnsafeRawBufferPointer, keysOnly: Bool, to out: inout OutBuffer
  ) throws(MVCCError) {
    if keysOnly {
      let parsed = try RecordFields(fields)
      let size = parsed.encodedSize(keysOnly: true)
      let start = out.reserve(keyValueOverhead + key.count + size)
      let at = writeKey(start, tag: AnswerTag.rangeKVs, key: key, fieldsSize: size)
      out.advance(parsed.write(at, keysOnly: true) - start)
    } else {
      let start = out.reserve(keyValueOverhead + key.count + fields.count)
      out.advance(writeKeyValue(start, tag: AnswerTag.rangeKVs, key: key, fields: fields) - start)
    }
  }
}
