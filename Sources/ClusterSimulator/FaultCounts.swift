// What was done to a cluster, so that a run in which nothing happened can't pass for a proof.

package struct FaultCounts: Sendable {
  package enum Kind: Int, CaseIterable, Sendable {
    case powerCut, kill, restart, partition, lopsidedPartition, clog, loss, repetition, pause, skew, slowDisk, logError,
      fullLogDisk, treeError, transfer, snapshotInstalled, tornTail, heal

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
      case .fullLogDisk: "short log writes"
      case .treeError: "tree errors"
      case .transfer: "leadership transfers"
      case .snapshotInstalled: "snapshots installed"
      case .tornTail: "torn log tails"
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

  package var summary: String {
    Kind.allCases.map { "\(self[$0]) \($0.name)" }.joined(separator: ", ")
  }
}
