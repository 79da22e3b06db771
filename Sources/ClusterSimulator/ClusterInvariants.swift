// What must hold in a cluster at all times, seen from above.

import NeedletailRaft
import NeedletailSimulator

package struct Violation: Error, CustomStringConvertible, Equatable {
  package let description: String

  init(_ description: String) { self.description = description }
}

struct ClusterInvariants {
  private var leaders: [UInt64: NodeID] = [:]
  private var votes: [[UInt64]: NodeID] = [:]
  private var committed: [UInt64: Entry] = [:]
  /// What applying each entry came to: answers and revisions are the same everywhere.
  private var outcomes: [UInt64: UInt64] = [:]
  /// The memberships there have been, each from the index on whose entry led to it.
  private(set) var memberships: [(index: UInt64, state: ConfigState)]

  init(_ founders: ConfigState) { memberships = [(1, founders)] }

  var committedCount: Int { committed.count }

  /// The newest membership that anyone has applied.
  var membership: ConfigState { memberships.last?.state ?? ConfigState() }

  /// At most one leader a term.
  mutating func check(leader node: NodeID, term: UInt64) throws(Violation) {
    guard let other = leaders.updateValue(node, forKey: term), other != node else { return }
    throw Violation("\(other) and \(node) both lead in term \(term)")
  }

  /// A member votes once a term, whatever crashes come in between.
  mutating func check(sent message: Message) throws(Violation) {
    guard message.type == .voteResponse, !message.reject else { return }
    guard let other = votes.updateValue(message.to, forKey: [message.from, message.term]), other != message.to
    else { return }
    throw Violation("\(message.from) voted for \(other) and for \(message.to) in term \(message.term)")
  }

  /// What is committed is the same everywhere, and for ever. True where nobody has said so before.
  mutating func check(committed entry: Entry, at node: NodeID) throws(Violation) -> Bool {
    guard let known = committed.updateValue(entry, forKey: entry.index) else { return true }
    if known == entry { return false }
    throw Violation("\(node) commits \(entry), which was committed as \(known)")
  }

  /// What becomes known to be committed was held by a quorum of the membership then in force. The leader may not have
  /// applied the last change before the entry yet, so it is that or the one before.
  func check(holders: (NodeID) -> Bool, of entry: Entry) throws(Violation) {
    let before = memberships.filter { $0.index < entry.index }.suffix(2)
    guard !before.isEmpty, !before.contains(where: { $0.state.hasQuorum(holders) }) else { return }
    throw Violation("entry \(entry.index) of term \(entry.term) is committed, and no quorum holds it")
  }

  /// Applying an entry comes to the same everywhere.
  mutating func check(outcome: UInt64, of index: UInt64, at node: NodeID) throws(Violation) {
    guard let known = outcomes.updateValue(outcome, forKey: index), known != outcome else { return }
    throw Violation("applying entry \(index) came to something else at \(node) than before")
  }

  /// A change of the membership leads to the same everywhere. The membership before, where nobody has applied it yet.
  mutating func check(
    membership state: ConfigState, from index: UInt64, at node: NodeID
  ) throws(Violation) -> ConfigState? {
    if let known = memberships.first(where: { $0.index == index }) {
      if known.state == state { return nil }
      throw Violation("entry \(index) makes the membership \(state) at \(node), and made it \(known.state) before")
    }
    // Whoever applies first does so in order: nobody is ahead of the newest.
    guard let last = memberships.last, last.index < index else {
      throw Violation("\(node) changes the membership at \(index), where nobody else did")
    }
    memberships.append((index, state))
    return last.state
  }
}

extension ConfigState {
  /// All that have a part in it, in ascending order.
  var everybody: [NodeID] { MemberSet(voters + votersOutgoing + learners + learnersNext).ids }

  /// All that vote, in either half.
  var allVoters: [NodeID] { MemberSet(voters + votersOutgoing).ids }

  var isJoint: Bool { !votersOutgoing.isEmpty }

  func hasQuorum(_ isIn: (NodeID) -> Bool) -> Bool {
    JointQuorum(incoming: MemberSet(voters), outgoing: MemberSet(votersOutgoing)).voteResult { isIn($0) } == .won
  }

  init(_ config: MemberConfig) {
    self.init(
      voters: config.voters.incoming.ids, votersOutgoing: config.voters.outgoing.ids, learners: config.learners.ids,
      learnersNext: config.learnersNext.ids, autoLeave: config.autoLeave)
  }

  /// Numbers of eight bytes: the counts of the four lists, then their members, then whether it is left by itself.
  var bytes: [UInt8] {
    let lists = [voters, votersOutgoing, learners, learnersNext]
    return (lists.map { UInt64($0.count) } + lists.flatMap { $0 } + [autoLeave ? 1 : 0]).flatMap {
      [UInt8](number: $0)
    }
  }

  /// nil for what `bytes` does not make.
  init?(bytes: UnsafeRawBufferPointer) {
    guard bytes.count % 8 == 0, bytes.count >= 40 else { return nil }
    var numbers = stride(from: 0, to: bytes.count, by: 8).map { start in
      (0..<8).reduce(UInt64(0)) { $0 << 8 | UInt64(bytes[start + $1]) }
    }[...]
    let counts = numbers.prefix(4)
    numbers = numbers.dropFirst(4)
    guard counts.allSatisfy({ $0 < 1000 }), counts.reduce(1, +) == numbers.count else { return nil }
    let lists = counts.map { count in
      defer { numbers = numbers.dropFirst(Int(count)) }
      return Array(numbers.prefix(Int(count)))
    }
    self.init(
      voters: lists[0], votersOutgoing: lists[1], learners: lists[2], learnersNext: lists[3],
      autoLeave: numbers.first == 1)
  }
}

extension [UInt8] {
  /// Eight bytes, the greatest first.
  init(number: UInt64) { self = (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * UInt64($0))) } }

  /// The number that eight bytes are.
  var number: UInt64 { reduce(0) { $0 << 8 | UInt64($1) } }
}
