// What the store must be, by a model as plain as can be: committed commands go in, each once and in order, and out come the
// revision, the changes that watchers must see, and what each answer's header must say.

import NeedletailMVCC
import NeedletailRPC

struct StoreOracle {
  private struct Lease: Equatable {
    var keys: Set<[UInt8]> = []
  }

  private(set) var revision: Int64 = 1
  /// The last entry that went in.
  private(set) var applied: UInt64 = 1
  private var pairs: [[UInt8]: KeyValue] = [:]
  private var leases: [Int64: Lease] = [:]
  /// All changes so far, by revision and then in their order.
  private(set) var events: [WatchEvent] = []
  private var compacted: Int64 = 0

  /// Takes in the entry at `index`, if it is the next, and compares the answer with what it must be.
  mutating func apply(
    _ command: ClusterCommand, at index: UInt64, answer: Result<[UInt8], MVCCError>
  ) throws {
    guard index > applied else { return }
    applied = index
    let refusal = change(command)
    switch answer {
    case .failure(let error):
      guard error == refusal else { throw Violation("entry \(index) was refused: \(error), and not \(refusal as Any)") }
    case .success(let body):
      if let refusal { throw Violation("entry \(index) was not refused: \(refusal)") }
      // Whatever the answer, its first field is the header.
      let told = try body.withUnsafeBytes { try CompactionResponse($0).header.revision }
      guard told == revision else { throw Violation("entry \(index) led to revision \(told), not \(revision)") }
    }
  }

  /// Why the command is refused; nil where it is not, and then it is done.
  private mutating func change(_ command: ClusterCommand) -> MVCCError? {
    switch command.kind {
    case .put(let value, let lease):
      if lease != 0, leases[lease] == nil { return .leaseNotFound }
      revision += 1
      put(command.key, value, lease)
    case .delete(let end):
      let keys = end.isEmpty ? [command.key] : pairs.keys.filter { isIn($0, command.key, end) }
      delete(keys)
    case .transaction(let mod, let value, let otherwise, let otherKey):
      revision += 1
      if (pairs[command.key]?.modRevision ?? 0) == mod {
        put(command.key, value, 0)
      } else {
        put(otherKey, otherwise, 0)
      }
    case .compact(let wanted):
      if wanted <= compacted { return .compacted }
      if wanted > revision { return .futureRevision }
      compacted = wanted
    case .grant(let lease, _):
      if leases[lease] != nil { return .leaseExists }
      leases[lease] = Lease()
    case .revoke(let lease):
      guard let keys = leases[lease]?.keys else { return .leaseNotFound }
      delete(Array(keys))
      leases[lease] = nil
    }
    return nil
  }

  private func isIn(_ key: [UInt8], _ low: [UInt8], _ end: [UInt8]) -> Bool {
    !key.lexicographicallyPrecedes(low) && (end == [0] || key.lexicographicallyPrecedes(end))
  }

  private mutating func put(_ key: [UInt8], _ value: [UInt8], _ lease: Int64) {
    let old = pairs[key]
    var pair = KeyValue()
    pair.key = key
    pair.value = value
    pair.createRevision = old?.createRevision ?? revision
    pair.modRevision = revision
    pair.version = (old?.version ?? 0) + 1
    pair.lease = lease
    pairs[key] = pair
    if let old, old.lease != 0 { leases[old.lease]?.keys.remove(key) }
    if lease != 0 { leases[lease]?.keys.insert(key) }
    var event = WatchEvent()
    event.kv = pair
    event.prevKV = old
    events.append(event)
  }

  /// In one revision, in the order of the keys. Deleting nothing leaves the revision.
  private mutating func delete(_ keys: [[UInt8]]) {
    let living = keys.filter { pairs[$0] != nil }.sorted { $0.lexicographicallyPrecedes($1) }
    if living.isEmpty { return }
    revision += 1
    for key in living {
      guard let old = pairs.removeValue(forKey: key) else { continue }
      if old.lease != 0 { leases[old.lease]?.keys.remove(key) }
      var event = WatchEvent()
      event.kind = .delete
      event.kv.key = key
      event.kv.modRevision = revision
      event.prevKV = old
      events.append(event)
    }
  }

  /// The changes of (after, through], in order.
  func events(after: Int64, through: Int64) -> ArraySlice<WatchEvent> {
    func place(_ revision: Int64) -> Int {
      var (low, high) = (0, events.count)
      while low < high {
        let middle = (low + high) / 2
        if events[middle].kv.modRevision <= revision { low = middle + 1 } else { high = middle }
      }
      return low
    }
    return events[place(after)..<max(place(after), place(through))]
  }
}
