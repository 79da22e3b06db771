// Two majorities that must both agree, while the membership changes from one to the other.

package struct JointQuorum: Equatable, Sendable {
  /// The voters to be; all voters where the membership is not joint.
  package var incoming: MemberSet
  /// The voters that were; empty where the membership is not joint.
  package var outgoing: MemberSet

  package init(incoming: MemberSet = MemberSet(), outgoing: MemberSet = MemberSet()) {
    self.incoming = incoming
    self.outgoing = outgoing
  }

  package var isJoint: Bool { !outgoing.isEmpty }

  package var all: MemberSet { incoming.union(outgoing) }

  package func contains(_ id: NodeID) -> Bool { incoming.contains(id) || outgoing.contains(id) }

  package func committedIndex(_ acked: (NodeID) -> UInt64?) -> UInt64 {
    if mutant(.quorumOverIncomingOnly) { return incoming.committedIndex(acked) }
    return min(incoming.committedIndex(acked), outgoing.committedIndex(acked))
  }

  package func voteResult(_ vote: (NodeID) -> Bool?) -> VoteResult {
    if mutant(.quorumOverIncomingOnly) { return incoming.voteResult(vote) }
    let (one, other) = (incoming.voteResult(vote), outgoing.voteResult(vote))
    if one == other { return one }
    return one == .lost || other == .lost ? .lost : .pending
  }
}
