// One member of a cluster, as a state machine: calls go in, `Ready` batches come out, and nothing else happens.
//
// No clock, no thread, no file, no socket and no randomness of its own: the same calls in the same order give the same
// batches, on every machine. The messages and their order are etcd-raft's, so that its published scripts replay.
// Where to look: `Raft+Inputs` is what a program calls, `Raft+Ready` what it gets, `Raft+Step` what a message does,
// then a file for each role. docs/raft.md tells the whole story.

package struct Raft {
  package let id: NodeID
  let options: RaftOptions

  package internal(set) var term: UInt64 = 0
  package internal(set) var vote = Node.none
  package internal(set) var role = Role.follower
  package internal(set) var leader = Node.none
  package internal(set) var isLearner = false

  var log: RaftLog
  package internal(set) var tracker: Tracker

  /// To leave at once.
  var messages: [Message] = []
  /// To leave when all that is unstable now is durable: votes and acknowledgements, for others or for this member.
  var messagesAfterAppend: [Message] = []

  /// Who leadership is being handed to.
  package internal(set) var transferee = Node.none
  /// At least the index of the last membership change in the log; another is taken only when this is applied.
  var pendingConfigIndex: UInt64 = 0
  /// Bytes of data in uncommitted entries, on the leader.
  var uncommittedSize: UInt64 = 0

  // Reads.
  var readStates: [ReadState] = []
  var reads = ReadRounds()
  /// Reads that arrived before this term committed anything.
  var readsBeforeCommit: [Message] = []
  /// Reads of a follower, to leave in one message.
  var readsToForward: [Entry] = []
  /// Leadership was offered to another in this term: it may come to lead at any time, so no lease holds any more.
  var isLeaseVoid = false

  // Time.
  /// Ticks since the start.
  var now: UInt64 = 0
  /// Ticks since a leader was heard of; on the leader, since the quorum was checked.
  var electionElapsed = 0
  var heartbeatElapsed = 0
  package internal(set) var randomizedElectionTicks = 0
  var random: UInt64
  /// Started with a term: before that it may have followed a leader whose lease still holds.
  let isRestart: Bool

  // What the last `Ready` said.
  var previousSoftState: SoftState
  var previousHardState: HardState
  var stepsOnAdvance: [Message] = []
  var isReadyOut = false

  /// From what storage holds.
  package init(_ options: RaftOptions) throws(RaftError) {
    try options.validate()
    self.options = options
    id = options.id
    random = options.electionSeed
    let size = options.applyingSizeMax == 0 ? options.messageSizeMax : options.applyingSizeMax
    log = RaftLog(storage: options.storage, applyingSizeMax: size, listener: options.listener)
    tracker = Tracker(
      inflightMessagesMax: options.inflightMessagesMax, inflightBytesMax: options.inflightBytesMax)
    previousSoftState = SoftState(leader: Node.none, role: .follower)
    previousHardState = HardState()
    let initial = options.storage.initialState
    isRestart = initial.hardState.term > 0

    let last = log.lastID
    let membership = try Changer.restore(initial.members, inflightsOf: tracker, lastIndex: last.index)
    switchTo(membership)
    try load(initial.hardState)
    if options.applied > 0 {
      guard options.applied <= log.lastIndex, options.applied >= log.applied else {
        throw .badState(
          "applied(\(options.applied)) is out of range [prevApplied(\(log.applied)), lastIndex(\(log.lastIndex))]")
      }
      // What is applied was committed, though the word of that may not have been stored.
      log.commit(to: options.applied)
      log.applied(to: options.applied, size: 0)
    }
    becomeFollower(term: term, leader: Node.none)
    previousSoftState = softState
    previousHardState = currentHardState
    info(
      "newRaft \(hex(id)) [peers: [\(tracker.config.voters.all.ids.map(hex).joined(separator: ","))], term: \(term), "
        + "commit: \(log.committed), applied: \(log.applied), lastindex: \(last.index), lastterm: \(last.term)]")
  }

  private mutating func load(_ state: HardState) throws(RaftError) {
    if state.isEmpty { return }
    guard state.commit >= log.committed, state.commit <= log.lastIndex else {
      throw .badState(
        "\(hex(id)) state.commit \(state.commit) is out of range [\(log.committed), \(log.lastIndex)]")
    }
    guard state.term <= Limits.numberMax else { throw .badState("term \(state.term) is out of range") }
    log.setCommitted(atStart: state.commit)
    term = state.term
    vote = state.vote
  }

  var softState: SoftState { SoftState(leader: leader, role: role) }

  var currentHardState: HardState { HardState(term: term, vote: vote, commit: log.committed) }

  // MARK: Logging

  func debug(_ text: @autoclosure () -> String) { log.log(.debug, text()) }
  func info(_ text: @autoclosure () -> String) { log.log(.info, text()) }
  func warn(_ text: @autoclosure () -> String) { log.log(.warning, text()) }
  func error(_ text: @autoclosure () -> String) { log.log(.error, text()) }

  /// `[logterm: 1, index: 10, vote: 2]`, the way votes are logged.
  func position(_ last: EntryID) -> String { "[logterm: \(last.term), index: \(last.index), vote: \(hex(vote))]" }
}
