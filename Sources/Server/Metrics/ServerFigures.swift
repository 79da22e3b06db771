// What a scrape or a status asks of the parts behind locks, sampled about once a second by a thread that may wait, so
// that a reactor never does.
import NeedletailBackend
import Synchronization

package final class ServerFigures: Sendable {
  package let databaseBytes = Atomic<UInt64>(0)
  package let databaseLiveBytes = Atomic<UInt64>(0)
  package let databaseBatches = Atomic<UInt64>(0)
  package let databaseCheckpoints = Atomic<UInt64>(0)
  package let readers: ReaderWatch

  package init(readers: ReaderWatch = ReaderWatch()) { self.readers = readers }

  package func sample(_ database: Database) {
    let now = database.statistics
    databaseBytes.store(now.fileBytes, ordering: .relaxed)
    databaseLiveBytes.store(now.liveBytes, ordering: .relaxed)
    databaseBatches.store(now.batches, ordering: .relaxed)
    databaseCheckpoints.store(now.checkpoints, ordering: .relaxed)
    readers.sample(database, now_ns: monotonicNanoseconds())
  }
}
