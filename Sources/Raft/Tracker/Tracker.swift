// The membership in force, the progress of each member, and the votes of an election.

package struct MemberConfig: Equatable, Sendable {
  package var voters = JointQuorum()
  /// A joint membership that is left as soon as its change is applied.
  package var autoLeave = false
  /// Invariant: no learner is a voter, in either half.
  package var learners = MemberSet()
  /// Voters of the outgoing half that become learners when it is left.
  package var learnersNext = MemberSet()

  package init() {}
}

package struct Tracker: Equatable, Sendable {
  package internal(set) var config = MemberConfig()
  package internal(set) var progress = ProgressMap()
  private var votes: [(id: NodeID, granted: Bool)] = []
  let inflightMessagesMax: Int
  let inflightBytesMax: UInt64

  package init(inflightMessagesMax: Int, inflightBytesMax: UInt64) {
    self.inflightMessagesMax = inflightMessagesMax
    self.inflightBytesMax = inflightBytesMax
  }

  package static func == (one: Tracker, other: Tracker) -> Bool {
    one.config == other.config && one.progress == other.progress
      && one.votes.elementsEqual(other.votes) { $0.id == $1.id && $0.granted == $1.granted }
  }

  var noInflights: Inflights { Inflights(messagesMax: inflightMessagesMax, bytesMax: inflightBytesMax) }

  package var configState: ConfigState {
    ConfigState(
      voters: config.voters.incoming.ids, votersOutgoing: config.voters.outgoing.ids, learners: config.learners.ids,
      learnersNext: config.learnersNext.ids, autoLeave: config.autoLeave)
  }

  /// One voter alone decides everything.
  var isSingleton: Bool { config.voters.incoming.count == 1 && config.voters.outgoing.isEmpty }

  /// The largest index that the voters' logs share, by what they acknowledged.
  var committed: UInt64 {
    if mutant(.learnersCounted) {
      return config.voters.incoming.union(config.learners).committedIndex { progress[$0]?.match }
    }
    return config.voters.committedIndex { progress[$0]?.match }
  }

  /// A quorum of voters was heard of lately.
  var isQuorumActive: Bool {
    config.voters.voteResult { id in
      guard let progress = progress[id], !progress.isLearner else { return nil }
      return progress.isRecentlyActive
    } == .won
  }

  mutating func resetVotes() { votes.removeAll(keepingCapacity: true) }

  /// The first vote of a member counts, and no other.
  mutating func recordVote(_ id: NodeID, granted: Bool) {
    if votes.contains(where: { $0.id == id }) { return }
    votes.append((id, granted))
  }

  func tally() -> (granted: Int, rejected: Int, result: VoteResult) {
    var granted = 0
    var rejected = 0
    for id in progress.ids {
      guard let progress = progress[id], !progress.isLearner else { continue }
      guard let vote = votes.first(where: { $0.id == id }) else { continue }
      if vote.granted { granted += 1 } else { rejected += 1 }
    }
    if mutant(.selfCountedTwice), granted + 1 > config.voters.incoming.count / 2 { return (granted, rejected, .won) }
    let result = config.voters.voteResult { id in votes.first { $0.id == id }?.granted }
    return (granted, rejected, result)
  }
}

extension Tracker {
  /// Takes over what a `Changer` made.
  package mutating func adopt(_ membership: Membership) {
    config = membership.config
    progress = membership.progress
  }
}
