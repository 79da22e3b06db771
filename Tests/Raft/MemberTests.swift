import Testing

@testable import NeedletailRaft

@Suite struct MemberTests {
  @Test func oneChangeAtATime() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.propose(ConfigChange(changes: [SingleChange(.addVoter, 4)]))
    try raft.propose(ConfigChange(changes: [SingleChange(.addVoter, 5)]))
    try settle(&raft, storage)
    #expect(storage.log.suffix(2).map(\.kind) == [.configChangeV2, .normal])
    // A new leader may have one in its log that it doesn't know to be committed.
    var (next, disk) = try makeRaft(terms: [1, 1])
    try elect(&next, disk, commits: false)
    try next.propose(ConfigChange(changes: [SingleChange(.addVoter, 5)]))
    #expect(next.log.unstable.entries.last?.kind ?? disk.log.last?.kind == .normal)
  }

  @Test func impossibleChangesBecomeEmptyEntries() throws {
    var (raft, storage) = try makeRaft(voters: [1])
    try elect(&raft, storage, votes: [])
    for changes in [[SingleChange(.remove, 1)], []] {
      try raft.propose(ConfigChange(changes: changes))
      try settle(&raft, storage)
      #expect(storage.log.last?.kind == .normal)
    }
  }

  @Test func malformedChangesAreRefused() throws {
    var (raft, storage) = try makeRaft(voters: [1])
    try elect(&raft, storage, votes: [])
    let last = raft.lastIndex
    #expect(throws: RaftError.self) { try raft.propose(entries: [Entry(kind: .configChangeV2, data: [0xff])]) }
    #expect(throws: RaftError.self) { try raft.propose(entries: []) }
    #expect(raft.lastIndex == last)
  }

  @Test func learnersDoNotCount() throws {
    var (raft, storage) = try makeRaft(voters: [1, 2], learners: [3, 4, 5])
    try elect(&raft, storage, votes: [2])
    try raft.propose([1])
    try settle(&raft, storage)
    for learner in [NodeID(3), 4, 5] {
      try raft.step(Message(.appendResponse, to: 1, from: learner, term: 1, index: raft.lastIndex))
    }
    #expect(raft.committed == raft.lastIndex - 1)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    #expect(raft.committed == raft.lastIndex)
  }

  /// Joint: both halves must have it. Then the joint membership is left by itself.
  @Test func jointMembershipsNeedBothHalvesAndEnd() throws {
    var (raft, storage) = try makeRaft(voters: [1])
    try elect(&raft, storage, votes: [])
    try raft.propose(ConfigChange(changes: [SingleChange(.addVoter, 2), SingleChange(.addVoter, 3)]))
    try settle(&raft, storage)
    #expect("\(raft.config)" == "voters=(1 2 3)&&(1) autoleave")
    let joint = raft.committed
    #expect(raft.lastIndex == joint + 1)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    try settle(&raft, storage)
    #expect("\(raft.config)" == "voters=(1 2 3)" && raft.committed == joint + 1)
  }

  /// A removed leader leads on, but its own log counts for nothing.
  @Test func aRemovedLeaderDoesNotCountItself() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.propose(ConfigChange(changes: [SingleChange(.remove, 1)]))
    try raft.propose([7])
    try settle(&raft, storage)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex - 1))
    try settle(&raft, storage)
    #expect("\(raft.config)" == "voters=(2 3)" && raft.role == .leader)
    let before = raft.committed
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    #expect(raft.committed == before)
    #expect(throws: RaftError.proposalDropped) { try raft.propose([1]) }
    try raft.step(Message(.appendResponse, to: 1, from: 3, term: 1, index: raft.lastIndex))
    #expect(raft.committed == raft.lastIndex)
  }

  @Test func aRemovedLeaderStepsDownIfAsked() throws {
    var (raft, storage) = try makeRaft { $0.stepDownOnRemoval = true }
    try elect(&raft, storage)
    try raft.propose(ConfigChange(changes: [SingleChange(.remove, 1)]))
    try settle(&raft, storage)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    try settle(&raft, storage)
    #expect(raft.role == .follower && !raft.isPromotable)
  }

  @Test func transfersWaitForTheLog() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.propose([1])
    try settle(&raft, storage)
    raft.transferLeader(to: 2)
    #expect(try settle(&raft, storage).messages.allSatisfy { $0.type != .timeoutNow })
    #expect(throws: RaftError.proposalDropped) { try raft.propose([1]) }
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    #expect(try settle(&raft, storage).messages.contains { $0.type == .timeoutNow && $0.to == 2 })
    // Nobody took over: back to work after an election timeout.
    for _ in 0..<10 { raft.tick() }
    try raft.propose([1])
    // The other side campaigns at once, without asking first.
    var (other, disk) = try makeRaft(2, terms: [1]) { $0.preVote = true }
    try other.step(Message(.timeoutNow, to: 2, from: 1, term: 1))
    #expect(other.role == .candidate && other.term == 2)
    let votes = try settle(&other, disk).messages
    #expect(votes.allSatisfy { $0.context == Campaign.transferContext })
  }
}
