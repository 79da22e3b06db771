// The oracle: every version of every key in memory, and etcd's steps for a range written down one after the other. It
// shares nothing with the code under test.
import NeedletailMVCC

struct NaiveStore {
  /// Versions of each key, oldest first; nil marks a deletion at that revision.
  private var history: [Bytes: [(revision: Int64, kv: KeyValue?)]] = [:]
  private var sortedKeys: [Bytes] = []
  private(set) var revision: Int64 = 1

  private static func isLess(_ a: Bytes, _ b: Bytes) -> Bool { a.lexicographicallyPrecedes(b) }

  func version(_ key: Bytes, at revision: Int64) -> KeyValue? {
    guard let versions = history[key] else { return nil }
    var low = 0
    var high = versions.count
    while low < high {
      let middle = (low + high) / 2
      if versions[middle].revision <= revision { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : versions[low - 1].kv
  }

  func versions(of key: Bytes) -> Int { history[key]?.count ?? 0 }

  private func covers(_ key: Bytes, _ low: Bytes, _ end: Bytes) -> Bool {
    if end.isEmpty { return key == low }
    if NaiveStore.isLess(key, low) { return false }
    return end == [0] || NaiveStore.isLess(key, end)
  }

  func state(_ low: Bytes, _ end: Bytes, at revision: Int64) -> [KeyValue] {
    sortedKeys.compactMap { covers($0, low, end) ? version($0, at: revision) : nil }
  }

  mutating func put(
    _ key: Bytes, _ value: Bytes, lease: Int64 = 0, prevKV: Bool, ignoreValue: Bool, ignoreLease: Bool, keyLimit: Int
  ) throws(MVCCError) -> WriteAnswer {
    if key.isEmpty { throw .keyNotProvided }
    if ignoreValue && !value.isEmpty { throw .valueProvided }
    if ignoreLease && lease != 0 { throw .leaseProvided }
    if key.count > keyLimit { throw .keyTooLong(limit: keyLimit) }
    if lease != 0 { throw .leaseNotFound }
    let old = version(key, at: revision)
    if old == nil, ignoreValue || ignoreLease { throw .keyNotFound }
    revision += 1
    let kv = KeyValue(
      key: key, create: old?.create ?? revision, mod: revision, version: (old?.version ?? 0) + 1,
      value: ignoreValue ? old?.value ?? [] : value)
    record(key, kv)
    var answer = WriteAnswer(revision: revision)
    if prevKV, let old { answer.previous = [old] }
    return answer
  }

  mutating func delete(_ key: Bytes, _ end: Bytes, prevKV: Bool) throws(MVCCError) -> WriteAnswer {
    if key.isEmpty { throw .keyNotProvided }
    let victims = state(key, end, at: revision)
    if !victims.isEmpty { revision += 1 }
    for victim in victims { record(victim.key, nil) }
    var answer = WriteAnswer(revision: revision)
    answer.deleted = Int64(victims.count)
    if prevKV { answer.previous = victims }
    return answer
  }

  private mutating func record(_ key: Bytes, _ kv: KeyValue?) {
    if history[key] == nil {
      var low = 0
      var high = sortedKeys.count
      while low < high {
        let middle = (low + high) / 2
        if NaiveStore.isLess(sortedKeys[middle], key) { low = middle + 1 } else { high = middle }
      }
      sortedKeys.insert(key, at: low)
    }
    history[key, default: []].append((revision, kv))
  }

  func range(_ r: RangeSpec) throws(MVCCError) -> RangeAnswer {
    if r.key.isEmpty { throw .keyNotProvided }
    if r.revision > revision { throw .futureRevision }
    var answer = RangeAnswer(revision: revision)
    let all = state(r.key, r.end, at: r.revision <= 0 ? revision : r.revision)
    answer.count = Int64(all.count)
    if r.countOnly { return answer }
    let isFiltered = r.minMod != 0 || r.maxMod != 0 || r.minCreate != 0 || r.maxCreate != 0
    // Fetch, with one more than the limit unless an order or a filter needs all.
    var kvs = all
    if r.limit > 0, r.order == .none, !isFiltered { kvs = Array(all.prefix(Int(r.limit) + 1)) }
    // Filter.
    kvs.removeAll { kv in
      (r.maxMod != 0 && kv.mod > r.maxMod) || (r.minMod != 0 && kv.mod < r.minMod)
        || (r.maxCreate != 0 && kv.create > r.maxCreate) || (r.minCreate != 0 && kv.create < r.minCreate)
    }
    // Sort; another target without an order means ascending. Ties keep the keys' order.
    let order = r.target != .key && r.order == .none ? .ascend : r.order
    if order != .none {
      let places = kvs.indices.sorted { a, b in
        let (x, y) = order == .ascend ? (kvs[a], kvs[b]) : (kvs[b], kvs[a])
        let (less, more) = NaiveStore.compare(x, y, r.target)
        return less || (!more && a < b)
      }
      kvs = places.map { kvs[$0] }
    }
    // Cut.
    if r.limit > 0, kvs.count > Int(r.limit) {
      kvs = Array(kvs.prefix(Int(r.limit)))
      answer.more = true
    }
    if r.keysOnly { for i in kvs.indices { kvs[i].value = [] } }
    answer.kvs = kvs
    return answer
  }

  private static func compare(_ x: KeyValue, _ y: KeyValue, _ target: RangeQuery.Target) -> (Bool, Bool) {
    switch target {
    case .key: (isLess(x.key, y.key), isLess(y.key, x.key))
    case .version: (x.version < y.version, y.version < x.version)
    case .createRevision: (x.create < y.create, y.create < x.create)
    case .modRevision: (x.mod < y.mod, y.mod < x.mod)
    case .value: (isLess(x.value, y.value), isLess(y.value, x.value))
    }
  }
}
