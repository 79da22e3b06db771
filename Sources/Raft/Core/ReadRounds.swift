// Reads that wait until it is sure that this leader still led when they arrived.
//
// Reads are numbered as they arrive. Whatever leaves for a follower carries the number of the latest, and the answer
// brings it back: a number that a quorum brought back confirms all reads up to it, since all of these members still
// followed this leader at a moment after those reads arrived. Nothing is remembered about rounds, so any number may be
// under way. Numbers begin anew with each term, and answers of other terms never reach this place.

struct ReadRounds {
  struct Waiting {
    var request: Message
    /// The commit index when the read arrived.
    var index: UInt64
  }

  /// What travels: the latest read's number, and the tick at which the message left.
  struct Position: Equatable {
    var read: UInt64
    var tick: UInt64

    init(read: UInt64, tick: UInt64) {
      self.read = read
      self.tick = tick
    }

    init?(_ context: [UInt8]) {
      guard context.count == 16 else { return nil }
      func number(_ from: Int) -> UInt64 { (0..<8).reduce(0) { $0 | UInt64(context[from + $1]) << UInt64($1 * 8) } }
      self.init(read: number(0), tick: number(8))
    }

    var context: [UInt8] {
      (0..<8).map { UInt8(truncatingIfNeeded: read >> UInt64($0 * 8)) }
        + (0..<8).map { UInt8(truncatingIfNeeded: tick >> UInt64($0 * 8)) }
    }
  }

  private struct Ack {
    var id: NodeID
    /// The largest number that the member brought back.
    var read: UInt64
    /// One more than the latest tick at which a message left that the member answered.
    var tickAfter: UInt64
  }

  private(set) var waiting: [Waiting] = []
  /// The number of the last read that was confirmed; `waiting` begins after it.
  private var confirmed: UInt64 = 0
  private var acks: [Ack] = []
  /// A read arrived since the last message to all left.
  var needsRound = false

  var latest: UInt64 { confirmed + UInt64(waiting.count) }

  mutating func add(_ request: Message, commit: UInt64) {
    waiting.append(Waiting(request: request, index: commit))
    needsRound = true
  }

  /// A member brought back what a message of this term carried.
  mutating func acknowledge(_ id: NodeID, _ position: Position, now: UInt64) {
    // Numbers and ticks are ours: larger ones than we gave out are nobody's.
    var read = min(position.read, latest)
    var tickAfter = min(position.tick, now) + 1
    if mutant(.readPositionReused) { read = latest }
    if mutant(.leaseFromResponse) { tickAfter = now + 1 }
    if let at = acks.firstIndex(where: { $0.id == id }) {
      acks[at].read = max(acks[at].read, read)
      acks[at].tickAfter = max(acks[at].tickAfter, tickAfter)
    } else {
      acks.append(Ack(id: id, read: read, tickAfter: tickAfter))
    }
  }

  /// Takes out what a quorum confirms. `leader` is this member, which confirms its own.
  mutating func takeConfirmed(_ voters: JointQuorum, leader: NodeID) -> [Waiting] {
    let (latest, acks) = (latest, acks)
    let quorum = voters.committedIndex { id in
      id == leader ? latest : acks.first { $0.id == id }?.read
    }
    let reached = min(quorum, latest)
    if reached <= confirmed { return [] }
    let count = Int(reached - confirmed)
    let taken = Array(waiting[..<count])
    waiting.removeFirst(count)
    confirmed = reached
    if waiting.isEmpty { needsRound = false }
    return taken
  }

  /// The last tick at which a quorum is known to have followed this leader. Nil: none is known.
  ///
  /// That is where the lease starts: when the messages left that a quorum answered, not when the answers came. Each of
  /// these members grants nobody a vote for an election timeout after it received its message, which was later still.
  func leaseStart(_ voters: JointQuorum, leader: NodeID, now: UInt64) -> UInt64? {
    let quorum = voters.committedIndex { id in
      id == leader ? now + 1 : acks.first { $0.id == id }?.tickAfter
    }
    return quorum == 0 || quorum == .max ? nil : quorum - 1
  }
}
