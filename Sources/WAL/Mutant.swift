// Bugs to switch on, one at a time, to see that a test notices. Compiled only with the package trait `Mutants`; without
// it `mutant` is the constant false and all its branches vanish. docs/raft-mutants.md says what catches each.

#if Mutants
  import Glibc
#endif

enum Mutant: String, CaseIterable, Sendable {
  case acknowledgesAtSubmission
  case goesOnAfterFailedWrite
  case directoryNotSynced
  case recyclesTooMuch
}

#if Mutants
  private let activeMutant = getenv("NEEDLETAIL_MUTANT").flatMap { Mutant(rawValue: String(cString: $0)) }

  func mutant(_ which: Mutant) -> Bool { activeMutant == which }
#else
  @inline(__always) func mutant(_: Mutant) -> Bool { false }
#endif
