import Testing

@testable import NeedletailRaft

@Suite struct ElectionTests {
  @Test func timeoutsAreBetweenOneAndTwo() throws {
    var seen: Set<Int> = []
    for id in NodeID(1)...40 {
      var (raft, _) = try makeRaft(1) { $0.electionSeed = id }
      for _ in 0..<50 {
        #expect(raft.randomizedElectionTicks >= 10 && raft.randomizedElectionTicks < 20)
        seen.insert(raft.randomizedElectionTicks)
        raft.becomeFollower(term: raft.term, leader: Node.none)
      }
    }
    #expect(seen.count == 10)
  }

  @Test func silenceStartsACampaign() throws {
    var (raft, storage) = try makeRaft()
    for _ in 0..<20 where raft.role == .follower { raft.tick() }
    #expect(raft.role == .candidate && raft.term == 1 && raft.vote == 1)
    let sent = try settle(&raft, storage).messages
    #expect(sent.map(\.type) == [.vote, .vote] && sent.map(\.to) == [2, 3])
    #expect(storage.hardState == HardState(term: 1, vote: 1))
  }

  /// Only a vote that was granted, and a leader of now, put off a campaign.
  @Test func deniedVotesAndStaleAppendsDoNotPutOffACampaign() throws {
    var (raft, _) = try makeRaft(terms: [1, 2], term: 2)
    raft.setRandomizedElectionTicks(10)
    for _ in 0..<6 { raft.tick() }
    // Too short a log, in our term.
    try raft.step(Message(.vote, to: 1, from: 2, term: 2, logTerm: 1, index: 1))
    #expect(raft.electionElapsed == 6)
    // A leader of an earlier term.
    try raft.step(Message(.append, to: 1, from: 3, term: 1))
    #expect(raft.electionElapsed == 6)
    try raft.step(Message(.vote, to: 1, from: 2, term: 2, logTerm: 2, index: 2))
    #expect(raft.electionElapsed == 0)
  }

  @Test func oneVoteATerm() throws {
    var (raft, storage) = try makeRaft()
    try raft.step(Message(.vote, to: 1, from: 2, term: 5))
    try raft.step(Message(.vote, to: 1, from: 3, term: 5))
    try raft.step(Message(.vote, to: 1, from: 2, term: 5))
    let answers = try settle(&raft, storage).messages
    #expect(answers.map(\.reject) == [false, true, false])
    // The next term is another matter, also for one who lost.
    try raft.step(Message(.vote, to: 1, from: 3, term: 6))
    #expect(try settle(&raft, storage).messages.map(\.reject) == [false])
    #expect(storage.hardState == HardState(term: 6, vote: 3))
  }

  @Test func aRestartRemembersTheVote() throws {
    var (raft, storage) = try makeRaft()
    try raft.step(Message(.vote, to: 1, from: 2, term: 5))
    try settle(&raft, storage)
    var options = RaftOptions(id: 1, storage: storage)
    options.electionSeed = 9
    raft = try Raft(options)
    try raft.step(Message(.vote, to: 1, from: 3, term: 5))
    #expect(try settle(&raft, storage).messages.map(\.reject) == [true])
  }

  /// With asynchronous writes nothing that rests on a write leaves before it.
  @Test func votesWaitForTheDisk() throws {
    var (raft, _) = try makeRaft { $0.asyncStorageWrites = true }
    try raft.step(Message(.vote, to: 1, from: 2, term: 5))
    let ready = try raft.ready()
    #expect(ready.messages.map(\.to) == [Node.appendThread])
    let responses = ready.messages.flatMap(\.responses)
    #expect(responses.map(\.type) == [.voteResponse] && responses.map(\.to) == [2])
    // Nor does a candidate count its own vote.
    var (candidate, _) = try makeRaft { $0.asyncStorageWrites = true }
    try candidate.campaign()
    try candidate.step(Message(.voteResponse, to: 1, from: 2, term: 1))
    #expect(candidate.role == .candidate)
  }

