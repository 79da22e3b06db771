// Messages from outside are believed only as far as no correct member could have been lied to by them.
//
// Everything that the rest of this module takes for granted about a message is checked here, before anything changes:
// what passes cannot trip an assertion, overflow a number or grow memory without bound.

extension Raft {
  func check(_ m: Message) throws(RaftError) {
    if m.type.isLocal { throw .localMessage }
    // Leadership is handed to whoever the message is from, which may be us.
    let isOwn = m.from == id && m.type != .transferLeader
    if m.from == Node.none || Node.isLocalThread(m.from) || isOwn { throw .malformed("\(m.type) from \(m.from)") }
    if m.to != id { throw .malformed("\(m.type) to \(m.to)") }
    if m.type.isResponse, !tracker.progress.contains(m.from) { throw .unknownPeer }
    if m.type.isForwarded ? m.term != 0 : m.term == 0 { throw .malformed("\(m.type) of term \(m.term)") }
    for number in [m.term, m.logTerm, m.index, m.commit, m.rejectHint] where number > Limits.numberMax {
      throw .malformed("number \(number)")
    }
    if m.context.count > Self.contextSizeMax { throw .malformed("context of \(m.context.count) bytes") }
    try checkContent(m)
  }

  private static var contextSizeMax: Int { 64 }
  private static var membersMax: Int { 1000 }

  private func checkContent(_ m: Message) throws(RaftError) {
    switch m.type {
    case .append: try checkAppend(m)
    case .heartbeat:
      if m.term >= term, m.commit > log.lastIndex {
        throw .malformed(
          "tocommit(\(m.commit)) is out of range [lastIndex(\(log.lastIndex))]. "
            + "Was the raft log corrupted, truncated, or lost?")
      }
    case .snapshot: try checkSnapshot(m)
    case .appendResponse:
      if m.term == term, role == .leader, !m.reject, m.index > log.lastIndex {
        throw .malformed("\(hex(m.from)) acknowledged \(m.index), beyond the log's end \(log.lastIndex)")
      }
    case .propose:
      if m.entries.isEmpty { throw .malformed("no proposal") }
      for entry in m.entries { _ = try ConfigChange.decode(entry) }
    case .readIndex:
      if m.entries.isEmpty || m.entries.count > options.waitingReadsMax { throw .malformed("\(m.entries.count) reads") }
      for entry in m.entries where entry.data.count > Self.contextSizeMax {
        throw .malformed("context of \(entry.data.count) bytes")
      }
    default: break
    }
  }

  private func checkAppend(_ m: Message) throws(RaftError) {
    var previous = EntryID(term: m.logTerm, index: m.index)
    for entry in m.entries {
      guard entry.index == previous.index + 1, entry.term >= max(previous.term, 1), entry.term <= m.term else {
        throw .malformed("entry \(entry.term)/\(entry.index) after \(previous.term)/\(previous.index)")
      }
      previous = entry.id
    }
  }

  private func checkSnapshot(_ m: Message) throws(RaftError) {
    guard let snapshot = m.snapshot, snapshot.index > log.committed, m.term >= term else { return }
    guard snapshot.index < Limits.numberMax, snapshot.term > 0, snapshot.term <= m.term else {
      throw .malformed("snapshot at \(snapshot.term)/\(snapshot.index)")
    }
    let members = snapshot.members
    let lists = [members.voters, members.votersOutgoing, members.learners, members.learnersNext]
    if lists.contains(where: { $0.count > Self.membersMax || $0.contains(Node.none) }) {
      throw .malformed("members of a snapshot")
    }
    if members.voters.isEmpty { throw .malformed("snapshot without voters") }
    _ = try Changer.restore(members, inflightsOf: tracker, lastIndex: snapshot.index)
  }

  /// Answers that our own storage threads give, or release. Wrong ones would be the program's mistake, which is no reason
  /// to trap either.
  func check(fromStorage m: Message) throws(RaftError) {
    guard options.asyncStorageWrites else { throw .misuse("storage answers without asynchronous storage writes") }
    // A pre-vote is for the next term.
    let termMax = m.type == .preVoteResponse ? term + 1 : term
    if m.to != id || m.term > termMax { throw .malformed("\(m.type) to \(m.to) of term \(m.term)") }
    switch m.type {
    case .appendResponse, .voteResponse, .preVoteResponse:
      if m.from != id || m.term == 0 || m.reject { throw .malformed("\(m.type) from \(m.from)") }
      if !tracker.progress.contains(id) { throw .unknownPeer }
      if m.type == .appendResponse, m.term == term, m.index > log.lastIndex {
        throw .malformed("acknowledged \(m.index), beyond the log's end \(log.lastIndex)")
      }
    case .storageAppendResponse, .storageApplyResponse:
      if !Node.isLocalThread(m.from) { throw .localMessage }
      if let snapshot = m.snapshot, snapshot.index > log.committed {
        throw .malformed("snapshot at \(snapshot.index) stored, never given")
      }
      if m.type == .storageApplyResponse, let last = m.entries.last,
        last.index > log.applying || last.index < log.applied
      {
        throw .malformed("entry \(last.index) applied, never given")
      }
    default: throw .malformed("\(m.type) from storage")
    }
  }
}
