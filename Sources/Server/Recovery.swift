// Opening what a run left behind: the tree stands at its last durable checkpoint, the log holds everything since.
import NeedletailMVCC
import NeedletailWAL

package typealias LogDeviceMaker = @Sendable () throws(WALError) -> any LogDevice

/// How the log of one data directory is opened.
package struct LogOpener: Sendable {
  package var directory: String
  package var options: WALOptions
  /// Another disk beneath the log, in tests.
  package var makeDevice: LogDeviceMaker?

  package struct Opened {
    package var log: WAL
    /// The last entry of the log, or of the tree where the log holds none.
    package var lastIndex: UInt64
    package var report: RecoveryReport
  }

  package init(directory: String, options: WALOptions, makeDevice: LogDeviceMaker? = nil) {
    self.directory = directory
    self.options = options
    self.makeDevice = makeDevice
  }

  /// Opens the log and gives `take` every entry beyond `appliedIndex`, in order and without a gap. `take` owns them.
  /// A log that cannot be the continuation of the tree is refused: acknowledged writes would be missing.
  package func open(
    appliedIndex: UInt64, appliedTerm: UInt64?, take: (UnsafeMutablePointer<Proposal>) throws(ServerError) -> Void
  ) throws(ServerError) -> Opened {
    var options = options
    options.appliedIndex = appliedIndex
    var last = appliedIndex
    var refusal: ServerError?
    let log: WAL
    do throws(WALError) {
      log = try openLog(options) { record in
        guard case .entry(let index, let term, let payload) = record else { return }
        do throws(ServerError) {
          try LogOpener.check(index, term, last: last, appliedIndex, appliedTerm)
          guard index > appliedIndex else { return }
          guard let entry = Proposal.make(index: index, term: term, payload) else {
            throw ServerError.badEntry(index: index, why: "out of memory for \(payload.count) bytes")
          }
          last = index
          try take(entry)
        } catch {
          refusal = error
          throw error
        }
      }
    } catch {
      throw refusal ?? .log(error)
    }
    let report = log.recovery
    // The entry itself may lie in a segment that was not read.
    if report.floor.index == appliedIndex, report.floor.term != 0 {
      do throws(ServerError) {
        try LogOpener.check(appliedIndex, report.floor.term, last: appliedIndex, appliedIndex, appliedTerm)
      } catch {
        log.close()
        throw error
      }
    }
    // The tree's entries were durable in the log before they were applied: a log that ends before them lost its tail.
    guard report.last.index >= appliedIndex, !report.created || appliedIndex == 0 else {
      log.close()
      throw .logGap(applied: appliedIndex, found: report.last.index + 1)
    }
    return Opened(log: log, lastIndex: last, report: report)
  }

  private func openLog(
    _ options: WALOptions, _ replay: (RecoveredRecord) throws -> Void
  ) throws(WALError) -> WAL {
    if let makeDevice { return try WAL.open(device: try makeDevice(), options: options, replay: replay) }
    return try WAL.open(directory: directory, options: options, replay: replay)
  }

  private static func check(
    _ index: UInt64, _ term: UInt64, last: UInt64, _ appliedIndex: UInt64, _ appliedTerm: UInt64?
  ) throws(ServerError) {
    if index == appliedIndex, let appliedTerm, term != appliedTerm {
      throw .badEntry(index: index, why: "it has term \(term), the tree applied it with term \(appliedTerm)")
    }
    guard index > appliedIndex else { return }
    guard index <= last + 1 else { throw .logGap(applied: last, found: index) }
    // A lone node never takes an entry back.
    guard index == last + 1 else { throw .badEntry(index: index, why: "it supersedes an entry that was committed") }
  }
}

/// Applies replayed entries a list at a time, so that a long log needs little memory.
struct Replayer: ~Copyable {
  private static let listBytes = 4 << 20
  private let applier: Applier
  private var list = ProposalList()
  private(set) var count: UInt64 = 0

  init(_ applier: Applier) {
    self.applier = applier
  }

  deinit {
    var rest = list
    rest.freeAll()
  }

  mutating func take(_ entry: UnsafeMutablePointer<Proposal>) throws(ServerError) {
    list.append(entry)
    count += 1
    if list.byteCount >= Replayer.listBytes || list.count >= 4096 { try flush() }
  }

  mutating func flush() throws(ServerError) {
    guard !list.isEmpty else { return }
    do { try applier.commit(list) } catch { throw .store(error) }
    list.freeAll()
  }
}
