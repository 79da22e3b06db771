/// The terms of the entries in the log, as runs: terms change rarely, so this stays tiny however long the log.
struct TermRuns {
  /// The entry before the first known one. Its term is 0 when unknown.
  private(set) var floor: LogMark
  /// First index and term of each run; indexes and terms rise. Empty when the log holds nothing above the floor.
  private var runs: [LogMark] = []
  private(set) var lastIndex: UInt64

  init(floor: LogMark) {
    self.floor = floor
    lastIndex = floor.index
  }

  var last: LogMark { LogMark(index: lastIndex, term: runs.last?.term ?? floor.term) }

  /// The term of an entry of the present log, nil outside of it.
  func term(at index: UInt64) -> UInt64? {
    guard index >= floor.index, index <= lastIndex else { return nil }
    return runs.last { $0.index <= index }?.term ?? floor.term
  }

  /// An entry may go back (it supersedes) but not leave a gap.
  func accepts(_ index: UInt64) -> Bool {
    index != 0 && index - 1 <= lastIndex
  }

  /// Adds an accepted entry; all entries at or above its index are void.
  mutating func append(_ mark: LogMark) {
    assert(accepts(mark.index))
    if mark.index <= floor.index {
      self = TermRuns(floor: LogMark(index: mark.index - 1, term: 0))
    }
    while let run = runs.last, run.index >= mark.index { runs.removeLast() }
    if runs.isEmpty ? true : runs[runs.count - 1].term != mark.term { runs.append(mark) }
    lastIndex = mark.index
  }

  /// A snapshot at `mark`: keeps the entries after it if the log agrees with it, else the log restarts there.
  /// Returns whether it restarted.
  mutating func snapshot(_ mark: LogMark) -> Bool {
    if mark.index < floor.index { return false }
    let known = term(at: mark.index)
    // A floor of unknown term agrees with everything: its entry is below what can be told.
    if let known, known == mark.term || (known == 0 && mark.index == floor.index) { return false }
    self = TermRuns(floor: mark)
    return true
  }
}
