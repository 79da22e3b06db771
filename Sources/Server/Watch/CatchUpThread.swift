// Reading the past for watchers that lag behind, on a thread of its own: neither the apply thread nor the hub's other watchers
// wait for it. One reading serves everybody who waits at the same stretch of history.
import Glibc
import NeedletailBackend
import NeedletailMVCC

/// A lagging watcher, as the reader sees it. Sendable: the hub makes it, the reader fills it, the hub takes it back.
final class CatchUpMember: WatchMember, @unchecked Sendable {
  let watcher: Watcher
  /// Events for the watcher and its like; those up to its position are among them where others need them.
  var run: EventRun?

  init(_ watcher: Watcher) {
    self.watcher = watcher
    super.init(watcher.interest)
  }
}

struct CatchUpJob: Sendable {
  let members: [CatchUpMember]
  /// The lowest position of them.
  let start: UInt64
  let ring: EventRing
  let compacted: UInt64
}

struct CatchUpResult: Sendable {
  enum Outcome: Sendable {
    /// Everything from the start up to here.
    case read(reached: UInt64)
    /// The start is no longer there; this is the oldest revision.
    case compacted(UInt64)
    case failed(String)
  }

  let members: [CatchUpMember]
  let outcome: Outcome
}

/// Sendable: the inbox is made for it; the rest belongs to the thread.
final class CatchUpThread: @unchecked Sendable {
  private let store: Store
  private let options: WatchOptions
  private let figures: WatchFigures
  private let done: @Sendable (CatchUpResult) -> Void
  /// Nil ends the thread.
  private let inbox: Inbox<CatchUpJob?>
  private var thread: Thread?

  init(
    _ store: Store, options: WatchOptions, figures: WatchFigures, done: @escaping @Sendable (CatchUpResult) -> Void
  ) throws(ServerError) {
    self.store = store
    self.options = options
    self.figures = figures
    self.done = done
    inbox = try Inbox()
  }

  func start() throws(ServerError) {
    thread = try Thread("watch-past") { self.run() }
  }

  func stop() {
    inbox.post(nil)
    thread?.join()
  }

  func read(_ job: CatchUpJob) { inbox.post(job) }

  private func run() {
    // This thread alone, below reads and writes: on Linux priorities are per thread.
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 5)
    while true {
      inbox.wait(atMost_ms: -1)
      for job in inbox.takeAll() {
        guard let job else { return }
        done(CatchUpResult(members: job.members, outcome: read(job)))
      }
    }
  }

  private func read(_ job: CatchUpJob) -> CatchUpResult.Outcome {
    var index = WatchIndex()
    for member in job.members { index.insert(member) }
    let outcome = fill(index, job)
    for member in job.members {
      member.run = member.group?.run
      index.remove(member)
    }
    return outcome
  }

  private func fill(_ index: WatchIndex, _ job: CatchUpJob) -> CatchUpResult.Outcome {
    func take(_ event: ChangeEvent) { index.forEachGroup(watching: event.key) { _ = $0.take(event) } }
    if job.start >= job.ring.floor {
      figures.ringReads.wrappingAdd(1, ordering: .relaxed)
      let reached = job.ring.read(
        after: job.start, bytesMax: 2 * options.responseBytes, compacted: job.compacted, take)
      return .read(reached: reached)
    }
    figures.logReads.wrappingAdd(1, ordering: .relaxed)
    let reader: ReaderHandle
    do { reader = try store.database.makeReader() } catch { return .failed("needletail: watch: \(error)") }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    do {
      var window = EventWindow()
      window.bytesMax = options.responseBytes
      return .read(reached: try store.changes(view, after: job.start, window, wants: index.watches, take))
    } catch .compacted {
      return .compacted(view.word(StoreWord.compactedRevision))
    } catch {
      return .failed(error.message)
    }
  }
}
