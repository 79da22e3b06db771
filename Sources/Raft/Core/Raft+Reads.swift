// Linearizable reads: see `ReadRounds`.

extension Raft {
  private var hasCommittedInTerm: Bool {
    log.termOrZero(at: log.committed) == term || mutant(.readsBeforeTermCommits)
  }

  /// What goes out with appends and heartbeats so that their answers confirm reads, and renew the lease.
  var readContext: [UInt8] {
    if reads.waiting.isEmpty, options.readMode != .leaseBased { return [] }
    return ReadRounds.Position(read: reads.latest, tick: now).context
  }

  /// Contexts of reads that were not answered yet.
  var waitingReads: Int { reads.contexts + readsToForward.count }

  /// A read arrived at the leader.
  mutating func takeRead(_ m: Message) {
    if waitingReads + m.entries.count > options.waitingReadsMax {
      return warn("\(hex(id)) too many reads wait; dropping \(m.entries.count)")
    }
    // Before the term's first commit it isn't known what earlier terms committed.
    if hasCommittedInTerm { startRead(m) } else { reads.postpone(m) }
  }

  mutating func releaseReadsBeforeCommit() {
    if !hasCommittedInTerm { return }
    for m in reads.takePostponed() { startRead(m) }
  }

  private mutating func startRead(_ m: Message) {
    if options.readMode == .leaseBased, holdsLease { return answerRead(m, index: log.committed) }
    reads.add(m, commit: log.committed)
    answerConfirmedReads()
  }

  /// Whether nobody else can have been elected yet, as far as clocks can be trusted.
  ///
  /// A quorum grants no vote for `electionTicks` of its own ticks after it heard of us. Two of these may be no time at
  /// all, one on either side, since ticks fall anywhere; the rest of the margin is the caller's.
  package var holdsLease: Bool {
    if role != .leader || isLeaseVoid { return false }
    guard let start = reads.leaseStart(tracker.config.voters, leader: id, now: now) else { return false }
    return now + 2 + UInt64(options.leaseDriftTicks) <= start + UInt64(options.electionTicks)
  }

  /// A follower answered something of this term.
  mutating func acknowledgeReads(_ m: Message) {
    guard let position = ReadRounds.Position(m.context) else { return }
    reads.acknowledge(m.from, position, now: now)
    answerConfirmedReads()
  }

  private mutating func answerConfirmedReads() {
    for read in reads.takeConfirmed(tracker.config.voters, leader: id) {
      answerRead(read.request, index: read.index)
    }
  }

  private mutating func answerRead(_ request: Message, index: UInt64) {
    if request.from == Node.none || request.from == id {
      readStates += request.entries.map { ReadState(index: index, context: $0.data) }
    } else {
      send(Message(.readIndexResponse, to: request.from, index: index, entries: request.entries))
    }
  }

  // MARK: Batches

  /// Reads that arrived since the last batch leave together: one round on the leader, one message on a follower.
  mutating func flushReads() {
    if role == .leader {
      if reads.needsRound {
        if reads.waiting.isEmpty { reads.needsRound = false } else { broadcastHeartbeat() }
      }
      if !readsToForward.isEmpty {
        let own = readsToForward
        readsToForward = []
        takeRead(Message(.readIndex, from: id, entries: own))
        if reads.needsRound { flushReads() }
      }
    } else if !readsToForward.isEmpty {
      let entries = readsToForward
      readsToForward = []
      if leader == Node.none {
        info("\(hex(id)) no leader at term \(term); dropping index reading msg")
      } else {
        send(Message(.readIndex, to: leader, entries: entries))
      }
    }
  }
}
