// What a member stores beside its log, and what it tells its program.

/// Durable before any answer that rests on it. `commit` alone may be behind after a crash: it is learned again.
package struct HardState: Equatable, Sendable {
  package var term: UInt64
  package var vote: NodeID
  package var commit: UInt64

  package init(term: UInt64 = 0, vote: NodeID = Node.none, commit: UInt64 = 0) {
    self.term = term
    self.vote = vote
    self.commit = commit
  }

  package var isEmpty: Bool { self == HardState() }
}

package enum Role: Sendable {
  case follower, candidate, leader, preCandidate
}

/// Useful to know, needs no storing.
package struct SoftState: Equatable, Sendable {
  package var leader: NodeID
  package var role: Role
}

/// A read that may be answered once `index` is applied here.
package struct ReadState: Equatable, Sendable {
  package var index: UInt64
  package var context: [UInt8]
}

/// A membership, as snapshots carry it.
package struct ConfigState: Equatable, Sendable {
  package var voters: [NodeID]
  package var votersOutgoing: [NodeID]
  package var learners: [NodeID]
  package var learnersNext: [NodeID]
  package var autoLeave: Bool

  package init(
    voters: [NodeID] = [], votersOutgoing: [NodeID] = [], learners: [NodeID] = [], learnersNext: [NodeID] = [],
    autoLeave: Bool = false
  ) {
    self.voters = voters
    self.votersOutgoing = votersOutgoing
    self.learners = learners
    self.learnersNext = learnersNext
    self.autoLeave = autoLeave
  }

  /// Equal but for the order of the members.
  func isEquivalent(to other: ConfigState) -> Bool {
    voters.sorted() == other.voters.sorted() && votersOutgoing.sorted() == other.votersOutgoing.sorted()
      && learners.sorted() == other.learners.sorted() && learnersNext.sorted() == other.learnersNext.sorted()
      && autoLeave == other.autoLeave
  }
}

/// The state machine as of `index`; what `data` means is the program's business.
package struct Snapshot: Equatable, Sendable {
  package var index: UInt64
  package var term: UInt64
  package var members: ConfigState
  package var data: [UInt8]

  package init(index: UInt64 = 0, term: UInt64 = 0, members: ConfigState = ConfigState(), data: [UInt8] = []) {
    self.index = index
    self.term = term
    self.members = members
    self.data = data
  }

  package var isEmpty: Bool { index == 0 }
}
