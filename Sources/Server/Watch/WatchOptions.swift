// Bounds of what watching may cost.

package struct WatchOptions: Sendable {
  /// Recent changes kept in memory, and changes on their way from the apply thread, each at most about so many bytes.
  package var ringBytes = 32 << 20
  /// Bytes that a stream may have on their way to its client; beyond it the stream waits, and catches up later.
  package var streamBytes = 1 << 20
  /// The same of all streams together: beyond it, each may have `crowdedStreamBytes` only.
  package var allStreamsBytes = 256 << 20
  package var crowdedStreamBytes = 64 << 10
  /// A response is cut between revisions at about so many bytes.
  package var responseBytes = 1 << 20
  /// A response to a watcher that takes fragments is cut within a revision, too, at so many bytes; etcd's number.
  package var fragmentBytes = 2 << 20
  /// A watcher that lags behind by no more than this is brought up by the hub itself.
  package var joinBytes = 256 << 10
  /// How often watchers that asked for it hear of progress when nothing happens; a tenth of it at most comes on top.
  package var progress_ms: UInt64 = 600_000
  /// Watchers of all streams, and bytes of their keys.
  package var watchersMax = 1 << 20
  package var keyBytesMax = 256 << 20
  /// Lagging watchers that one reading of the past serves.
  package var membersPerRead = 4096

  package init() {}
}
