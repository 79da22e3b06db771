// Campaigns and votes.

enum Campaign {
  case preElection
  case election
  /// Asked for by the leader: no pre-vote, and members that hear a leader grant it all the same.
  case transfer

  /// What a vote request of a transfer carries.
  static let transferContext = Array("CampaignTransfer".utf8)
}

extension Raft {
  mutating func campaignIfAllowed(_ kind: Campaign) {
    if role == .leader { return debug("\(hex(id)) ignoring MsgHup because already leader") }
    if !isPromotable { return warn("\(hex(id)) is unpromotable and can not campaign") }
    if hasUnappliedConfigChanges {
      return warn(
        "\(hex(id)) cannot campaign at term \(term) since there are still pending configuration changes to apply")
    }
    info("\(hex(id)) is starting a new election at term \(term)")
    campaign(kind)
  }

  /// A member whose membership is out of date might count the wrong votes.
  private var hasUnappliedConfigChanges: Bool {
    var next = log.applied + 1
    while next <= log.committed {
      // In pages, so that memory stays bounded.
      guard let page = try? log.slice(next..<log.committed + 1, encodedSizeMax: log.applyingSizeMax), !page.isEmpty
      else { return true }
      if page.contains(where: \.isConfigChange) { return true }
      next += UInt64(page.count)
    }
    return false
  }

  mutating func campaign(_ kind: Campaign) {
    let request: MessageType
    let asked: UInt64
    if kind == .preElection {
      becomePreCandidate()
      request = .preVote
      asked = term + 1
    } else {
      becomeCandidate()
      request = .vote
      asked = term
    }
    let last = log.lastID
    for voter in tracker.config.voters.all.ids {
      if voter == id {
        // Counts when it is durable, as everyone's.
        send(Message(request.voteResponse, to: voter, term: asked))
        continue
      }
      info(
        "\(hex(id)) [logterm: \(last.term), index: \(last.index)] sent \(request) request to \(hex(voter)) at term "
          + "\(term)")
      send(
        Message(
          request, to: voter, term: asked, logTerm: last.term, index: last.index,
          context: kind == .transfer ? Campaign.transferContext : []))
    }
  }

  /// A request for a vote, of our term or, before an election, of the next.
  mutating func handleVoteRequest(_ m: Message) {
    let last = log.lastID
    let candidate = EntryID(term: m.logTerm, index: m.index)
    let mayVote =
      vote == m.from || (vote == Node.none && leader == Node.none) || (m.type == .preVote && m.term > term)
    // Learners vote too: a member that was promoted may not know it yet, and its vote may be needed.
    if mayVote, log.isUpToDate(candidate) {
      info(
        "\(hex(id)) \(position(last)) cast \(m.type) for \(hex(m.from)) [logterm: \(m.logTerm), index: \(m.index)] at "
          + "term \(term)")
      // With the request's term: a candidate of a later term ignores answers of our earlier one.
      send(Message(m.type.voteResponse, to: m.from, term: m.term))
      if m.type == .vote {
        electionElapsed = 0
        vote = m.from
      }
    } else {
      info(
        "\(hex(id)) \(position(last)) rejected \(m.type) from \(hex(m.from)) [logterm: \(m.logTerm), index: \(m.index)]"
          + " at term \(term)")
      if mutant(.timerResetByDeniedVote) { electionElapsed = 0 }
      send(Message(m.type.voteResponse, to: m.from, term: term, reject: true))
    }
  }

  /// Whether a leader was heard of so lately that nobody else may be elected.
  var isLeaderFresh: Bool {
    guard options.checkQuorum, electionElapsed < options.electionTicks else { return false }
    if leader != Node.none { return true }
    // A restarted member has forgotten whom it followed; that leader's lease may still hold.
    return options.readMode == .leaseBased && isRestart && now < UInt64(options.electionTicks)
  }

  mutating func stepCandidate(_ m: Message) throws(RaftError) {
    switch m.type {
    case .propose:
      info("\(hex(id)) no leader at term \(term); dropping proposal")
      throw .proposalDropped
    case .append:
      becomeFollower(term: m.term, leader: m.from)
      handleAppend(m)
    case .heartbeat:
      becomeFollower(term: m.term, leader: m.from)
      handleHeartbeat(m)
    case .snapshot:
      becomeFollower(term: m.term, leader: m.from)
      try handleSnapshot(m)
    case .voteResponse where role == .candidate, .preVoteResponse where role == .preCandidate:
      handleVoteResponse(m)
    case .timeoutNow:
      debug("\(hex(id)) [term \(term) state \(role)] ignored MsgTimeoutNow from \(hex(m.from))")
    default: break
    }
  }

  private mutating func handleVoteResponse(_ m: Message) {
    info("\(hex(id)) received \(m.type)\(m.reject ? " rejection" : "") from \(hex(m.from)) at term \(term)")
    tracker.recordVote(m.from, granted: !m.reject)
    let tally = tracker.tally()
    info("\(hex(id)) has received \(tally.granted) \(m.type) votes and \(tally.rejected) vote rejections")
    switch tally.result {
    case .won where role == .preCandidate: campaign(.election)
    case .won:
      becomeLeader()
      broadcastAppend()
    case .lost: becomeFollower(term: term, leader: Node.none)
    case .pending: break
    }
  }
}
