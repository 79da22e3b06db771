// Hashes for clients: one thread walks the store on a pinned reader, whoever asks waits for its answer alone.
//
// A hash reads everything there is, so that it may take seconds: no reactor does it, and at most a few may wait.
import Glibc
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC

/// Sendable: the queue is guarded by the monitor, all else belongs to the thread.
package final class HashService: @unchecked Sendable {
  /// Requests that wait, of all clients together.
  private static let requestsMax = 16

  private struct Job {
    /// Nil: everything; else the pairs and events at this revision.
    var revision: Int64?
    var reply: ReplyAddress
  }

  private let store: Store
  private let status: NodeStatus
  private let sink: any ReplySink
  private let monitor = Monitor()
  private var jobs: [Job] = []
  private var isStopping = false
  private var thread: Thread?

  package init(_ store: Store, status: NodeStatus, sink: any ReplySink) {
    self.store = store
    self.status = status
    self.sink = sink
  }

  package func start() throws(ServerError) {
    thread = try Thread("hash") { self.run() }
  }

  /// Requests that wait, and the one under way, are told so.
  package func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
    thread?.join()
  }

  /// Any thread; never blocks. The answer comes through the reply sink.
  func hash(_ revision: Int64?, reply: ReplyAddress) throws(StatusError) {
    let refusal: StatusError? = monitor.locked {
      if isStopping { return .stopped }
      if jobs.count >= HashService.requestsMax { return .tooManyRequests }
      jobs.append(Job(revision: revision, reply: reply))
      monitor.signal()
      return nil
    }
    if let refusal { throw refusal }
  }

  // MARK: The thread

  private func run() {
    // This thread alone: on Linux priorities are per thread.
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    while let job = next() {
      do throws(StatusError) { try serve(job) } catch {
        var text = error.message
        text.withUTF8 { sink.reply(to: job.reply, status: error.code.rawValue, body: UnsafeRawBufferPointer($0)) }
      }
    }
  }

  /// Nil when stopped and nothing is left.
  private func next() -> Job? {
    monitor.locked {
      while jobs.isEmpty, !isStopping { monitor.wait() }
      return jobs.isEmpty ? nil : jobs.removeFirst()
    }
  }

  private func serve(_ job: Job) throws(StatusError) {
    let reader: ReaderHandle
    do { reader = try store.database.makeReader() } catch { throw StatusError(MVCCError.storage(error)) }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    let found: StoreHash?
    let goesOn = { [self] in !monitor.locked { isStopping } }
    do throws(MVCCError) {
      found =
        if let revision = job.revision {
          try store.hashKV(view, revision: revision, goesOn: goesOn)
        } else {
          try store.hashAll(view, goesOn: goesOn)
        }
    } catch { throw StatusError(error) }
    guard let found else { throw StatusError.stopped }
    var answer = HashResponse()
    answer.header = ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID,
      revision: Int64(clamping: found.currentRevision), raftTerm: status.term.load(ordering: .relaxed))
    answer.hash = found.hash
    if job.revision != nil {
      // etcd's word for a history that is whole.
      answer.compactRevision = found.wasCompacted ? Int64(clamping: found.compactedRevision) : -1
      answer.hashRevision = Int64(clamping: found.revision)
    }
    answer.encoded().withUnsafeBytes { sink.reply(to: job.reply, status: 0, body: $0) }
  }
}
