// What the watch hub counts, for the metrics' page.
import Synchronization

package final class WatchFigures: Sendable {
  package let streams = Atomic<Int>(0)
  package let watchers = Atomic<Int>(0)
  /// Watchers that are behind.
  package let slowWatchers = Atomic<Int>(0)
  /// Streams that wait for their client.
  package let pausedStreams = Atomic<Int>(0)
  package let events = Atomic<UInt64>(0)
  /// Events posted that no connection has in its buffer yet.
  package let pendingEvents = Atomic<Int>(0)
  /// Readings of the past: from the ring, and from the log.
  package let ringReads = Atomic<UInt64>(0)
  package let logReads = Atomic<UInt64>(0)
  package let gaps = Atomic<UInt64>(0)

  package init() {}
}
