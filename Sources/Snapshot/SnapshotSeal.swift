// What etcd's clients want behind a snapshot's file: they look at the length, and some at the digest.

package enum SnapshotSeal {
  static var block: UInt64 { 512 }

  /// Zeros behind a file of so many bytes, so that with the digest behind them it is as long as a sealed file must be.
  package static func padding(_ fileBytes: UInt64) -> Int { Int((block - fileBytes % block) % block) }
}
