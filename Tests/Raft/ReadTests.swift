import Testing

@testable import NeedletailRaft

@Suite struct ReadTests {
  private func answer(_ raft: inout Raft, _ message: Message) throws {
    let type: MessageType = message.type == .append ? .appendResponse : .heartbeatResponse
    let index = message.type == .append ? message.index + UInt64(message.entries.count) : 0
    try raft.step(Message(type, to: 1, from: message.to, term: raft.term, index: index, context: message.context))
  }

  @Test func readsWaitForTheTermsFirstCommit() throws {
    for voters in [[NodeID(1)], [1, 2, 3]] {
      var (raft, storage) = try makeRaft(voters: voters, terms: [1, 1])
      try raft.campaign()
      if voters.count == 1 {
        // Just elected: the last term's entries are not known to be committed.
        let ready = try raft.ready()
        storage.set(ready.hardState)
        try raft.advance()
        #expect(raft.role == .leader && raft.committed == 0)
        try raft.readIndex([7])
        let next = try raft.ready()
        #expect(next.readStates.isEmpty)
        try storage.append(next.entries)
        try raft.advance()
        #expect(try settle(&raft, storage).reads == [ReadState(index: 3, context: [7])])
        continue
      }
      try settle(&raft, storage)
      try raft.step(Message(.voteResponse, to: 1, from: 2, term: 2))
      try settle(&raft, storage)
      try raft.readIndex([7])
      let sent = try settle(&raft, storage)
      #expect(sent.reads.isEmpty && sent.messages.isEmpty)
      try raft.step(Message(.appendResponse, to: 1, from: 2, term: 2, index: 3))
      let round = try settle(&raft, storage)
      #expect(round.reads.isEmpty)
      let beat = try #require(round.messages.last { $0.type == .heartbeat && $0.to == 2 })
      try answer(&raft, beat)
      #expect(try settle(&raft, storage).reads == [ReadState(index: 3, context: [7])])
    }
  }

