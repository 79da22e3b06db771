// Bugs to switch on, one at a time, to see that a test notices. Compiled only with the package trait `Mutants`; without
// it `mutant` is the constant false and all its branches vanish. docs/raft-mutants.md says what catches each.

#if Mutants
  import Glibc
#endif

enum Mutant: String, CaseIterable, Sendable {
  case appliedIndexApartFromData
  case appliesByTheClock
  case appliesInHashOrder
}

#if Mutants
  private let activeMutant = getenv("NEEDLETAIL_MUTANT").flatMap { Mutant(rawValue: String(cString: $0)) }

  func mutant(_ which: Mutant) -> Bool { activeMutant == which }

  /// Another answer on every machine.
  func isClockOdd() -> Bool {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_nsec / 64 & 1 == 1
  }
#else
  @inline(__always) func mutant(_: Mutant) -> Bool { false }
  @inline(__always) func isClockOdd() -> Bool { false }
#endif
