// Changes of the membership, as they are applied.

extension Raft {
  mutating func applied(to index: UInt64, size: UInt64) {
    let reached = max(index, log.applied)
    log.applied(to: reached, size: size)
    guard tracker.config.autoLeave, reached >= pendingConfigIndex, role == .leader else { return }
    // The joint membership is applied: propose to leave it. Refused while leadership is being handed over; then the next
    // entry that is applied, here or at the next leader, comes by again.
    do {
      try handle(Message(.propose, from: id, entries: [Entry(kind: .configChangeV2)]))
      info("initiating automatic transition out of joint configuration \(tracker.config)")
    } catch {
      debug("not initiating automatic transition out of joint configuration \(tracker.config): \(error)")
    }
  }

  mutating func appliedSnapshot(_ snapshot: Snapshot) {
    log.stableSnapshot(at: snapshot.index)
    applied(to: snapshot.index, size: 0)
  }

  /// The membership changes, and with it perhaps who we are and what a quorum has.
  mutating func switchTo(_ membership: Membership) {
    tracker.adopt(membership)
    info("\(hex(id)) switched to configuration \(tracker.config)")
    let own = tracker.progress[id]
    isLearner = own?.isLearner ?? false
    if own == nil || isLearner, role == .leader {
      // Leads on until somebody else does, unless asked to step down; it no longer counts for any quorum.
      if options.stepDownOnRemoval { becomeFollower(term: term, leader: Node.none) }
      return
    }
    if role != .leader || tracker.config.voters.incoming.isEmpty { return }
    if maybeCommit() {
      releaseReadsBeforeCommit()
      broadcastAppend()
    } else {
      // New members need not wait for the next heartbeat.
      for other in tracker.progress.ids where other != id { sendAppend(to: other, evenIfEmpty: false) }
    }
    if transferee != Node.none, !tracker.config.voters.contains(transferee) { transferee = Node.none }
  }
}
