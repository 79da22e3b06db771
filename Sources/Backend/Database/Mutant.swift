// Bugs to switch on, one at a time, to see that a test notices. Compiled only with the package trait `Mutants`; without
// it `mutant` is the constant false and all its branches vanish. docs/engine-mutants.md says what catches each.

#if Mutants
  import Glibc
#endif

enum Mutant: String, CaseIterable, Sendable {
  case durableNotPinned
  case checkpointInFlightNotPinned
  case reclaimsWithoutAsking
  case metaBeforeData
  case lastSyncMissing
  case bitmapOfTheMoment
  case oneSetOfChangedGroups
  case changedGroupsStartEmpty
  case metaNotRewritten
  case opensWithoutSync
  case transactionsUsedAgain
  case olderCheckpointTrusted
  case unfinishedCreationKept
  case failedCheckpointForgotten
  case shortSeparator
  case countsInLowestBranchOnly
  case rightSpineKeepsPrefix
  case mergeKeepsLongerPrefix
  case mergeLosesCount
  case replacedValueKept
  case abandonedValuesKept
  case editsUnchecked
  case scrubsWithoutPin
  case redistributionKeepsSeparator
  case redistributionLosesCounts
  case redistributionKeepsPrefixes
  case replacedSampleKept
  case rangeDeletionKeepsValues
  case rangeDeletionKeepsPages
  case rangeDeletionKeepsCounts
  case rangeDeletionUnchecked
  case emptyChildOfAnyPrefix
  case appendPositionKept
  case appendsUnsorted
  case cutAfterOneCheckpoint
  case endForgottenUnderReaders
  case folioDirtyAfterSync
  case scrubsOneCheckpoint
  case scrubsStaleMeta
  case scrubsBesideCheckpoints
  case seeksWithoutPrefix
}

#if Mutants
  private let activeMutant = getenv("NEEDLETAIL_MUTANT").flatMap { Mutant(rawValue: String(cString: $0)) }

  func mutant(_ which: Mutant) -> Bool { activeMutant == which }
#else
  @inline(__always) func mutant(_: Mutant) -> Bool { false }
#endif