  /// All reads between two batches share a round; an answer confirms what had arrived when its message left.
  @Test func readsShareRounds() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    for i in 0..<100 { try raft.readIndex([UInt8(i)]) }
    let first = try settle(&raft, storage).messages
    #expect(first.map(\.type) == [.heartbeat, .heartbeat])
    try raft.readIndex([200])
    let second = try settle(&raft, storage).messages
    #expect(second.map(\.type) == [.heartbeat, .heartbeat])
    // The first round's answers say nothing of a read that came after it left.
    try answer(&raft, first[0])
    #expect(try settle(&raft, storage).reads.map(\.context) == (0..<100).map { [UInt8($0)] })
    try answer(&raft, first[0])
    try answer(&raft, first[1])
    #expect(try settle(&raft, storage).reads.isEmpty)
    try answer(&raft, second[1])
    #expect(try settle(&raft, storage).reads.map(\.context) == [[200]])
  }

  @Test func laterRoundsConfirmEarlierReads() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.readIndex([1])
    try settle(&raft, storage)
    try raft.readIndex([2])
    let second = try settle(&raft, storage).messages
    try answer(&raft, second[0])
    #expect(try settle(&raft, storage).reads.map(\.context) == [[1], [2]])
  }

  /// Appends that leave while reads wait confirm them as well as heartbeats.
  @Test func answersToAppendsConfirmReads() throws {
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.readIndex([1])
    try settle(&raft, storage)
    try raft.propose([9])
    let append = try #require(try settle(&raft, storage).messages.first { $0.type == .append })
    try answer(&raft, append)
    #expect(try settle(&raft, storage).reads.map(\.context) == [[1]])
  }

  @Test func learnersConfirmNothing() throws {
    var (raft, storage) = try makeRaft(voters: [1, 2], learners: [3])
    try elect(&raft, storage, votes: [2])
    try raft.readIndex([1])
    let round = try settle(&raft, storage).messages
    for beat in round where beat.to == 3 { try answer(&raft, beat) }
    #expect(try settle(&raft, storage).reads.isEmpty)
    for beat in round where beat.to == 2 { try answer(&raft, beat) }
    #expect(try settle(&raft, storage).reads.count == 1)
  }

  @Test func followersAskTheLeaderOnceForAll() throws {
    var (follower, disk) = try makeRaft(2)
    try follower.step(Message(.heartbeat, to: 2, from: 1, term: 1))
    try settle(&follower, disk)
    for i in 0..<10 { try follower.readIndex([UInt8(i)]) }
    let asked = try settle(&follower, disk).messages
    #expect(asked.map(\.type) == [.readIndex] && asked.first?.entries.count == 10)
    var (raft, storage) = try makeRaft()
    try elect(&raft, storage)
    try raft.step(try #require(asked.first))
    let round = try settle(&raft, storage).messages
    try answer(&raft, try #require(round.first { $0.to == 3 }))
    let reply = try settle(&raft, storage).messages
    #expect(reply.map(\.type) == [.readIndexResponse])
    try follower.step(try #require(reply.first))
    #expect(try settle(&follower, disk).reads == (0..<10).map { ReadState(index: 1, context: [UInt8($0)]) })
  }

  @Test func waitingReadsAreBounded() throws {
    var (raft, storage) = try makeRaft { $0.waitingReadsMax = 10 }
    try elect(&raft, storage)
    for i in 0..<10 { try raft.readIndex([UInt8(i)]) }
    #expect(throws: RaftError.readDropped) { try raft.readIndex([10]) }
    for _ in 0..<100 {
      try raft.step(Message(.readIndex, to: 1, from: 2, entries: [Entry(data: [1])]))
      try settle(&raft, storage)
    }
    #expect(raft.waitingReads == 10)
    // All of a message's reads or none.
    try raft.step(Message(.readIndex, to: 1, from: 2, entries: [Entry](repeating: Entry(data: [1]), count: 10)))
    #expect(raft.waitingReads == 10)
  }

  // MARK: Leases

  private func leader() throws -> (raft: Raft, storage: MemoryStorage) {
    var (raft, storage) = try makeRaft {
      $0.checkQuorum = true
      $0.readMode = .leaseBased
    }
    try elect(&raft, storage)
    return (raft, storage)
  }

  private func beat(_ raft: inout Raft, _ storage: MemoryStorage) throws -> Message {
    raft.tick()
    return try #require(try settle(&raft, storage).messages.first { $0.type == .heartbeat && $0.to == 2 })
  }

  @Test func leasesAnswerAtOnceAndEnd() throws {
    var (raft, storage) = try leader()
    #expect(!raft.holdsLease)
    let message = try beat(&raft, storage)
    try answer(&raft, message)
    #expect(raft.holdsLease)
    try raft.readIndex([1])
    let answered = try settle(&raft, storage)
    #expect(answered.reads.count == 1 && answered.messages.isEmpty)
    // Ten ticks of a follower, less two for where ticks fall and two for how clocks differ.
    for _ in 0..<6 { raft.tick() }
    #expect(raft.holdsLease)
    raft.tick()
    #expect(!raft.holdsLease)
    try settle(&raft, storage)
    try raft.readIndex([2])
    #expect(try settle(&raft, storage).reads.isEmpty)
  }

  /// However late the answer comes, the lease began when the message left.
  @Test func leasesBeginWhenTheHeartbeatLeaves() throws {
    var (raft, storage) = try leader()
    let message = try beat(&raft, storage)
    for _ in 0..<7 { raft.tick() }
    try answer(&raft, message)
    #expect(!raft.holdsLease)
  }

  @Test func leasesEndWithATransfer() throws {
    var (raft, storage) = try leader()
    try answer(&raft, try beat(&raft, storage))
    #expect(raft.holdsLease)
    raft.transferLeader(to: 2)
    #expect(!raft.holdsLease)
    // Also when it seems to have failed: the message may yet arrive.
    for _ in 0..<12 { try answer(&raft, try beat(&raft, storage)) }
    #expect(raft.role == .leader && raft.transferee == Node.none && !raft.holdsLease)
  }

  /// A pause takes time, though nobody was there to count it: made up for, it ends the lease.
  @Test func leasesEndInAPause() throws {
    var (raft, storage) = try leader()
    try answer(&raft, try beat(&raft, storage))
    raft.tick(missed: 1)
    #expect(raft.holdsLease)
    raft.tick(missed: 10)
    #expect(!raft.holdsLease)
  }

  /// A member that restarts has forgotten whom it promised not to vote against.
  @Test func restartedMembersKeepThePromise() throws {
    var (raft, _) = try makeRaft(terms: [1]) {
      $0.checkQuorum = true
      $0.readMode = .leaseBased
    }
    try raft.step(Message(.vote, to: 1, from: 3, term: 2, logTerm: 1, index: 1))
    #expect(raft.term == 1)
    for _ in 0..<10 {
      raft.tick()
      raft.setRandomizedElectionTicks(1000)
    }
    try raft.step(Message(.vote, to: 1, from: 3, term: 2, logTerm: 1, index: 1))
    #expect(raft.term == 2 && raft.vote == 3)
  }

  /// The leader counts on this member's vote not being given to anyone, itself included.
  @Test func nobodyCampaignsWithinALease() throws {
    var (raft, _) = try makeRaft {
      $0.checkQuorum = true
      $0.readMode = .leaseBased
    }
    try raft.step(Message(.heartbeat, to: 1, from: 2, term: 1))
    try raft.campaign()
    #expect(raft.role == .follower)
    raft.setRandomizedElectionTicks(1000)
    for _ in 0..<10 { raft.tick() }
    try raft.campaign()
    #expect(raft.role == .candidate)
  }
}
