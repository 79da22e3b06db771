// Becoming follower, candidate or leader.

extension Raft {
  /// Can stand for election: a voter whose state is whole.
  package var isPromotable: Bool {
    guard let own = tracker.progress[id] else { return false }
    return !own.isLearner && !log.hasSnapshotPending
  }

  /// What every change of role begins with.
  private mutating func reset(term new: UInt64) {
    if term != new {
      term = new
      if !mutant(.voteKeptAcrossTerms) { vote = Node.none }
    }
    leader = Node.none
    electionElapsed = 0
    heartbeatElapsed = 0
    randomizeElectionTicks()
    transferee = Node.none
    tracker.resetVotes()
    let (own, last, none) = (id, log.lastIndex, tracker.noInflights)
    tracker.progress.updateAll { id, progress in
      progress = Progress(
        match: id == own ? last : 0, next: last + 1, inflights: none, isLearner: progress.isLearner)
    }
    pendingConfigIndex = 0
    uncommittedSize = 0
    reads = ReadRounds()
    isLeaseVoid = false
  }

  mutating func becomeFollower(term: UInt64, leader: NodeID) {
    reset(term: term)
    self.leader = leader
    role = .follower
    info("\(hex(id)) became follower at term \(self.term)")
  }

  mutating func becomeCandidate() {
    precondition(role != .leader, "invalid transition [leader -> candidate]")
    reset(term: term + 1)
    vote = id
    role = .candidate
    info("\(hex(id)) became candidate at term \(term)")
  }

  /// Neither term nor vote change: nobody is disturbed until it is known that the election could be won.
  mutating func becomePreCandidate() {
    precondition(role != .leader, "invalid transition [leader -> pre-candidate]")
    tracker.resetVotes()
    leader = Node.none
    role = .preCandidate
    info("\(hex(id)) became pre-candidate at term \(term)")
  }

  mutating func becomeLeader() {
    precondition(role != .follower, "invalid transition [follower -> leader]")
    reset(term: term)
    leader = id
    role = .leader
    tracker.progress.update(id) {
      $0.becomeReplicate()
      $0.isRecentlyActive = true
    }
    // There may be a membership change among the entries that are not committed; none is taken before all these are.
    pendingConfigIndex = log.lastIndex
    // No limit refuses an empty entry.
    _ = append([Entry()])
    info("\(hex(id)) became leader at term \(term)")
  }

  // MARK: Time

  /// Between one and two election timeouts, so that members seldom campaign at once.
  private mutating func randomizeElectionTicks() {
    // splitmix64: every seed, also 0, gives a good sequence.
    random &+= 0x9e37_79b9_7f4a_7c15
    var mixed = random
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    mixed ^= mixed >> 31
    randomizedElectionTicks = options.electionTicks + Int(mixed % UInt64(options.electionTicks))
  }

  mutating func tickElection() {
    electionElapsed += 1
    if isPromotable, electionElapsed >= randomizedElectionTicks {
      electionElapsed = 0
      attempt("election") { (raft) throws(RaftError) in try raft.handle(Message(.hup, from: raft.id)) }
    }
  }

  mutating func tickHeartbeat() {
    heartbeatElapsed += 1
    electionElapsed += 1
    if electionElapsed >= options.electionTicks {
      electionElapsed = 0
      if options.checkQuorum {
        attempt("checking sending heartbeat") { (raft) throws(RaftError) in
          try raft.handle(Message(.checkQuorum, from: raft.id))
        }
      }
      // A transfer that took an election timeout has failed: proposals are taken again.
      if role == .leader { transferee = Node.none }
    }
    if role != .leader { return }
    if heartbeatElapsed >= options.heartbeatTicks {
      heartbeatElapsed = 0
      attempt("checking sending heartbeat") { (raft) throws(RaftError) in
        try raft.handle(Message(.beat, from: raft.id))
      }
    }
  }

  private mutating func attempt(_ what: String, _ body: (inout Raft) throws(RaftError) -> Void) {
    do { try body(&self) } catch { debug("error occurred during \(what): \(error)") }
  }
}
