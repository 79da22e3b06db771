// What a leader does.

extension Raft {
  mutating func stepLeader(_ m: Message) throws(RaftError) {
    switch m.type {
    case .beat: return broadcastHeartbeat()
    case .checkQuorum: return checkQuorum()
    case .propose: return try takeProposal(m)
    case .readIndex: return takeRead(m)
    case .forgetLeader: return
    default: break
    }
    guard tracker.progress.contains(m.from) else {
      return debug("\(hex(id)) no progress available for \(hex(m.from))")
    }
    switch m.type {
    case .appendResponse:
      acknowledgeReads(m)
      if m.reject { handleRejectedAppend(m) } else { handleAcknowledgedAppend(m) }
    case .heartbeatResponse: handleHeartbeatResponse(m)
    case .snapshotStatus: handleSnapshotStatus(m)
    case .unreachable:
      // Appends sent ahead are probably lost.
      tracker.progress.update(m.from) { if $0.state == .replicate { $0.becomeProbe() } }
      debug("\(hex(id)) failed to send message to \(hex(m.from)) because it is unreachable [\(progressText(m.from))]")
    case .transferLeader: startTransfer(to: m.from)
    default: break
    }
  }

  func progressText(_ id: NodeID) -> String { tracker.progress[id].map { "\($0)" } ?? "" }

  private mutating func checkQuorum() {
    if !tracker.isQuorumActive {
      warn("\(hex(id)) stepped down to follower since quorum is not active")
      becomeFollower(term: term, leader: Node.none)
    }
    let own = id
    tracker.progress.updateAll { id, progress in if id != own { progress.isRecentlyActive = false } }
  }

  // MARK: Proposals

  private mutating func takeProposal(_ m: Message) throws(RaftError) {
    // Removed while leading: what is proposed now might never be acknowledged to anyone.
    if !tracker.progress.contains(id) { throw .proposalDropped }
    if transferee != Node.none {
      debug(
        "\(hex(id)) [term \(term)] transfer leadership to \(hex(transferee)) is in progress; dropping proposal")
      throw .proposalDropped
    }
    var entries = m.entries
    for i in entries.indices {
      guard let change = try ConfigChange.decode(entries[i]) else { continue }
      if let objection = objection(to: change), !options.disableConfigChangeValidation {
        info("\(hex(id)) ignoring conf change \(change.protobufText) at config \(tracker.config): \(objection)")
        entries[i] = Entry()
      } else {
        pendingConfigIndex = log.lastIndex + UInt64(i) + 1
      }
    }
    if !append(entries) { throw .proposalDropped }
    broadcastAppend()
  }

  /// Why a membership change may not enter the log now. One at a time: two that are both not applied could each be
  /// decided by a quorum that doesn't meet the other's.
  private func objection(to change: ConfigChange) -> String? {
    if pendingConfigIndex > log.applied, !mutant(.secondConfigChange) {
      return "possible unapplied conf change at index \(pendingConfigIndex) (applied to \(log.applied))"
    }
    let isJoint = tracker.config.voters.isJoint
    if isJoint, !change.changes.isEmpty { return "must transition out of joint config first" }
    if !isJoint, change.changes.isEmpty { return "not in joint state; refusing empty conf change" }
    // Nothing is pending, so the membership that the change will meet is this one.
    do { _ = try Changer(tracker, lastIndex: log.lastIndex).applying(change) } catch {
      return mutant(.secondConfigChange) ? nil : error.description
    }
    return nil
  }

  /// False: too much is uncommitted already, and nothing was appended.
  mutating func append(_ new: [Entry]) -> Bool {
    var entries = new
    var index = log.lastIndex
    for i in entries.indices {
      index += 1
      entries[i].term = term
      entries[i].index = index
    }
    let size = entries.payloadSize
    let limit = options.uncommittedSizeMax == 0 ? Limits.unlimited : options.uncommittedSizeMax
    // Any one proposal is taken where nothing is uncommitted, and empty ones always: a term could not begin without.
    let isTooMuch = uncommittedSize > 0 && size > 0 && uncommittedSize + size > limit
    if isTooMuch {
      warn(
        "\(hex(id)) appending new entries to log would exceed uncommitted entry size limit; dropping proposal")
      if !mutant(.droppedProposalCommits) { return false }
    }
    uncommittedSize += size
    log.append(entries[...])
    // Counts for the quorum when it is durable here, as everyone's.
    send(Message(.appendResponse, to: id, index: log.lastIndex))
    return !isTooMuch
  }

  // MARK: Answers to appends

  private mutating func handleRejectedAppend(_ m: Message) {
    tracker.progress.update(m.from) { $0.isRecentlyActive = true }
    debug(
      "\(hex(id)) received MsgAppResp(rejected, hint: (index \(m.rejectHint), term \(m.logTerm))) from \(hex(m.from)) "
        + "for index \(m.index)")
    if mutant(.matchAdvancedByReject) { tracker.progress.update(m.from) { _ = $0.acknowledge(m.rejectHint) } }
    // The follower's log has `logTerm` at the hint. Where ours has larger terms up to there, they can't agree: skip all
    // of these at once, so that there is at most one probe per term.
    let probe = m.logTerm > 0 ? log.conflict(upTo: m.rejectHint, term: m.logTerm).index : m.rejectHint
    let isNews = tracker.progress.update(m.from) { $0.refuse(m.index, hint: probe) } ?? false
    guard isNews else { return }
    debug("\(hex(id)) decreased progress of \(hex(m.from)) to [\(progressText(m.from))]")
    tracker.progress.update(m.from) { if $0.state == .replicate { $0.becomeProbe() } }
    sendAppend(to: m.from)
  }

