// Ranges in the order of another field than the key: gather, filter, sort, cut; in etcd's order of these steps.
import NeedletailBytes

extension RangeReader {
  /// etcd's quirk, kept: only an explicit order switches off the limit's push-down. With a target other than the key and
  /// order NONE, the first limit + 1 keys are taken, and those are sorted ascending.
  func sorted(_ query: RangeQuery, into out: inout OutBuffer) throws(MVCCError) {
    var keys = OutBuffer()
    defer { keys.free() }
    var entries: [SortEntry] = []
    let pushesLimitDown = query.order == .none && !query.hasFilters && query.limit > 0
    let taken = pushesLimitDown ? UInt64(query.limit) + 1 : UInt64.max
    let seen: UInt64
    if isLatest {
      var scan = LatestScan(state, range)
      seen = try gather(&scan, query, most: taken, &entries, &keys)
    } else {
      var scan = PastScan(self, descends: false)
      seen = try gather(&scan, query, most: taken, &entries, &keys)
    }

    sort(&entries, query, keys.bytes)
    let more = query.limit > 0 && entries.count > query.limit
    if more { entries.removeLast(entries.count - Int(query.limit)) }
    let mark = out.count
    for entry in entries {
      try appendEntry(entry.key(in: keys.bytes), entry.bytes, keysOnly: query.keysOnly, to: &out)
      guard out.count - mark <= store.answerLimit else { throw .answerTooLarge(limit: store.answerLimit) }
    }
    if more {
      out.append(byte: AnswerTag.rangeMore)
      out.append(byte: 1)
    }
    appendCount(seen == taken ? try count() : seen, to: &out)
  }

  /// Takes entries that pass the filters until `most` were met; returns how many were met.
  private func gather<Scan: RangeScan & ~Copyable>(
    _ scan: inout Scan, _ query: RangeQuery, most: UInt64, _ entries: inout [SortEntry], _ keys: inout OutBuffer
  ) throws(MVCCError) -> UInt64 {
    var seen: UInt64 = 0
    var entry = ScanEntry()
    while seen < most, try scan.next(&entry) {
      seen += 1
      let fields = try RecordFields(entry.fields)
      guard query.passes(createRevision: fields.createRevision, modRevision: fields.modRevision) else { continue }
      entries.append(
        SortEntry(keyOffset: keys.count, keyCount: entry.key.count, bytes: entry.fields, fields: fields))
      keys.append(entry.key)
      // What waits to be sorted is held in memory: it is bounded as the answer is.
      let held = keys.count + entries.count * MemoryLayout<SortEntry>.stride
      guard held <= store.answerLimit else { throw .answerTooLarge(limit: store.answerLimit) }
    }
    return seen
  }

  /// Entries come in key order; equal ones keep it, in both directions, as etcd's short sorts do.
  private func sort(_ entries: inout [SortEntry], _ query: RangeQuery, _ keys: UnsafeRawBufferPointer) {
    let descends = query.order == .descend
    entries.sort { a, b in
      let (x, y) = descends ? (b, a) : (a, b)
      switch query.target {
      case .key: return compareBytes(x.key(in: keys), y.key(in: keys)) < 0
      case .version where x.fields.version != y.fields.version: return x.fields.version < y.fields.version
      case .createRevision where x.fields.createRevision != y.fields.createRevision:
        return x.fields.createRevision < y.fields.createRevision
      case .modRevision where x.fields.modRevision != y.fields.modRevision:
        return x.fields.modRevision < y.fields.modRevision
      case .value:
        let order = compareBytes(x.fields.value, y.fields.value)
        return order != 0 ? order < 0 : a.keyOffset < b.keyOffset
      case .version, .createRevision, .modRevision: return a.keyOffset < b.keyOffset
      }
    }
  }
}

/// An entry waiting to be sorted: its key is in an arena, in key order; the rest is in the pinned page.
struct SortEntry {
  var keyOffset: Int
  var keyCount: Int
  var bytes: UnsafeRawBufferPointer
  var fields: RecordFields

  func key(in keys: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: keys[keyOffset..<(keyOffset + keyCount)])
  }
}
