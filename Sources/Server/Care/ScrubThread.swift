// The scrub: reads the database file from disk at a set rate and compares what it finds (see `Scrubber`). Damage is
// logged by page, counted, and makes the server call itself unhealthy until it is restored.
import Glibc
import Logging
import NeedletailBackend
import Synchronization

package struct ScrubOptions: Sendable {
  /// MiB read a second at most; 0 turns the scrub off.
  package var rate_mib = 8
  /// From a start to the first pass, and from the beginning of one pass to that of the next at the least.
  package var delay_ms = 10_000
  package var interval_ms = 3_600_000

  package init() {}
}

/// What the scrub has found; any thread reads it.
package final class ScrubFigures: Sendable {
  package let pages = Atomic<UInt64>(0)
  package let bytes = Atomic<UInt64>(0)
  package let passes = Atomic<UInt64>(0)
  /// Pages found damaged since the start, each counted once.
  package let damagedPages = Atomic<UInt64>(0)
  /// How long the last whole pass took.
  package let lastPass_ms = Atomic<UInt64>(0)
  private let firstDamage = Guarded<String?>(nil)

  package init() {}

  func noteDamage(_ text: String) {
    damagedPages.wrappingAdd(1, ordering: .relaxed)
    firstDamage.withLock { $0 = $0 ?? text }
  }

  /// For health answers, in the words of etcd's alarm; nil while nothing is damaged.
  package var illness: String? {
    let count = damagedPages.load(ordering: .relaxed)
    guard count > 0, let first = firstDamage.withLock({ $0 }) else { return nil }
    return "CORRUPT: \(count) damaged on disk: \(first)"
  }
}

/// Sendable: `isStopping` is guarded by the monitor, the rest belongs to the thread.
package final class ScrubThread: @unchecked Sendable {
  private let database: Database
  private let figures: ScrubFigures
  private let options: ScrubOptions
  private let logger: Logger
  private let monitor = Monitor()
  private var isStopping = false
  private var thread: Thread?
  private var known: Set<UInt32> = []
  /// Pages that are remembered, so that each is logged once: a disk full of damage needs no more.
  private static let knownMax = 10_000

  package init(_ database: Database, figures: ScrubFigures, options: ScrubOptions, logger: Logger) {
    self.database = database
    self.figures = figures
    self.options = options
    self.logger = logger
  }

  package func start() throws(ServerError) {
    guard options.rate_mib > 0 else { return }
    thread = try Thread("scrub") { self.run() }
  }

  /// Ends after the step under way.
  package func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
    thread?.join()
  }

  private func run() {
    // This thread alone: on Linux priorities are per thread.
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 15)
    let scrubber: Scrubber
    do { scrubber = try Scrubber(database) } catch {
      return logger.error("the database cannot be scrubbed", metadata: ["why": "\(error)"])
    }
    if !scrubber.isDirect {
      logger.notice("the file system refuses direct reads: the scrub sees the page cache where it has a page")
    }
    guard pause(ns: UInt64(options.delay_ms) * 1_000_000) else { return }
    while pass(scrubber) {}
  }

  /// Looks at everything once; false when the server stops.
  private func pass(_ scrubber: Scrubber) -> Bool {
    let begun = monotonicNanoseconds()
    while true {
      let stepBegun = monotonicNanoseconds()
      let step = scrubber.next()
      figures.pages.wrappingAdd(step.pages, ordering: .relaxed)
      figures.bytes.wrappingAdd(step.bytes, ordering: .relaxed)
      for damage in step.damage { report(damage) }
      if step.endsPass { break }
      let due = step.bytes * 1_000_000_000 / (UInt64(options.rate_mib) << 20)
      let took = monotonicNanoseconds() - stepBegun
      guard pause(ns: due > took ? due - took : 0) else { return false }
    }
    let took = monotonicNanoseconds() - begun
    figures.lastPass_ms.store(took / 1_000_000, ordering: .relaxed)
    figures.passes.wrappingAdd(1, ordering: .relaxed)
    let interval = UInt64(options.interval_ms) * 1_000_000
    return pause(ns: interval > took ? interval - took : 0)
  }

  private func report(_ damage: Scrubber.Damage) {
    guard known.count < Self.knownMax, known.insert(damage.page).inserted else { return }
    let what = "page \(damage.page) of \(damage.place): \(damage.error ?? damage.reason.rawValue)"
    figures.noteDamage(what)
    logger.error(
      "the database file is damaged on disk: restore this member from a snapshot, and replace the disk",
      metadata: ["damage": "\(what)", "path": "\(database.filePath)"])
  }

  /// False when the server stops.
  private func pause(ns: UInt64) -> Bool {
    let deadline = monotonicNanoseconds() + ns
    return monitor.locked {
      while !isStopping {
        let now = monotonicNanoseconds()
        guard now < deadline else { return true }
        monitor.wait(atMost_ms: Int((deadline - now) / 1_000_000) + 1)
      }
      return false
    }
  }
}