  private mutating func handleAcknowledgedAppend(_ m: Message) {
    let isNews =
      tracker.progress.update(m.from) { progress in
        progress.isRecentlyActive = true
        // A probe that tells nothing new still shows that the logs agree: back to replicating.
        return progress.acknowledge(m.index) || (progress.match == m.index && progress.state == .probe)
      } ?? false
    guard isNews else { return }
    leaveProbeOrSnapshot(m)
    if maybeCommit() {
      releaseReadsBeforeCommit()
      broadcastAppend()
    } else if id != m.from, tracker.progress[m.from]?.canRaiseCommit(to: log.committed) == true {
      sendAppend(to: m.from)
    }
    if id != m.from {
      // The window has room again.
      while sendAppend(to: m.from, evenIfEmpty: false) {}
    }
    if m.from == transferee, tracker.progress[m.from]?.match == log.lastIndex {
      info("\(hex(id)) sent MsgTimeoutNow to \(hex(m.from)) after received MsgAppResp")
      sendTimeoutNow(to: m.from)
    }
  }

  private mutating func leaveProbeOrSnapshot(_ m: Message) {
    guard let progress = tracker.progress[m.from] else { return }
    switch progress.state {
    case .probe: tracker.progress.update(m.from) { $0.becomeReplicate() }
    case .snapshot:
      // Whatever snapshot it was that the follower has, and wherever from: our log goes on after it.
      if progress.match + 1 < log.firstIndex || mutant(.snapshotPeerNeverResumed) { return }
      debug(
        "\(hex(id)) recovered from needing snapshot, resumed sending replication messages to \(hex(m.from)) "
          + "[\(progress)]")
      tracker.progress.update(m.from) {
        $0.becomeProbe()
        $0.becomeReplicate()
      }
    case .replicate: tracker.progress.update(m.from) { $0.inflights.free(through: m.index) }
    }
  }

  /// True: more is committed than was.
  mutating func maybeCommit() -> Bool {
    var quorum = tracker.committed
    if mutant(.removedLeaderCountsItself), !tracker.progress.contains(id) {
      var counted = tracker.config.voters.incoming
      counted.insert(id)
      quorum = counted.committedIndex { $0 == id ? log.lastIndex : tracker.progress[$0]?.match }
    }
    return log.commitIfCurrent(quorum, term: term)
  }

  // MARK: Other answers and reports

  private mutating func handleHeartbeatResponse(_ m: Message) {
    guard let progress = tracker.progress[m.from] else { return }
    tracker.progress.update(m.from) {
      $0.isRecentlyActive = true
      if !mutant(.pausedPeerNeverResumed) { $0.isFlowPaused = false }
    }
    // Whatever filled the window may have been lost: an append, perhaps empty, finds out.
    if progress.match < log.lastIndex || progress.state == .probe { sendAppend(to: m.from) }
    acknowledgeReads(m)
  }

  private mutating func handleSnapshotStatus(_ m: Message) {
    guard tracker.progress[m.from]?.state == .snapshot else { return }
    tracker.progress.update(m.from) {
      if m.reject { $0.pendingSnapshot = 0 }
      $0.becomeProbe()
    }
    debug(
      "\(hex(id)) snapshot \(m.reject ? "failed" : "succeeded"), resumed sending replication messages to "
        + "\(hex(m.from)) [\(progressText(m.from))]")
    // Sent: its answer comes first. Failed: not again at once.
    tracker.progress.update(m.from) { $0.isFlowPaused = true }
  }

  // MARK: Handing over leadership

  private mutating func startTransfer(to other: NodeID) {
    guard let progress = tracker.progress[other] else { return }
    if progress.isLearner { return debug("\(hex(id)) is learner. Ignored transferring leadership") }
    if transferee != Node.none {
      if transferee == other {
        return info(
          "\(hex(id)) [term \(term)] transfer leadership to \(hex(other)) is in progress, ignores request to same node "
            + "\(hex(other))")
      }
      let previous = transferee
      transferee = Node.none
      info("\(hex(id)) [term \(term)] abort previous transferring leadership to \(hex(previous))")
    }
    if other == id {
      return debug("\(hex(id)) is already leader. Ignored transferring leadership to self")
    }
    info("\(hex(id)) [term \(term)] starts to transfer leadership to \(hex(other))")
    // It has one election timeout.
    electionElapsed = 0
    transferee = other
    if progress.match == log.lastIndex {
      sendTimeoutNow(to: other)
      info(
        "\(hex(id)) sends MsgTimeoutNow to \(hex(other)) immediately as \(hex(other)) already has up-to-date log")
    } else {
      sendAppend(to: other)
    }
  }

  private mutating func sendTimeoutNow(to other: NodeID) {
    // Whenever this arrives, the other may be elected at once: nothing is leased from here on.
    if !mutant(.leaseKeptThroughTransfer) { isLeaseVoid = true }
    send(Message(.timeoutNow, to: other))
  }
}
