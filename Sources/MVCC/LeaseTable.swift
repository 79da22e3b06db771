// When leases run out: a heap of deadlines beside the leases. It is told the time, and keeps none of its own.

/// Volatile: made anew at each start from the leases in the tree. What expires is only decided here; it happens through
/// the log.
package struct LeaseTable {
  private struct Lease {
    var ttl: Int64
    /// What the last checkpoint noted; 0 = all.
    var remaining: Int64
    var expiry_ns: UInt64
    /// Its revocation was proposed.
    var isRevoking = false
  }

  private struct Deadline {
    var at_ns: UInt64
    var id: Int64
  }

  /// A proposed revocation is proposed again if nothing has come of it for so long.
  private static let retry_ns: UInt64 = 3_000_000_000

  private var leases: [Int64: Lease] = [:]
  /// One entry for each lease, at or before its true deadline: a renewal leaves the entry where it is, and it is moved
  /// when it comes up.
  private var heap: [Deadline] = []

  package init() {}

  package var count: Int { leases.count }

  package func contains(_ id: Int64) -> Bool { leases[id] != nil }

  /// A lease begins, or begins again at a start: then with what a checkpoint left of it, and a grace.
  package mutating func grant(
    _ id: Int64, ttl: Int64, remaining: Int64 = 0, grace_ns: UInt64 = 0, now_ns: UInt64
  ) {
    let seconds = UInt64(max(0, remaining > 0 ? remaining : ttl))
    let expiry = now_ns + grace_ns + seconds * 1_000_000_000
    leases[id] = Lease(ttl: ttl, remaining: remaining, expiry_ns: expiry)
    push(Deadline(at_ns: expiry, id: id))
  }

  package mutating func revoked(_ id: Int64) { leases[id] = nil }

  package mutating func checkpointed(_ id: Int64, remaining: Int64) { leases[id]?.remaining = remaining }

  /// Renews a lease: the TTL it has again, or nil if there is none to renew; and whether a checkpoint must be undone.
  package mutating func renew(_ id: Int64, now_ns: UInt64) -> (ttl: Int64, hadCheckpoint: Bool)? {
    guard var lease = leases[id], !lease.isRevoking, lease.expiry_ns > now_ns else { return nil }
    let hadCheckpoint = lease.remaining > 0
    lease.remaining = 0
    lease.expiry_ns = now_ns + UInt64(max(0, lease.ttl)) * 1_000_000_000
    leases[id] = lease
    return (lease.ttl, hadCheckpoint)
  }

  /// Granted and remaining seconds.
  package func timeToLive(_ id: Int64, now_ns: UInt64) -> (granted: Int64, remaining: Int64)? {
    guard let lease = leases[id] else { return nil }
    let left_ns = lease.expiry_ns > now_ns ? lease.expiry_ns - now_ns : 0
    return (lease.ttl, Int64(left_ns / 1_000_000_000))
  }

  /// Those that expire first in front.
  package var idsByExpiry: [Int64] {
    leases.sorted { ($0.value.expiry_ns, $0.key) < ($1.value.expiry_ns, $1.key) }.map(\.key)
  }

  /// At most `most` leases that have run out and whose revocation is to be proposed now.
  package mutating func expired(now_ns: UInt64, most: Int) -> [Int64] {
    var found: [Int64] = []
    while found.count < most, let first = heap.first, first.at_ns <= now_ns {
      pop()
      guard let lease = leases[first.id] else { continue }
      if lease.expiry_ns > now_ns {
        push(Deadline(at_ns: lease.expiry_ns, id: first.id))
        continue
      }
      leases[first.id]?.isRevoking = true
      found.append(first.id)
      push(Deadline(at_ns: now_ns + LeaseTable.retry_ns, id: first.id))
    }
    return found
  }

  /// The proposal of its revocation was refused: it lives on until the next try.
  package mutating func notRevoked(_ id: Int64) { leases[id]?.isRevoking = false }

  /// Leases longer than `longerThan` seconds with what is left of them, rounded up.
  package func remaining(longerThan seconds: Int64, now_ns: UInt64) -> [(id: Int64, remaining: Int64)] {
    leases.compactMap { id, lease in
      guard lease.ttl > seconds, !lease.isRevoking, lease.expiry_ns > now_ns else { return nil }
      return (id, Int64((lease.expiry_ns - now_ns + 999_999_999) / 1_000_000_000))
    }.sorted { $0.id < $1.id }
  }

  // MARK: The heap

  private mutating func push(_ deadline: Deadline) {
    heap.append(deadline)
    var at = heap.count - 1
    while at > 0, heap[at].at_ns < heap[(at - 1) / 2].at_ns {
      heap.swapAt(at, (at - 1) / 2)
      at = (at - 1) / 2
    }
  }

  private mutating func pop() {
    guard let last = heap.popLast(), !heap.isEmpty else { return }
    heap[0] = last
    var at = 0
    while true {
      var least = at
      for child in [2 * at + 1, 2 * at + 2] where child < heap.count && heap[child].at_ns < heap[least].at_ns {
        least = child
      }
      guard least != at else { return }
      heap.swapAt(at, least)
      at = least
    }
  }
}
