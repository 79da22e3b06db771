// What the state machine reads of the log that its program keeps.

package enum StorageError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The entry was compacted away: a snapshot has it.
  case compacted
  /// The entry is not there.
  case unavailable
  /// A snapshot is being made; ask again.
  case snapshotTemporarilyUnavailable
  /// There is a newer snapshot than the one given.
  case snapshotOutOfDate
  /// The device failed. Nothing may be believed of it any more.
  case failed(String)

  package var description: String {
    switch self {
    case .compacted: "requested index is unavailable due to compaction"
    case .unavailable: "requested entry at index is unavailable"
    case .snapshotTemporarilyUnavailable: "snapshot is temporarily unavailable"
    case .snapshotOutOfDate: "requested index is older than the existing snapshot"
    case .failed(let text): text
    }
  }
}

/// Written by the program as `Ready` tells it to, read by the state machine between the program's calls, on its thread.
package protocol LogStorage: AnyObject {
  /// What was stored last: read once, at start.
  var initialState: (hardState: HardState, members: ConfigState) { get }

  /// The first entry that is not compacted away; one more than `lastIndex` if there is none.
  var firstIndex: UInt64 { get }

  var lastIndex: UInt64 { get }

  /// The term of an entry of `firstIndex - 1 ... lastIndex`.
  func term(at index: UInt64) throws(StorageError) -> UInt64

  /// A prefix of the entries of `range`, of at most `bytes` encoded bytes, and of one entry at least.
  func entries(_ range: Range<UInt64>, encodedSizeMax bytes: UInt64) throws(StorageError) -> [Entry]

  func snapshot() throws(StorageError) -> Snapshot
}
