// What a follower does.

extension Raft {
  mutating func stepFollower(_ m: Message) throws(RaftError) {
    switch m.type {
    case .propose: try forwardProposal(m)
    case .append:
      heard(from: m.from)
      handleAppend(m)
    case .heartbeat:
      heard(from: m.from)
      handleHeartbeat(m)
    case .snapshot:
      heard(from: m.from)
      try handleSnapshot(m)
    case .transferLeader:
      if leader == Node.none {
        return info("\(hex(id)) no leader at term \(term); dropping leader transfer msg")
      }
      var forwarded = m
      forwarded.to = leader
      send(forwarded)
    case .forgetLeader:
      if options.readMode == .leaseBased { return error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased") }
      if leader == Node.none { return }
      info("\(hex(id)) forgetting leader \(hex(leader)) at term \(term)")
      leader = Node.none
    case .timeoutNow:
      info(
        "\(hex(id)) [term \(term)] received MsgTimeoutNow from \(hex(m.from)) and starts an election to get leadership."
      )
      // Never a pre-vote: the leader asked for this.
      campaignIfAllowed(.transfer)
    case .readIndex:
      if leader == Node.none {
        return info("\(hex(id)) no leader at term \(term); dropping index reading msg")
      }
      var forwarded = m
      forwarded.to = leader
      send(forwarded)
    case .readIndexResponse:
      if m.entries.isEmpty {
        return error(
          "\(hex(id)) invalid format of MsgReadIndexResp from \(hex(m.from)), entries count: \(m.entries.count)")
      }
      readStates += m.entries.map { ReadState(index: m.index, context: $0.data) }
    default: break
    }
  }

  private mutating func heard(from other: NodeID) {
    electionElapsed = 0
    leader = other
  }

  private mutating func forwardProposal(_ m: Message) throws(RaftError) {
    if leader == Node.none {
      info("\(hex(id)) no leader at term \(term); dropping proposal")
      throw .proposalDropped
    }
    if options.disableProposalForwarding {
      info("\(hex(id)) not forwarding to leader \(hex(leader)) at term \(term); dropping proposal")
      throw .proposalDropped
    }
    var forwarded = m
    forwarded.to = leader
    send(forwarded)
  }

  mutating func handleAppend(_ m: Message) {
    if m.index < log.committed {
      // All of that is here already.
      return send(Message(.appendResponse, to: m.from, index: log.committed, context: m.context))
    }
    let previous = EntryID(term: m.logTerm, index: m.index)
    if let last = log.append(after: previous, m.entries, leaderCommit: m.commit) {
      return send(Message(.appendResponse, to: m.from, index: last, context: m.context))
    }
    debug(
      "\(hex(id)) [logterm: \(log.termOrZero(at: m.index)), index: \(m.index)] rejected MsgApp [logterm: \(m.logTerm), "
        + "index: \(m.index)] from \(hex(m.from))")
    // Where the logs may agree: the leader's log has no term above `logTerm` up to there, so ours beyond that can't.
    let hint = log.conflict(upTo: min(m.index, log.lastIndex), term: m.logTerm)
    send(
      Message(
        .appendResponse, to: m.from, logTerm: hint.term, index: m.index, reject: true, rejectHint: hint.index,
        context: m.context))
  }

  mutating func handleHeartbeat(_ m: Message) {
    log.commit(to: m.commit)
    send(Message(.heartbeatResponse, to: m.from, context: m.context))
  }

  mutating func handleSnapshot(_ m: Message) throws(RaftError) {
    let snapshot = m.snapshot ?? Snapshot()
    let isRestored = try restore(snapshot)
    info(
      "\(hex(id)) [commit: \(log.committed)] \(isRestored ? "restored" : "ignored") snapshot [index: \(snapshot.index), "
        + "term: \(snapshot.term)]")
    send(Message(.appendResponse, to: m.from, index: isRestored ? log.lastIndex : log.committed))
  }

  /// False: nothing in the snapshot is news.
  private mutating func restore(_ snapshot: Snapshot) throws(RaftError) -> Bool {
    if snapshot.index <= log.committed { return false }
    let members = snapshot.members
    if !members.voters.contains(id), !members.learners.contains(id), !members.votersOutgoing.contains(id) {
      warn(
        "\(hex(id)) attempted to restore snapshot but it is not in the ConfState \(members.protobufText); "
          + "should never happen")
      return false
    }
    if log.has(EntryID(term: snapshot.term, index: snapshot.index)), !mutant(.snapshotOverNewerLog) {
      // The log has all of it, and perhaps more, which may be acknowledged.
      let last = log.lastID
      info(
        "\(hex(id)) [commit: \(log.committed), lastindex: \(last.index), lastterm: \(last.term)] fast-forwarded commit "
          + "to snapshot [index: \(snapshot.index), term: \(snapshot.term)]")
      log.commit(to: snapshot.index)
      return false
    }
    let membership = try Changer.restore(members, inflightsOf: tracker, lastIndex: snapshot.index)
    log.restore(snapshot)
    if !mutant(.snapshotWithoutMembers) {
      tracker = Tracker(
        inflightMessagesMax: options.inflightMessagesMax, inflightBytesMax: options.inflightBytesMax)
      switchTo(membership)
    }
    let last = log.lastID
    info(
      "\(hex(id)) [commit: \(log.committed), lastindex: \(last.index), lastterm: \(last.term)] restored snapshot "
        + "[index: \(snapshot.index), term: \(snapshot.term)]")
    return true
  }
}
