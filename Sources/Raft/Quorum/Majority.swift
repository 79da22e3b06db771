// A set of members that decides by majority.

package enum VoteResult: Sendable {
  case pending, lost, won
}

/// Ascending and without repetition, so that whoever walks it walks it in the same order on every machine.
package struct MemberSet: Equatable, Sendable {
  package private(set) var ids: [NodeID]

  package init(_ ids: [NodeID] = []) {
    self.ids = []
    for id in ids { insert(id) }
  }

  package var isEmpty: Bool { ids.isEmpty }
  package var count: Int { ids.count }

  package func contains(_ id: NodeID) -> Bool { ids.contains(id) }

  package mutating func insert(_ id: NodeID) {
    let at = ids.firstIndex { $0 >= id } ?? ids.endIndex
    if at < ids.endIndex, ids[at] == id { return }
    ids.insert(id, at: at)
  }

  package mutating func remove(_ id: NodeID) { ids.removeAll { $0 == id } }

  package func union(_ other: MemberSet) -> MemberSet {
    var all = self
    for id in other.ids { all.insert(id) }
    return all
  }

  /// How many are in one set and not in the other.
  func differences(from other: MemberSet) -> Int {
    ids.count { !other.contains($0) } + other.ids.count { !contains($0) }
  }

  /// The largest index that a majority has acknowledged; `.max` for the empty set, which objects to nothing and so
  /// leaves a joint decision to the other half. `acked` is nil for who has said nothing yet.
  package func committedIndex(_ acked: (NodeID) -> UInt64?) -> UInt64 {
    if ids.isEmpty { return .max }
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: ids.count) { indexes in
      for i in ids.indices { indexes.initializeElement(at: i, to: acked(ids[i]) ?? 0) }
      var sorted = indexes
      sorted.sort()
      return sorted[ids.count - (ids.count / 2 + 1)]
    }
  }

  /// What the votes so far decide. The empty set has won.
  package func voteResult(_ vote: (NodeID) -> Bool?) -> VoteResult {
    if ids.isEmpty { return .won }
    var yes = 0
    var missing = 0
    for id in ids {
      switch vote(id) {
      case .some(true): yes += 1
      case .some(false): break
      case .none: missing += 1
      }
    }
    let quorum = ids.count / 2 + 1
    if yes >= quorum { return .won }
    return yes + missing >= quorum ? .pending : .lost
  }
}
