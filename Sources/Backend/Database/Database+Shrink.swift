// Giving the file's end back to the file system, beside readers and writers.
//
//   1. no page is given out from the goal on
//   2. what lives there moves down, some pages a batch
//   3. a checkpoint; then neither the published nor the durable snapshot needs the end, and when no reader does either,
//      all of it is reusable
//   4. the end is forgotten, and two checkpoints follow: now both meta pages name the shorter file, so that whichever a
//      recovery finds is content with it
//   5. the file is cut
// Whoever needs space meanwhile takes the end back (1 is undone by `allocate`, 4 by growing), and the file stays as
// it is. A crash between any two of these leaves a database with a longer file than it needs.

import CNeedletail
import Glibc

/// What `shrink` came to.
public struct ShrinkReport: Sendable, Equatable {
  public enum Outcome: Sendable, Equatable {
    /// The file is shorter.
    case shrunk
    /// There was less to give back than 2 MiB.
    case compact
    /// A reader, or a checkpoint that ran beside, still needs pages at the end: try again later.
    case held
    /// Writers needed the space.
    case needed
    /// The caller had enough.
    case stopped
  }
  public var outcome: Outcome
  /// Bytes of the file before and after.
  public var before: UInt64
  public var after: UInt64
}

extension Database {
  /// Makes the file as short as what lives in it allows, and an eighth more for writers to work with.
  ///
  /// Readers and writers go on meanwhile; a writer waits for one batch of moves at most, and between two of them they
  /// have as much time to themselves. Costs a copy of each page that lives behind the new end, and where large values do,
  /// a walk through the trees. Throws `io`, `latched`, `closed`, `corrupt`.
  ///
  /// `goesOn` is asked before each batch.
  @discardableResult
  public func shrink(while goesOn: () -> Bool = { true }) throws(DatabaseError) -> ShrinkReport {
    shrinkLock.lock()
    defer { shrinkLock.unlock() }
    let before = withWriter { $0.isClosed ? 0 : store.size }
    func report(_ outcome: ShrinkReport.Outcome) -> ShrinkReport {
      ShrinkReport(outcome: outcome, before: before, after: withWriter { $0.isClosed ? 0 : store.size })
    }
    defer { withWriter { _ = $0.free.allowAll() } }
    // What only the last checkpoint needs is in the way.
    try checkpoint()
    var outcome = ShrinkReport.Outcome.compact
    var floor = 0
    while let goal = try beginShrink(floor: floor) {
      outcome = try shrink(to: goal, goesOn)
      if outcome != .needed { break }
      // Free pages that lie apart are of no use to long values: settle for half.
      floor = withWriter { (goal + $0.free.pages) / 2 }
    }
    return report(outcome)
  }

  private func shrink(to goal: Int, _ goesOn: () -> Bool) throws(DatabaseError) -> ShrinkReport.Outcome {
    do throws(DatabaseError) {
      guard try moveTail(PageID(goal), goesOn) else { return .stopped }
    } catch {
      if case .noSpace = error { return .needed }
      throw error
    }
    guard isEndForbidden(goal) else { return .needed }
    try checkpoint()
    guard forgetTail(goal) else { return isEndForbidden(goal) ? .held : .needed }
    try checkpoint()
    if !mutant(.cutAfterOneCheckpoint) { try checkpoint(force: true) }
    return try cut(goal) ? .shrunk : .needed
  }

  /// Step 1: the first page beyond the file to be, `floor` at least; nil when the file would hardly be shorter.
  private func beginShrink(floor: Int) throws(DatabaseError) -> Int? {
    try withWriter { (writer) throws(DatabaseError) in
      if writer.isClosed { throw .closed }
      if let cause = writer.latch { throw .latched(cause: cause) }
      reclaim(&writer)
      let pageSize = geometry.pageSize
      let step = 2 << 20
      // Room for bitmap pages, and for what batches replace before they can use it again.
      let wanted = max(floor, writer.free.livePages + writer.free.livePages / 8 + 8 * writer.free.groups + 64)
      let goal = (wanted * pageSize + step - 1) / step * step / pageSize
      guard goal + step / pageSize <= writer.free.pages else { return nil }
      writer.free.forbid(from: goal)
      return goal
    }
  }

  private func isEndForbidden(_ goal: Int) -> Bool { withWriter { $0.free.allowed == goal } }

  private static let movesPerBatch = 128

  /// False when told to stop.
  private func moveTail(_ goal: PageID, _ goesOn: () -> Bool) throws(DatabaseError) -> Bool {
    var position = Int(goal)
    while isEndForbidden(Int(goal)) {
      let pages = withWriter { $0.free.livePages(from: position, atMost: Self.movesPerBatch) }
      guard let last = pages.last else { break }
      guard goesOn() else { return false }
      try moveSome { (batch) throws(DatabaseError) in for page in pages { try batch.move(page) } }
      position = Int(last) + 1
    }
    // What still lives there are values.
    guard withWriter({ !$0.free.livePages(from: Int(goal), atMost: 1).isEmpty }) else { return true }
    for tree in 0..<withWriter({ $0.names.count }) {
      var key: [UInt8]? = []
      while let from = key, isEndForbidden(Int(goal)) {
        guard goesOn() else { return false }
        try moveSome { (batch) throws(DatabaseError) in
          key = try batch.moveValues(TreeID(UInt8(tree)), reaching: goal, from: from)
        }
      }
    }
    return true
  }

  /// One batch of moves. What moves replace is free only after a checkpoint: there is one before free pages run out.
  private func moveSome(_ body: (WriteBatch) throws(DatabaseError) -> Void) throws(DatabaseError) {
    do {
      try pausing { try write(body) }
    } catch let error as DatabaseError {
      throw error
    } catch {
      // Nothing else is thrown inside.
      throw .io(operation: "shrink", errno: 0, offset: 0)
    }
    let isShort = withWriter { $0.bytesSinceCheckpoint > UInt64($0.free.available) << geometry.shift }
    if isShort { try checkpoint() }
  }

  /// Half of the time is the other writers'.
  private func pausing<R>(_ body: () throws -> R) rethrows -> R {
    var begun = timespec()
    var ended = timespec()
    clock_gettime(CLOCK_MONOTONIC, &begun)
    let result = try body()
    clock_gettime(CLOCK_MONOTONIC, &ended)
    let took_us = (ended.tv_sec - begun.tv_sec) * 1_000_000 + (ended.tv_nsec - begun.tv_nsec) / 1000
    usleep(UInt32(clamping: min(took_us, 100_000)))
    return result
  }

  /// Step 4, if nothing needs the end any more. The snapshot published here knows the new end.
  private func forgetTail(_ goal: Int) -> Bool {
    withWriter { writer in
      reclaim(&writer)
      guard writer.latch == nil, !writer.isClosed, writer.free.forget(from: goal) else { return false }
      republish(&writer, transaction: readers.current.pointee.transaction.load(ordering: .relaxed) + 1)
      return true
    }
  }

  /// Step 5; false where the file has grown again.
  private func cut(_ goal: Int) throws(DatabaseError) -> Bool {
    try withWriter { (writer) throws(DatabaseError) in
      guard writer.latch == nil, !writer.isClosed, writer.free.pages == goal else { return false }
      do throws(DatabaseError) { try store.truncate(to: UInt64(goal) << geometry.shift) } catch {
        writer.latch = writer.latch ?? error.description
        throw error
      }
      return true
    }
  }
}
