// How a member behaves. All members of a cluster should be given the same.

package enum ReadMode: Sendable {
  /// A round of heartbeats confirms that the leader still leads.
  case safe
  /// A lease stands in for the round while it lasts; see `ReadRounds`. Needs `checkQuorum`, and clocks that tick at
  /// nearly the same rate: `leaseDriftTicks` is all that they may differ by within an election timeout.
  case leaseBased
}

package struct RaftOptions {
  /// This member. Not zero, nor a storage thread's.
  package var id: NodeID
  /// Where the log is kept.
  package var storage: any LogStorage
  /// A follower that hears nothing for this many ticks, or up to twice as many, campaigns.
  package var electionTicks = 10
  package var heartbeatTicks = 1
  /// What the state machine has applied already: entries up to here are not given again.
  package var applied: UInt64 = 0
  /// `Ready` holds messages to the storage threads, whose answers are stepped, instead of being advanced.
  package var asyncStorageWrites = false
  /// Encoded bytes of entries in one append. One entry may exceed it.
  package var messageSizeMax: UInt64 = 1 << 20
  /// Encoded bytes of entries given for applying and not yet applied. 0: as `messageSizeMax`.
  package var applyingSizeMax: UInt64 = 0
  /// Bytes of data in the leader's uncommitted entries; beyond it proposals are dropped. 0: no limit.
  package var uncommittedSizeMax: UInt64 = 0
  /// Appends on their way to a follower.
  package var inflightMessagesMax = 256
  /// Bytes of data on their way to a follower. 0: no limit.
  package var inflightBytesMax: UInt64 = 0
  /// Reads that wait, here or at the leader; beyond it they are dropped.
  package var waitingReadsMax = 1 << 16
  /// A leader that hears of no quorum for an election timeout steps down, and members that hear a leader grant no votes.
  package var checkQuorum = false
  /// Campaigns ask first whether they could win, and disturb nobody if not.
  package var preVote = false
  package var readMode = ReadMode.safe
  /// Ticks that a lease ends early, for clocks that differ.
  package var leaseDriftTicks = 2
  /// Followers drop proposals instead of handing them to the leader.
  package var disableProposalForwarding = false
  /// Membership changes are not checked against the membership in force when proposed.
  package var disableConfigChangeValidation = false
  /// A leader that is removed or demoted becomes a follower when it applies that.
  package var stepDownOnRemoval = false
  /// Where election timeouts come from; differs by member, or they all campaign at once.
  package var electionSeed: UInt64
  package var listener: LogListener?

  package init(id: NodeID, storage: any LogStorage) {
    self.id = id
    self.storage = storage
    electionSeed = id
  }

  func validate() throws(RaftError) {
    if id == Node.none { throw .badOptions("cannot use none as id") }
    if Node.isLocalThread(id) { throw .badOptions("cannot use local target as id") }
    if heartbeatTicks <= 0 { throw .badOptions("heartbeat tick must be greater than 0") }
    if electionTicks <= heartbeatTicks {
      throw .badOptions("election tick must be greater than heartbeat tick")
    }
    if electionTicks > 1 << 30 { throw .badOptions("election tick must be at most 2^30") }
    if inflightMessagesMax <= 0 { throw .badOptions("max inflight messages must be greater than 0") }
    if inflightBytesMax != 0, inflightBytesMax < messageSizeMax {
      throw .badOptions("max inflight bytes must be >= max message size")
    }
    if readMode == .leaseBased, !checkQuorum {
      throw .badOptions("CheckQuorum must be enabled when ReadOnlyOption is ReadOnlyLeaseBased")
    }
    if leaseDriftTicks < 0 { throw .badOptions("lease drift ticks must not be negative") }
  }
}
