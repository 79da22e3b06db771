// Bugs to switch on, one at a time, to see that a test notices. Compiled only with the package trait `Mutants`; without
// it `mutant` is the constant false and all its branches vanish. docs/raft-mutants.md says what catches each.

#if Mutants
  import Glibc
#endif

package enum Mutant: String, CaseIterable, Sendable {
  case commitsEarlierTerms
  case timerResetByDeniedVote
  case timerResetByStaleAppend
  case answersBeforeDurable
  case voteKeptAcrossTerms
  case truncatesMatchingPrefix
  case commitsLeaderCommit
  case acknowledgesOwnLastIndex
  case matchAdvancedByReject
  case asyncAppendABA
  case readsBeforeTermCommits
  case readPositionReused
  case quorumOverIncomingOnly
  case learnersCounted
  case selfCountedTwice
  case secondConfigChange
  case removedLeaderCountsItself
  case snapshotWithoutMembers
  case snapshotOverNewerLog
  case droppedProposalCommits
  case leaseKeptThroughTransfer
  case leaseFromResponse
  case missedTicksForgotten
  case preVoteBumpsTerm
  case pausedPeerNeverResumed
  case snapshotPeerNeverResumed
}

#if Mutants
  /// The one bug that is on, by its name: every program of such a build obeys, and the module still takes no other input.
  private let activeMutant = getenv("NEEDLETAIL_MUTANT").flatMap { Mutant(rawValue: String(cString: $0)) }

  func mutant(_ which: Mutant) -> Bool { activeMutant == which }
#else
  @inline(__always) func mutant(_: Mutant) -> Bool { false }
#endif
