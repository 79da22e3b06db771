@testable import NeedletailRaft

/// What is known of all members together, and what must therefore never be seen.
struct Oracle {
  private var leaders: [UInt64: NodeID] = [:]
  private var votes: [[UInt64]: NodeID] = [:]
  /// By term and index: what an entry holds is decided by these.
  private var entries: [[UInt64]: Entry] = [:]
  /// What was applied, by index.
  private(set) var applied: [UInt64: Entry] = [:]
  private var hashes: [UInt64: [UInt8]] = [:]
  private var memberships: [UInt64: ConfigState] = [:]
  private var appliedData: Set<[UInt8]> = []
  private var droppedData: Set<[UInt8]> = []
  private var configs: [NodeID: MemberConfig] = [:]
  /// The largest commit index anywhere when a read began.
  private var reads: [[UInt8]: UInt64] = [:]
  private(set) var committedMax: UInt64 = 2
  private(set) var readsFinished = 0

  static func hash(_ data: [UInt8]) -> [UInt8] {
    var value: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in data { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return (0..<8).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  mutating func begin(_ members: ConfigState, hash: [UInt8]) {
    hashes[2] = hash
    memberships[2] = members
  }

  // MARK: Elections

  /// One leader a term, and it has everything that was committed; commits stand on a quorum of disks.
  mutating func checkLeaders(_ members: [Cluster.Member]) throws {
    for member in members {
      guard let raft = member.raft else { continue }
      if raft.committed > raft.lastIndex || raft.applied > raft.committed {
        throw Violation("\(member.id) committed \(raft.committed) of \(raft.lastIndex), applied \(raft.applied)")
      }
      if raft.role == .leader {
        if leaders[raft.term] == nil {
          leaders[raft.term] = member.id
          try checkCompleteness(raft)
        }
        if leaders[raft.term] != member.id {
          throw Violation("term \(raft.term) has leaders \(leaders[raft.term] ?? 0) and \(member.id)")
        }
        // What commits may at once be applied and change the membership: the one before counts as well.
        if raft.committed > committedMax, !hasQuorum(raft, configs[member.id] ?? raft.config, members) {
          if !hasQuorum(raft, raft.config, members) {
            throw Violation("\(member.id) commits \(raft.committed), which no quorum of \(raft.config) has on disk")
          }
        }
        // An earlier term's entries commit only together with one of the leader's own.
        if raft.committed > committedMax, raft.termOfEntry(at: raft.committed) != raft.term {
          throw Violation("\(member.id) in term \(raft.term) commits \(raft.committed) of an earlier term by counting")
        }
      }
      if let known = applied[raft.committed]?.term, let term = raft.termOfEntry(at: raft.committed), term != known {
        throw Violation("\(member.id) committed \(term)/\(raft.committed), others applied term \(known)")
      }
      configs[member.id] = raft.config
      committedMax = max(committedMax, raft.committed)
    }
  }

  private func checkCompleteness(_ raft: Raft) throws {
    for (index, entry) in applied where index >= raft.log.firstIndex {
      if raft.termOfEntry(at: index) != entry.term {
        throw Violation("leader \(raft.id) of term \(raft.term) lacks the committed \(entry)")
      }
    }
  }

  private func hasQuorum(_ leader: Raft, _ config: MemberConfig, _ members: [Cluster.Member]) -> Bool {
    guard let term = leader.termOfEntry(at: leader.committed) else { return true }
    let index = leader.committed
    func has(_ id: NodeID) -> Bool {
      let storage = members[Int(id) - 1].storage
      if storage.firstIndex > index { return true }
      return (try? storage.term(at: index)) == term
    }
    return [config.voters.incoming, config.voters.outgoing].allSatisfy { half in
      half.isEmpty || half.ids.count(where: has) >= half.count / 2 + 1
    }
  }

  /// Answers leave when what they rest on is durable, and a member has one vote a term.
  mutating func checkDurable(_ message: Message, of member: Cluster.Member, _ members: [Cluster.Member]) throws {
    if message.reject { return }
    let storage = member.storage
    if message.type == .voteResponse {
      let state = storage.hardState
      if state.term < message.term || (state.term == message.term && state.vote != message.to) {
        throw Violation("\(member.id) votes for \(message.to) in term \(message.term), but stored \(state)")
      }
      let key = [message.from, message.term]
      if let other = votes[key], other != message.to {
        throw Violation("\(member.id) votes for \(other) and \(message.to) in term \(message.term)")
      }
      votes[key] = message.to
    }
    if message.type == .appendResponse, message.index > storage.lastIndex {
      throw Violation("\(member.id) acknowledges \(message.index), stored up to \(storage.lastIndex)")
    }
    if message.type == .appendResponse, message.index > 0, message.to <= NodeID(members.count) {
      // What is acknowledged is the leader's own entry.
      guard let leader = members[Int(message.to) - 1].raft, leader.role == .leader, leader.term == message.term,
        let theirs = leader.termOfEntry(at: message.index), let ours = try? storage.term(at: message.index)
      else { return }
      if ours != theirs {
        throw Violation("\(member.id) acknowledges \(message.index) of term \(ours), the leader's is of \(theirs)")
      }
    }
  }

  // MARK: Logs

  mutating func check(_ ready: Ready, of member: Cluster.Member) throws {
    guard let raft = member.raft else { return }
    for entry in ready.entries { try know(entry, of: member.id) }
    if raft.role == .leader, ready.entries.contains(where: \.isConfigChange) {
      // Those that are committed may be on their way to being applied; one more may follow only when they are.
      let pending = ready.entries.filter { $0.isConfigChange && $0.index > raft.applied && $0.term == raft.term }
      if pending.count > 1 { throw Violation("\(member.id) takes \(pending) at once") }
    }
  }

  private mutating func know(_ entry: Entry, of id: NodeID) throws {
    let key = [entry.term, entry.index]
    if let known = entries[key], known != entry { throw Violation("\(id) has \(entry), others have \(known)") }
    entries[key] = entry
  }

  /// Where two logs have an entry of the same term, they agree up to there.
  func checkLogs(_ members: [Cluster.Member]) throws {
    for (one, other) in members.flatMap({ one in members.map { (one, $0) } }) where one.id < other.id {
      let first = max(one.storage.firstIndex, other.storage.firstIndex)
      let last = min(one.storage.lastIndex, other.storage.lastIndex)
      var agrees = false
      var index = last
      while index >= first, index > 0 {
        let (a, b) = (try? one.storage.term(at: index), try? other.storage.term(at: index))
        if a == b {
          agrees = true
        } else if agrees {
          throw Violation("logs of \(one.id) and \(other.id) part at \(index) and meet again")
        }
        index -= 1
      }
    }
  }

  mutating func applied(_ entry: Entry, by member: Cluster.Member) throws {
    if let known = applied[entry.index] {
      if known != entry { throw Violation("\(member.id) applies \(entry), others applied \(known)") }
    } else {
      applied[entry.index] = entry
      if !entry.data.isEmpty, entry.kind == .normal { appliedData.insert(entry.data) }
    }
    if droppedData.contains(entry.data), entry.kind == .normal {
      throw Violation("\(entry) was said to be dropped")
    }
    let state = member.applied
    if let known = hashes[entry.index], known != state.data {
      throw Violation("states at \(entry.index) differ at \(member.id)")
    }
    hashes[entry.index] = state.data
    try checkMembership(state.members, at: entry.index, member.id)
    if let raft = member.raft, !raft.tracker.configState.isEquivalent(to: state.members) {
      throw Violation("\(member.id) runs with \(raft.config), applied \(state.members)")
    }
  }

  private mutating func checkMembership(_ members: ConfigState, at index: UInt64, _ id: NodeID) throws {
    if let known = memberships[index], !known.isEquivalent(to: members) {
      throw Violation("\(id) has \(members) at \(index), others \(known)")
    }
    memberships[index] = members
  }

  mutating func installed(_ snapshot: Snapshot, at id: NodeID) throws {
    if let known = hashes[snapshot.index], known != snapshot.data {
      throw Violation("the snapshot at \(snapshot.index) that \(id) installs is another state")
    }
    try checkMembership(snapshot.members, at: snapshot.index, id)
  }

  func hasApplied(_ data: [UInt8]) -> Bool { appliedData.contains(data) }

  mutating func dropped(_ entries: [Entry]) {
    for entry in entries where !entry.data.isEmpty && entry.kind == .normal { droppedData.insert(entry.data) }
  }

  // MARK: Reads

  mutating func begin(read context: [UInt8], at id: NodeID, _ members: [Cluster.Member]) {
    reads[context] = members.compactMap { $0.raft?.committed }.max().map { max($0, committedMax) } ?? committedMax
  }

  /// A read sees all that was committed when it began.
  mutating func finish(_ read: ReadState, at id: NodeID) throws {
    guard let least = reads[read.context] else { return }
    readsFinished += 1
    if read.index < least {
      throw Violation("a read at \(id) sees \(read.index), when it began \(least) was committed")
    }
  }
}
