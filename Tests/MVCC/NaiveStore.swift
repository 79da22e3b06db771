// The oracle: every version of every key in memory, and etcd's steps for a range written down one after the other. It
// shares nothing with the code under test.
import NeedletailMVCC

struct NaiveStore {
  /// Versions of each key, oldest first; nil marks a deletion at that revision.
  private var history: [Bytes: [(revision: Int64, kv: KeyValue?)]] = [:]
  private var sortedKeys: [Bytes] = []
  /// Every change ever made, in order.
  private(set) var changes: [(revision: Int64, key: Bytes, kv: KeyValue?)] = []
  private(set) var revision: Int64 = 1
  /// The revision before the change that is under way.
  private var begun: Int64?
  private(set) var compacted: Int64 = 0
  /// Which keys belong to a lease, the pairs themselves tell.
  private(set) var leases: [Int64: LeaseRecord] = [:]

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

  /// Keys whose deletion, above the compacted revision, is their last change.
  var deadKeys: Int {
    history.values.count { $0.last.map { $0.kv == nil && $0.revision > compacted } ?? false }
  }

  /// Changes that the log still must have.
  var changesFromCompacted: Int {
    history.values.reduce(0) { sum, versions in sum + versions.count { $0.revision >= compacted } }
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

  mutating func put(_ spec: PutSpec, keyLimit: Int) throws(MVCCError) -> WriteAnswer {
    try NaiveStore.validate(spec, keyLimit)
    // Alone, a put's lease is looked for before its key; in a transaction after.
    if spec.lease != 0 && leases[spec.lease] == nil { throw .leaseNotFound }
    try check(spec)
    beginTransaction()
    defer { endTransaction() }
    return change(spec)
  }

  mutating func delete(_ spec: DeleteSpec) throws(MVCCError) -> WriteAnswer {
    if spec.key.isEmpty { throw .keyNotProvided }
    beginTransaction()
    defer { endTransaction() }
    return change(spec)
  }

  static func validate(_ spec: PutSpec, _ keyLimit: Int) throws(MVCCError) {
    if spec.key.isEmpty { throw .keyNotProvided }
    if spec.ignoreValue && !spec.value.isEmpty { throw .valueProvided }
    if spec.ignoreLease && spec.lease != 0 { throw .leaseProvided }
    if spec.key.count > keyLimit { throw .keyTooLong(limit: keyLimit) }
  }

  func check(_ spec: PutSpec) throws(MVCCError) {
    if spec.ignoreValue || spec.ignoreLease, version(spec.key, at: revision) == nil { throw .keyNotFound }
    if spec.lease != 0 && leases[spec.lease] == nil { throw .leaseNotFound }
  }

  // MARK: Changes: all between begin and end share one revision, which passes only if there is one

  mutating func beginTransaction() { begun = revision }

  mutating func endTransaction() { begun = nil }

  mutating func change(_ spec: PutSpec) -> WriteAnswer {
    let old = version(spec.key, at: revision)
    moveOn()
    let kv = KeyValue(
      key: spec.key, create: old?.create ?? revision, mod: revision, version: (old?.version ?? 0) + 1,
      value: spec.ignoreValue ? old?.value ?? [] : spec.value,
      lease: spec.ignoreLease ? old?.lease ?? 0 : spec.lease)
    record(spec.key, kv)
    var answer = WriteAnswer(revision: revision)
    if spec.prevKV, let old { answer.previous = [old] }
    return answer
  }

  mutating func change(_ spec: DeleteSpec) -> WriteAnswer {
    let victims = state(spec.key, spec.end, at: revision)
    if !victims.isEmpty { moveOn() }
    for victim in victims { record(victim.key, nil) }
    var answer = WriteAnswer(revision: revision)
    answer.deleted = Int64(victims.count)
    if spec.prevKV { answer.previous = victims }
    return answer
  }

  private mutating func moveOn() { revision = (begun ?? revision) + 1 }

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
    changes.append((revision, key, kv))
  }

  mutating func compact(_ revision: Int64) throws(MVCCError) -> Int64 {
    if revision <= compacted { throw .compacted }
    if revision > self.revision { throw .futureRevision }
    compacted = revision
    return self.revision
  }

  // MARK: Leases

  func keys(of lease: Int64) -> [Bytes] {
    state([0], [0], at: revision).filter { $0.lease == lease }.map(\.key)
  }

  mutating func grant(_ id: Int64, ttl: Int64) throws(MVCCError) -> Int64 {
    if ttl > 9_000_000_000 { throw .leaseTTLTooLarge }
    if leases[id] != nil { throw .leaseExists }
    leases[id] = LeaseRecord(ttl: ttl)
    return revision
  }

  mutating func revoke(_ id: Int64) throws(MVCCError) -> Int64 {
    if leases[id] == nil { throw .leaseNotFound }
    beginTransaction()
    for key in keys(of: id) { _ = change(DeleteSpec(key: key)) }
    endTransaction()
    leases[id] = nil
    return revision
  }

  mutating func checkpoint(_ id: Int64, remaining: Int64) {
    if let ttl = leases[id]?.ttl { leases[id]?.remaining = min(max(0, remaining), ttl) }
  }

  func range(_ r: RangeSpec) throws(MVCCError) -> RangeAnswer {
    if r.key.isEmpty { throw .keyNotProvided }
    if r.revision > revision { throw .futureRevision }
    if r.revision > 0 && r.revision < compacted { throw .compacted }
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
