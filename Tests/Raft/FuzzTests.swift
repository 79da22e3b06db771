import Testing

@testable import NeedletailRaft

/// Messages that no correct member sends, between ones that it might: never a trap, and no more memory than limits allow.
@Suite struct FuzzTests {
  @Test func hostileMessages() throws {
    var outcomes: [String: Int] = [:]
    for seed in seeds(300) {
      do { try attack(seed: seed, forges: false, &outcomes) } catch {
        Issue.record("seed \(seed): \(error)")
        return
      }
    }
    // The attack must have reached what it aims at.
    for name in ["taken", "malformed", "local", "stranger", "leader", "candidate", "follower"] {
      #expect(outcomes[name, default: 0] > 0, "\(name)")
    }
  }

  /// A program that answers for its storage what isn't so loses its log, but doesn't trap here.
  @Test func forgedStorageAnswers() {
    var outcomes: [String: Int] = [:]
    for seed in seeds(300) { try? attack(seed: seed, forges: true, &outcomes) }
    #expect(outcomes["taken", default: 0] > 0 && outcomes["malformed", default: 0] > 0)
  }

  private func attack(seed: UInt64, forges: Bool, _ outcomes: inout [String: Int]) throws {
    var random = Random(seed)
    var (raft, storage) = try makeRaft(voters: [1, 2, 3], learners: [4], terms: random.chance(50) ? [1, 1, 2] : []) {
      $0.asyncStorageWrites = random.chance(50)
      $0.preVote = random.chance(50)
      $0.checkQuorum = random.chance(50)
      $0.readMode = $0.checkQuorum && random.chance(50) ? .leaseBased : .safe
      $0.waitingReadsMax = 100
      $0.uncommittedSizeMax = 10_000
      $0.inflightMessagesMax = 8
      $0.messageSizeMax = 1000
    }
    var applied = raft.applied
    for _ in 0..<600 {
      let message = hostile(&random, raft)
      do {
        if forges, random.chance(30) { try raft.step(fromStorage: message) } else { try raft.step(message) }
        outcomes["taken", default: 0] += 1
      } catch RaftError.malformed { outcomes["malformed", default: 0] += 1 } catch RaftError.localMessage {
        outcomes["local", default: 0] += 1
      } catch RaftError.unknownPeer { outcomes["stranger", default: 0] += 1 } catch {
        outcomes["refused", default: 0] += 1
      }
      outcomes["\(raft.role)".dropFirst(5).lowercased(), default: 0] += 1
      if random.chance(5) { raft.tick() }
      if random.chance(2) { try? raft.campaign() }
      if random.chance(30) { try work(&raft, storage, &random) }
      if !forges {
        #expect(raft.committed <= raft.lastIndex && raft.applied <= raft.committed && raft.applied >= applied)
      }
      applied = raft.applied
      if raft.waitingReads > 300 || raft.messages.count > 2000 {
        Issue.record("seed \(seed): \(raft.waitingReads) reads, \(raft.messages.count) messages")
        return
      }
    }
  }

  /// Storage as it should be; answers come back at times.
  private func work(_ raft: inout Raft, _ storage: MemoryStorage, _ random: inout Random) throws {
    guard raft.hasReady else { return }
    let ready = try raft.ready()
    func store(_ state: HardState, _ entries: [Entry], _ snapshot: Snapshot) throws {
      if !state.isEmpty { storage.set(state) }
      if !snapshot.isEmpty { try storage.apply(snapshot) }
      try storage.append(entries)
    }
    func apply(_ raft: inout Raft, _ entries: [Entry]) {
      for entry in entries {
        // Entries of a hostile leader may hold anything; their refusal is how they are applied.
        guard let change = try? ConfigChange.decode(entry) else { continue }
        _ = try? raft.apply(change)
      }
    }
    if raft.options.asyncStorageWrites {
      for m in ready.messages where Node.isLocalThread(m.to) {
        if m.type == .storageAppend {
          try store(HardState(term: m.term, vote: m.vote, commit: m.commit), m.entries, m.snapshot ?? Snapshot())
        } else {
          apply(&raft, m.entries)
        }
        for response in m.responses where response.to == raft.id { try? raft.step(fromStorage: response) }
      }
    } else {
      try store(ready.hardState, ready.entries, ready.snapshot)
      apply(&raft, ready.committedEntries)
      try raft.advance()
    }
  }

  private func hostile(_ random: inout Random, _ raft: Raft) -> Message {
    func number(_ near: UInt64) -> UInt64 {
      switch random.below(12) {
      case 0: 0
      case 1: random.next()
      case 2: .max - UInt64(random.below(3))
      case 3: Limits.numberMax - UInt64(random.below(2))
      case 4: UInt64(random.below(5))
      default: near &+ UInt64(random.below(5)) &- 2
      }
    }
    func id() -> NodeID {
      random.chance(80) ? NodeID(1 + random.below(4)) : random.pick([0, 5, 9, .max, .max - 1, random.next()])
    }
    let term = random.chance(70) ? max(1, raft.term + UInt64(random.below(20) == 0 ? 1 : 0)) : number(raft.term)
    var m = Message(random.pick(MessageType.allCases), to: random.chance(95) ? 1 : id(), from: id(), term: term)
    if m.type == .propose || m.type == .readIndex, random.chance(90) { m.term = 0 }
    m.logTerm = number(raft.term)
    m.index = number(raft.lastIndex)
    if random.chance(50) { m.logTerm = raft.termOfEntry(at: m.index) ?? m.logTerm }
    m.commit = number(raft.committed)
    m.reject = random.chance(30)
    m.rejectHint = number(raft.lastIndex)
    m.vote = id()
    let isLawful = random.chance(60)
    for i in 0..<random.below(4) {
      var entry = Entry(
        term: isLawful ? term : number(term), index: isLawful ? m.index &+ 1 &+ UInt64(i) : number(m.index),
        data: (0..<random.below(12)).map { _ in UInt8(random.below(40)) })
      if random.chance(30) { entry.kind = random.pick([.configChange, .configChangeV2]) }
      m.entries.append(entry)
    }
    if random.chance(20) { m.context = (0..<random.pick([16, 16, 3, 100])).map { _ in UInt8(random.below(256)) } }
    if m.type == .snapshot || random.chance(5), random.chance(90) {
      func list() -> [NodeID] { (0..<random.below(4)).map { _ in id() } }
      m.snapshot = Snapshot(
        index: number(raft.committed), term: number(min(term, raft.term)),
        members: ConfigState(
          voters: random.chance(60) ? [1, 2, 3] : list(), votersOutgoing: random.chance(70) ? [] : list(),
          learners: random.chance(70) ? [] : list(), learnersNext: random.chance(80) ? [] : list(),
          autoLeave: random.chance(10)))
    }
    return m
  }
}
