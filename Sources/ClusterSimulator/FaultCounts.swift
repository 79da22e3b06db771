// What was done to a cluster, so that a run in which nothing happened can't pass for a proof.

package struct FaultCounts: Sendable, Equatable {
  package enum Kind: Int, CaseIterable, Sendable {
    case powerCut, kill, restart, partition, lopsidedPartition, clog, loss, repetition, pause, skew, slowDisk, logError,
      shortLogWrite, fullLogDisk, treeError, fullTreeDisk, tornTail, logDamage, misdirectedLogWrite, treeDamage,
      misdirectedTreeWrite, damageNoticed, treeReplaced, memberReplaced, transfer, snapshotInstalled, voterAdded,
      learnerAdded, promotion, demotion, removal, leaderRemoval, jointEntry, explicitExit, leasedRead, leaseExpiry,
      watchBlock, watchCatchUp, watchCompacted, asynchronousStorage, overlappingWrite, lateWrite, heal

    package var name: String {
      switch self {
      case .powerCut: "power cuts"
      case .kill: "kills"
      case .restart: "restarts"
      case .partition: "partitions"
      case .lopsidedPartition: "lopsided partitions"
      case .clog: "clogged links"
      case .loss: "messages lost"
      case .repetition: "messages repeated"
      case .pause: "pauses"
      case .skew: "clocks skewed"
      case .slowDisk: "slow disks"
      case .logError: "log errors"
      case .shortLogWrite: "short log writes"
      case .fullLogDisk: "full log disks"
      case .treeError: "tree errors"
      case .fullTreeDisk: "full tree disks"
      case .tornTail: "torn log tails"
      case .logDamage: "corrupt log sectors"
      case .misdirectedLogWrite: "misdirected log writes"
      case .treeDamage: "corrupt tree sectors"
      case .misdirectedTreeWrite: "misdirected tree writes"
      case .damageNoticed: "damages noticed"
      case .treeReplaced: "trees replaced"
      case .memberReplaced: "members replaced for their logs"
      case .transfer: "leadership transfers"
      case .snapshotInstalled: "snapshots installed"
      case .voterAdded: "voters added"
      case .learnerAdded: "learners added"
      case .promotion: "learners promoted"
      case .demotion: "voters demoted"
      case .removal: "members removed"
      case .leaderRemoval: "leaders removed"
      case .jointEntry: "joint memberships"
      case .explicitExit: "joint memberships left on request"
      case .leasedRead: "reads under a lease"
      case .leaseExpiry: "leases run out"
      case .watchBlock: "commits watched"
      case .watchCatchUp: "changes read for watchers"
      case .watchCompacted: "watchers behind a compaction"
      case .asynchronousStorage: "processes that store asynchronously"
      case .overlappingWrite: "writes that overlap"
      case .lateWrite: "writes done in a later term"
      case .heal: "healings"
      }
    }
  }

  private var counts = [Int](repeating: 0, count: Kind.allCases.count)

  package init() {}

  package subscript(kind: Kind) -> Int {
    get { counts[kind.rawValue] }
    set { counts[kind.rawValue] = newValue }
  }

  package mutating func add(_ other: FaultCounts) {
    for kind in Kind.allCases { self[kind] += other[kind] }
  }

  /// Kinds that never came up.
  package var missing: [Kind] { Kind.allCases.filter { self[$0] == 0 } }

  package var summary: String {
    Kind.allCases.map { "\(self[$0]) \($0.name)" }.joined(separator: ", ")
  }
}
