// What a program calls.

extension Raft {
  /// Time passes. Programs that were paused make up for the ticks they missed before they do anything else, or leases
  /// would outlive their time.
  package mutating func tick() {
    now += 1
    if role == .leader { tickHeartbeat() } else { tickElection() }
  }

  /// As many ticks as a pause took, before anything else is done.
  package mutating func tick(missed count: Int) {
    if mutant(.missedTicksForgotten) { return }
    for _ in 0..<count { tick() }
  }

  /// Stands for election now. Not with leases while a leader was heard of: it may count on our vote not being given away,
  /// not even to ourselves. Only scripts, whose etcd-raft campaigns all the same, disregard that.
  package mutating func campaign(regardsLeases: Bool = true) throws(RaftError) {
    if regardsLeases, options.readMode == .leaseBased, role != .leader, isLeaderFresh {
      return warn("\(hex(id)) cannot campaign at term \(term) since a leader's lease may hold")
    }
    try handle(Message(.hup))
  }

  /// A message from another member. What it throws has changed nothing.
  package mutating func step(_ message: Message) throws(RaftError) {
    try check(message)
    try handle(message)
  }

  /// One of the responses in a message to a storage thread, addressed to this member: what it waited for is done. Apart
  /// from `step`, so that nobody outside can claim that something is durable here.
  package mutating func step(fromStorage message: Message) throws(RaftError) {
    try check(fromStorage: message)
    try handle(message)
  }

  /// Throws `.proposalDropped` if it will never commit. No error is no promise: it may yet be lost with the leader.
  package mutating func propose(_ data: [UInt8]) throws(RaftError) {
    try propose(entries: [Entry(data: data)])
  }

  /// Several at once, which saves messages. All are dropped or none.
  package mutating func propose(entries: [Entry]) throws(RaftError) {
    if entries.isEmpty { throw .malformed("no proposal") }
    try handle(Message(.propose, from: id, entries: entries))
  }

  /// A change that may not enter the log now becomes an empty entry there.
  package mutating func propose(_ change: ConfigChange) throws(RaftError) { try propose(entries: [change.entry]) }

  /// A committed membership change is applied. Every member must call this for every such entry, or for none. Throws
  /// `.badConfigChange` for changes that can't be made, at every member alike: then nothing changed, and that is how the
  /// entry is applied.
  package mutating func apply(_ change: ConfigChange) throws(RaftError) -> ConfigState {
    let membership = try Changer(tracker, lastIndex: log.lastIndex).applying(change)
    switchTo(membership)
    return tracker.configState
  }

  /// Asks for the index that must be applied here before a read with this context is linearizable: a `ReadState`, some
  /// time. If there is no leader, or it fails, none comes: ask again. Contexts are at most 64 bytes.
  package mutating func readIndex(_ context: [UInt8]) throws(RaftError) {
    if waitingReads >= options.waitingReadsMax || context.count > 64 { throw .readDropped }
    readsToForward.append(Entry(data: context))
  }

  /// Asks the leader to hand over to `other`.
  package mutating func transferLeader(to other: NodeID) {
    try? handle(Message(.transferLeader, from: other))
  }

  /// Forgets the leader, though not the term: others may then be given votes at once.
  package mutating func forgetLeader() { try? handle(Message(.forgetLeader)) }

  /// The last message to `other` was probably lost.
  package mutating func reportUnreachable(_ other: NodeID) { try? handle(Message(.unreachable, from: other)) }

  /// The snapshot for `other` was sent whole, or was not.
  package mutating func reportSnapshot(_ other: NodeID, isSent: Bool) {
    try? handle(Message(.snapshotStatus, from: other, reject: !isSent))
  }

  /// For tests and scripts: when the next campaign begins. Forgotten with the next change of role.
  package mutating func setRandomizedElectionTicks(_ ticks: Int) { randomizedElectionTicks = ticks }

  // MARK: Looking on

  package var committed: UInt64 { log.committed }
  package var applied: UInt64 { log.applied }
  package var lastIndex: UInt64 { log.lastIndex }
  package func termOfEntry(at index: UInt64) -> UInt64? { try? log.term(at: index) }
  /// The progress of all members; meaningful on the leader.
  package var progress: ProgressMap { tracker.progress }
  package var config: MemberConfig { tracker.config }
  /// A snapshot was taken over whose state machine is not stored yet: the membership is ahead of what is applied.
  package var isRestoring: Bool { log.hasSnapshotPending }
  /// On the leader: all of earlier terms is applied, and something of its own.
  package var hasAppliedOwnTerm: Bool { role == .leader && termOfEntry(at: log.applied) == term }
  /// On the leader: a change of the membership may be under way.
  package var isChangingMembers: Bool { role == .leader && pendingConfigIndex > log.applied }
}
