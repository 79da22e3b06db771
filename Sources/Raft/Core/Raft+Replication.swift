// What a leader sends its followers.

extension Raft {
  mutating func broadcastAppend() {
    for other in tracker.progress.ids where other != id { sendAppend(to: other) }
  }

  mutating func sendAppend(to other: NodeID) { sendAppend(to: other, evenIfEmpty: true) }

  /// Sends what the follower needs next: entries, a snapshot where they are compacted away, or, if asked for, an append
  /// without entries that tells the commit index. False: nothing was sent.
  @discardableResult
  mutating func sendAppend(to other: NodeID, evenIfEmpty: Bool) -> Bool {
    guard let progress = tracker.progress[other], !progress.isPaused else { return false }
    let previous = progress.next - 1
    guard let previousTerm = try? log.term(at: previous) else { return sendSnapshot(to: other) }
    var entries: [Entry] = []
    // With the window full an empty append goes out: were all in the window lost, its answer is how to learn of it.
    if progress.state != .replicate || !progress.inflights.isFull {
      do {
        entries = try log.entries(from: progress.next, encodedSizeMax: options.messageSizeMax)
      } catch {
        return sendSnapshot(to: other)
      }
    }
    if entries.isEmpty, !evenIfEmpty { return false }
    send(
      Message(
        .append, to: other, logTerm: previousTerm, index: previous, entries: entries, commit: log.committed,
        context: readContext))
    let commit = log.committed
    tracker.progress.update(other) {
      $0.sent(entries: entries.count, bytes: entries.payloadSize)
      $0.sent(commit: commit)
    }
    return true
  }

  private mutating func sendSnapshot(to other: NodeID) -> Bool {
    guard let progress = tracker.progress[other] else { return false }
    if !progress.isRecentlyActive {
      debug("ignore sending snapshot to \(hex(other)) since it is not recently active")
      return false
    }
    guard let snapshot = try? log.snapshot(), !snapshot.isEmpty else {
      debug("\(hex(id)) failed to send snapshot to \(hex(other)) because snapshot is temporarily unavailable")
      return false
    }
    debug(
      "\(hex(id)) [firstindex: \(log.firstIndex), commit: \(log.committed)] sent snapshot[index: \(snapshot.index), "
        + "term: \(snapshot.term)] to \(hex(other)) [\(progress)]")
    tracker.progress.update(other) { $0.becomeSnapshot(index: snapshot.index) }
    debug("\(hex(id)) paused sending replication messages to \(hex(other)) [\(progressText(other))]")
    send(Message(.snapshot, to: other, snapshot: snapshot))
    return true
  }

  mutating func broadcastHeartbeat() {
    let context = readContext
    for other in tracker.progress.ids where other != id {
      guard let progress = tracker.progress[other] else { continue }
      // Never more than the follower is known to have: it could not tell whose entries would be committed.
      let commit = min(progress.match, log.committed)
      send(Message(.heartbeat, to: other, commit: commit, context: context))
      tracker.progress.update(other) { $0.sent(commit: commit) }
    }
    reads.needsRound = false
  }
}
