import Testing

@testable import NeedletailRaft

@Suite struct ReplicationTests {
  @Test func anEarlierTermCommitsOnlyWithTheOwn() throws {
    var (raft, storage) = try makeRaft(terms: [1, 2])
    try elect(&raft, storage, commits: false)
    #expect(raft.term == 3 && raft.lastIndex == 3)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 3, index: 2))
    #expect(raft.committed == 0)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 3, index: 3))
    #expect(raft.committed == 3)
  }

  /// Nothing past what the append verified is committed, whatever the leader has.
  @Test func followersCommitWhatTheyVerified() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 1])
    try raft.step(Message(.append, to: 1, from: 2, term: 2, logTerm: 1, index: 1, commit: 3))
    #expect(raft.committed == 1)
    let answer = try settle(&raft, storage).messages
    #expect(answer.map(\.index) == [1])
  }

  /// An old append that matches must not take away what came after.
  @Test func oldAppendsTruncateNothing() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 1, 1])
    let old = [Entry(term: 1, index: 2)]
    try raft.step(Message(.append, to: 1, from: 2, term: 1, logTerm: 1, index: 1, entries: old))
    #expect(raft.lastIndex == 4)
    #expect(try settle(&raft, storage).messages.map(\.index) == [2])
  }

  @Test func conflictsAreReplaced() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 2, 2])
    let new = [Entry(term: 1, index: 2), Entry(term: 3, index: 3)]
    try raft.step(Message(.append, to: 1, from: 2, term: 3, logTerm: 1, index: 1, entries: new))
    #expect(raft.lastIndex == 3 && raft.termOfEntry(at: 3) == 3)
    try settle(&raft, storage)
    #expect(storage.log.map(\.term) == [1, 1, 3])
  }

  @Test func refusalsHintWhereLogsMayAgree() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 2, 2, 2])
    try raft.step(Message(.append, to: 1, from: 2, term: 4, logTerm: 1, index: 4))
    let answer = try settle(&raft, storage).messages
    #expect(answer.map(\.reject) == [true] && answer.map(\.rejectHint) == [2] && answer.map(\.logTerm) == [1])
    // The leader probes at most once a term.
    var (leader, disk) = try makeRaft(terms: [1, 3, 3, 3, 5, 5])
    try elect(&leader, disk, commits: false)
    let refusal = Message(
      .appendResponse, to: 1, from: 2, term: 6, logTerm: 2, index: 6, reject: true, rejectHint: 5)
    try leader.step(refusal)
    #expect(leader.progress[2]?.next == 2 && leader.progress[2]?.match == 0)
  }

  @Test func windowsHoldBackAndGoOn() throws {
    var (raft, storage) = try makeRaft {
      $0.inflightMessagesMax = 3
      $0.messageSizeMax = 0
    }
    try elect(&raft, storage)
    var sent: [Message] = []
    for i in 0..<10 {
      try raft.propose([UInt8(i)])
      sent += try settle(&raft, storage).messages.filter { $0.to == 2 && $0.type == .append && !$0.entries.isEmpty }
    }
    #expect(sent.count == 3 && raft.progress[2]?.isPaused == true)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: 2))
    sent = try settle(&raft, storage).messages.filter { $0.to == 2 && !$0.entries.isEmpty }
    #expect(sent.count == 1)
    // All lost: a heartbeat's answer lets a probe out, whose answer shows what is missing.
    try raft.step(Message(.heartbeatResponse, to: 1, from: 2, term: 1))
    let probe = try settle(&raft, storage).messages.filter { $0.to == 2 }
    #expect(probe.map(\.type) == [.append] && probe.map(\.entries.count) == [0])
    try raft.step(
      Message(.appendResponse, to: 1, from: 2, term: 1, logTerm: 1, index: 5, reject: true, rejectHint: 2))
    #expect(raft.progress[2]?.state == .probe && raft.progress[2]?.next == 3)
  }

  @Test func bytesInFlightAreBounded() throws {
    var (raft, storage) = try makeRaft {
      $0.messageSizeMax = 10
      $0.inflightBytesMax = 300
    }
    try elect(&raft, storage)
    for _ in 0..<10 { try raft.propose([UInt8](repeating: 1, count: 100)) }
    try settle(&raft, storage)
    #expect(raft.progress[2]?.inflights.bytes == 300)
  }

  @Test func tooMuchUncommittedIsDropped() throws {
    var (raft, storage) = try makeRaft { $0.uncommittedSizeMax = 100 }
    try elect(&raft, storage)
    // One of any size is taken where there is none.
    try raft.propose([UInt8](repeating: 1, count: 500))
    let last = raft.lastIndex
    #expect(throws: RaftError.proposalDropped) { try raft.propose([1]) }
    #expect(raft.lastIndex == last)
    try raft.propose([])
    try settle(&raft, storage)
    try raft.step(Message(.appendResponse, to: 1, from: 2, term: 1, index: raft.lastIndex))
    try settle(&raft, storage)
    try raft.propose([1])
  }

  @Test func applyingIsBounded() throws {
    let size = Entry(term: 1, index: 2, data: [1]).encodedSize
    var (raft, storage) = try makeRaft(voters: [1]) { $0.applyingSizeMax = size * 2 }
    try elect(&raft, storage, votes: [])
    for _ in 0..<7 { try raft.propose([1]) }
    var batches: [Int] = []
    while raft.hasReady {
      let ready = try raft.ready()
      if !ready.hardState.isEmpty { storage.set(ready.hardState) }
      try storage.append(ready.entries)
      if !ready.committedEntries.isEmpty { batches.append(ready.committedEntries.count) }
      try raft.advance()
    }
    #expect(batches == [2, 2, 2, 1])
  }

  /// What was written in an earlier term may have been replaced since; its word comes too late.
  @Test func staleWritesMakeNothingStable() throws {
    var (raft, _) = try makeRaft { $0.asyncStorageWrites = true }
    try raft.step(Message(.append, to: 1, from: 2, term: 1, entries: [Entry(term: 1, index: 1)]))
    let first = try raft.ready().messages.flatMap(\.responses)
    try raft.step(Message(.append, to: 1, from: 3, term: 2, entries: [Entry(term: 2, index: 1)]))
    _ = try raft.ready()
    try raft.step(Message(.append, to: 1, from: 2, term: 3, entries: [Entry(term: 1, index: 1)]))
    _ = try raft.ready()
    for response in first where response.to == 1 { try raft.step(fromStorage: response) }
    #expect(raft.log.unstable.entries.count == 1)
  }

  @Test func snapshotsReplaceWhatIsMissing() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 1, 1, 1])
    try elect(&raft, storage)
    storage.remember(Snapshot(index: 5, term: 1, members: ConfigState(voters: [1, 2, 3])))
    try storage.compact(to: 4)
    try raft.step(
      Message(.appendResponse, to: 1, from: 3, term: 2, index: 6, reject: true, rejectHint: 0))
    try raft.step(Message(.heartbeatResponse, to: 1, from: 3, term: 2))
    try settle(&raft, storage)
    raft.tracker.progress.update(3) {
      $0.becomeProbe()
      $0.match = 0
      $0.next = 1
    }
    try raft.step(Message(.heartbeatResponse, to: 1, from: 3, term: 2))
    let sent = try settle(&raft, storage).messages.filter { $0.to == 3 }
    #expect(sent.map(\.type) == [.snapshot] && raft.progress[3]?.state == .snapshot)
    try raft.propose([1])
    #expect(try settle(&raft, storage).messages.allSatisfy { $0.to != 3 })
    try raft.step(Message(.appendResponse, to: 1, from: 3, term: 2, index: 5))
    #expect(raft.progress[3]?.state == .replicate)
    #expect(try settle(&raft, storage).messages.filter { $0.to == 3 }.map(\.index) == [5])
  }

  @Test func snapshotsOfTheKnownTakeNothingAway() throws {
    var (raft, storage) = try makeRaft(terms: [1, 1, 1, 1])
    let snapshot = Snapshot(index: 2, term: 1, members: ConfigState(voters: [1, 2, 3]))
    try raft.step(Message(.snapshot, to: 1, from: 2, term: 1, snapshot: snapshot))
    #expect(raft.committed == 2 && raft.lastIndex == 4 && !raft.log.hasSnapshotPending)
    #expect(try settle(&raft, storage).messages.map(\.index) == [2])
  }

  @Test func snapshotsBringTheirMembers() throws {
    var (raft, storage) = try makeRaft()
    let members = ConfigState(voters: [1, 4, 5], votersOutgoing: [1, 2], learners: [6], autoLeave: true)
    let snapshot = Snapshot(index: 9, term: 1, members: members)
    try raft.step(Message(.snapshot, to: 1, from: 2, term: 1, snapshot: snapshot))
    #expect(raft.tracker.configState == members)
    #expect(raft.lastIndex == 9 && raft.committed == 9 && !raft.isPromotable)
    try settle(&raft, storage)
    #expect(raft.isPromotable && raft.applied == 9)
    // Not for us.
    let other = Snapshot(index: 20, term: 1, members: ConfigState(voters: [2, 3]))
    try raft.step(Message(.snapshot, to: 1, from: 2, term: 1, snapshot: other))
    #expect(raft.lastIndex == 9)
  }
}