  @Test func aPreVoteChangesNothing() throws {
    var (raft, storage) = try makeRaft(term: 3) { $0.preVote = true }
    try raft.step(Message(.preVote, to: 1, from: 2, term: 9))
    #expect(raft.term == 3 && raft.vote == Node.none)
    let answer = try settle(&raft, storage).messages
    #expect(answer.map(\.term) == [9] && answer.map(\.reject) == [false])
    #expect(storage.hardState.term == 3)
    try raft.campaign()
    #expect(raft.role == .preCandidate && raft.term == 3)
    try raft.step(Message(.preVoteResponse, to: 1, from: 2, term: 4))
    try raft.step(Message(.preVoteResponse, to: 1, from: 3, term: 4))
    #expect(raft.role == .candidate && raft.term == 4)
  }

  /// Whoever hears a leader grants no votes, but for a transfer.
  @Test func aFreshLeaderIsProtected() throws {
    var (raft, storage) = try makeRaft { $0.checkQuorum = true }
    try raft.step(Message(.heartbeat, to: 1, from: 2, term: 1))
    try raft.step(Message(.vote, to: 1, from: 3, term: 2))
    #expect(raft.term == 1)
    try raft.step(Message(.vote, to: 1, from: 3, term: 2, context: Campaign.transferContext))
    #expect(raft.term == 2 && raft.vote == 3)
    try settle(&raft, storage)
    try raft.step(Message(.heartbeat, to: 1, from: 3, term: 2))
    for _ in 0..<10 { raft.electionElapsed += 1 }
    try raft.step(Message(.vote, to: 1, from: 2, term: 3))
    #expect(raft.term == 3 && raft.vote == 2)
  }

  @Test func aLeaderWithoutQuorumStepsDown() throws {
    var (raft, storage) = try makeRaft { $0.checkQuorum = true }
    try elect(&raft, storage)
    for _ in 0..<10 { raft.tick() }
    #expect(raft.role == .leader)
    for _ in 0..<10 { raft.tick() }
    #expect(raft.role == .follower && raft.leader == Node.none)
  }

  @Test func learnersDoNotCampaignButVote() throws {
    var (raft, storage) = try makeRaft(4, learners: [4])
    try raft.campaign()
    #expect(raft.role == .follower)
    try raft.step(Message(.vote, to: 4, from: 2, term: 1))
    #expect(try settle(&raft, storage).messages.map(\.reject) == [false])
  }

  @Test func nobodyCampaignsWithMembersToApply() throws {
    var (raft, _) = try makeRaft { $0.applyingSizeMax = 1 }
    let change = ConfigChange(changes: [SingleChange(.addVoter, 4)]).entry
    let entry = Entry(term: 1, index: 1, kind: change.kind, data: change.data)
    try raft.step(Message(.append, to: 1, from: 2, term: 1, entries: [entry], commit: 1))
    try raft.campaign()
    #expect(raft.role == .follower)
  }

  @Test func badOptionsAreRefused() {
    func refused(_ configure: (inout RaftOptions) -> Void) -> Bool {
      var options = RaftOptions(id: 1, storage: MemoryStorage())
      configure(&options)
      do {
        _ = try Raft(options)
        return false
      } catch RaftError.badOptions { return true } catch { return false }
    }
    #expect(refused { $0.id = Node.none })
    #expect(refused { $0.id = Node.applyThread })
    #expect(refused { $0.heartbeatTicks = 0 })
    #expect(refused { $0.electionTicks = 1 })
    #expect(refused { $0.inflightMessagesMax = 0 })
    #expect(refused { $0.inflightBytesMax = 1 })
    #expect(refused { $0.readMode = .leaseBased })
    #expect(!refused { _ in })
  }

  @Test func badStatesAreRefused() throws {
    let storage = MemoryStorage()
    storage.set(HardState(term: 1, commit: 5))
    #expect(throws: RaftError.self) { try Raft(RaftOptions(id: 1, storage: storage)) }
    storage.set(HardState())
    storage.members = ConfigState(voters: [1], learners: [1])
    #expect(throws: RaftError.self) { try Raft(RaftOptions(id: 1, storage: storage)) }
    storage.members = ConfigState(voters: [1])
    var options = RaftOptions(id: 1, storage: storage)
    options.applied = 7
    #expect(throws: RaftError.self) { try Raft(options) }
  }
}
