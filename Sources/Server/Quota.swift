// The quota on the database: how many bytes may be in use before nothing that needs more is taken.
//
// What counts is the bytes of pages that hold live data, not the file's size as in etcd: what is deleted and compacted
// makes room at once, and no defragmentation is needed. A request that would go beyond the quota raises the NOSPACE alarm
// through the log and is refused by it; from then on the alarm decides, on every member alike, until it is disarmed.
import NeedletailMVCC
import NeedletailRPC
import Synchronization

package struct QuotaOptions: Sendable, Equatable {
  /// etcd's default, and the most that it suggests.
  package static let standardBytes: Int64 = 2 << 30
  package static let suggestedBytesMax: Int64 = 8 << 30

  /// Below 0: none; 0: etcd's default.
  package var configuredBytes: Int64 = 0

  package init() {}

  /// Nil: none.
  package var bytes: UInt64? {
    configuredBytes < 0 ? nil : UInt64(configuredBytes == 0 ? QuotaOptions.standardBytes : configuredBytes)
  }
}

package final class Quota: Sendable {
  /// Nil: none.
  package let bytes: UInt64?
  /// Bytes of live data as of the last commit. The apply thread stores.
  private let used = Atomic<UInt64>(0)

  package init(_ options: QuotaOptions, used: UInt64) {
    bytes = options.bytes
    self.used.store(used, ordering: .relaxed)
  }

  /// Whether a request of that cost may go ahead; one that costs nothing always may. etcd's comparison.
  package func admits(_ cost: Int) -> Bool {
    guard let bytes, cost > 0 else { return true }
    return used.load(ordering: .relaxed) + UInt64(cost) < bytes
  }

  /// Notes what is in use after a commit. True where it has reached the quota with it: who disarms the alarm before there
  /// is room shall not have it back for a deletion.
  @discardableResult
  package func note(used now: UInt64) -> Bool {
    let before = used.exchange(now, ordering: .relaxed)
    guard let bytes else { return false }
    return before < bytes && now >= bytes
  }

  /// etcd's estimate of a lease.
  static let leaseCost = 64
}
