// A message arrives: terms first, then the role.

extension Raft {
  /// The message was checked, or is our own.
  mutating func handle(_ m: Message) throws(RaftError) {
    if m.term > term {
      if !handleHigherTerm(m) { return }
    } else if m.term != 0, m.term < term {
      if !(m.type == .storageAppendResponse && mutant(.asyncAppendABA)) { return try handleLowerTerm(m) }
    }
    switch m.type {
    case .hup: campaignIfAllowed(options.preVote ? .preElection : .election)
    case .storageAppendResponse:
      if m.index != 0 { log.stable(to: EntryID(term: m.logTerm, index: m.index)) }
      if let snapshot = m.snapshot { appliedSnapshot(snapshot) }
    case .storageApplyResponse:
      guard let last = m.entries.last else { return }
      applied(to: last.index, size: m.entries.encodedSize)
      uncommittedSize -= min(uncommittedSize, m.entries.payloadSize)
    case .vote, .preVote: handleVoteRequest(m)
    default:
      switch role {
      case .leader: try stepLeader(m)
      case .follower: try stepFollower(m)
      case .candidate, .preCandidate: try stepCandidate(m)
      }
    }
  }

  /// False: the message is not for us.
  private mutating func handleHigherTerm(_ m: Message) -> Bool {
    if m.type == .vote || m.type == .preVote, m.context != Campaign.transferContext, isLeaderFresh {
      info(
        "\(hex(id)) \(position(log.lastID)) ignored \(m.type) from \(hex(m.from)) [logterm: \(m.logTerm), index: "
          + "\(m.index)] at term \(term): lease is not expired (remaining ticks: "
          + "\(options.electionTicks - electionElapsed))")
      return false
    }
    switch m.type {
    case .preVote where !mutant(.preVoteBumpsTerm): break
    // We asked with a term that is not ours yet, and take it once a quorum grants it.
    case .preVoteResponse where !m.reject: break
    default:
      info(
        "\(hex(id)) [term: \(term)] received a \(m.type) message with higher term from \(hex(m.from)) "
          + "[term: \(m.term)]")
      let fromLeader = m.type == .append || m.type == .heartbeat || m.type == .snapshot
      becomeFollower(term: m.term, leader: fromLeader ? m.from : Node.none)
    }
    return true
  }

  private mutating func handleLowerTerm(_ m: Message) throws(RaftError) {
    if mutant(.timerResetByStaleAppend), m.type == .append { electionElapsed = 0 }
    switch m.type {
    case .heartbeat where options.checkQuorum || options.preVote, .append where options.checkQuorum || options.preVote:
      // A leader that we outran while we were cut off: our votes are ignored, so this answer is what moves it on.
      send(Message(.appendResponse, to: m.from))
    case .preVote:
      // Dropped, it could deadlock a cluster that begins to use pre-votes.
      info(
        "\(hex(id)) \(position(log.lastID)) rejected \(m.type) from \(hex(m.from)) [logterm: \(m.logTerm), index: "
          + "\(m.index)] at term \(term)")
      send(Message(.preVoteResponse, to: m.from, term: term, reject: true))
    case .storageAppendResponse:
      // What was written may since have been replaced, and a later write that replaces it back be still under way:
      // storage can't be read yet. The first write of the new term attests it again.
      if m.index != 0 {
        info(
          "\(hex(id)) [term: \(term)] ignored entry appends from a \(m.type) message with lower term [term: \(m.term)]")
      }
      // A snapshot holds what is committed, in whatever term.
      if let snapshot = m.snapshot { appliedSnapshot(snapshot) }
    default:
      info(
        "\(hex(id)) [term: \(term)] ignored a \(m.type) message with lower term from \(hex(m.from)) [term: \(m.term)]")
    }
  }

  /// Queues a message. Votes and acknowledgements wait until all that is unstable now is durable.
  mutating func send(_ message: Message) {
    var m = message
    if m.from == Node.none { m.from = id }
    switch m.type {
    case .vote, .voteResponse, .preVote, .preVoteResponse:
      precondition(m.term != 0, "a vote without a term")
    case .propose, .readIndex: m.term = 0
    default: m.term = term
    }
    switch m.type {
    case .appendResponse, .voteResponse, .preVoteResponse:
      if mutant(.answersBeforeDurable), m.to != id {
        messages.append(m)
      } else {
        messagesAfterAppend.append(m)
      }
    default:
      precondition(m.to != id, "a message to itself")
      messages.append(m)
    }
  }
}
