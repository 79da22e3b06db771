// Who a message is from or to, and how far numbers may go.

/// A member of the cluster. Zero is nobody; the two largest values are the local storage threads.
package typealias NodeID = UInt64

package enum Node {
  /// Nobody: no leader, no vote.
  package static let none: NodeID = 0
  /// Whoever writes the log and the hard state, when storage writes are asynchronous.
  package static let appendThread: NodeID = .max
  /// Whoever applies committed entries, when storage writes are asynchronous.
  package static let applyThread: NodeID = .max - 1

  package static func isLocalThread(_ id: NodeID) -> Bool { id == appendThread || id == applyThread }
}

package enum Limits {
  /// Terms and indexes beyond this are refused at the border, so that arithmetic on them inside cannot overflow.
  package static let numberMax: UInt64 = 1 << 60
  /// No limit on a size.
  package static let unlimited: UInt64 = .max
}
