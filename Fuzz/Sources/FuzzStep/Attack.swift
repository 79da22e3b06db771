// One member of a cluster, and bytes that say what happens to it: calls of its program, and messages that anybody may send.
// Whatever they are, it must answer with typed errors, keep its own order and stay within its bounds.

import FuzzInput
import Glibc
import NeedletailRaft

func attack(_ bytes: UnsafeRawBufferPointer) {
  var input = Input(bytes)
  guard var victim = try? Victim(&input) else { return }
  while !input.isEmpty { victim.act(&input) }
}

extension Input {
  /// Mostly near `middle`; now and then anything.
  mutating func number(near middle: UInt64) -> UInt64 {
    let first = byte()
    if first < 240 { return UInt64(max(0, Int64(truncatingIfNeeded: middle) + Int64(first % 16) - 8)) }
    return (0..<8).reduce(0) { value, _ in value << 8 | UInt64(byte()) }
  }

  mutating func data() -> [UInt8] { (0..<Int(byte() % 24)).map { _ in byte() } }

  mutating func node() -> UInt64 { UInt64(byte() % 7) }
}

struct Victim {
  private let storage = MemoryStorage()
  private let isAsync: Bool
  private var raft: Raft
  private var applied: UInt64
  private var committed: UInt64

  init(_ input: inout Input) throws {
    let entries = (0..<UInt64(input.byte() % 8)).map { Entry(term: $0 / 3 + 2, index: $0 + 5) }
    let members = ConfigState(
      voters: input.bool() ? [1, 2, 3] : [1], votersOutgoing: input.bool() ? [1, 4] : [], learners: [5],
      autoLeave: false)
    try storage.apply(Snapshot(index: 4, term: 1, members: members))
    try storage.append(entries)
    storage.set(HardState(term: entries.last?.term ?? 1, commit: 4))
    var options = RaftOptions(id: 1, storage: storage)
    options.asyncStorageWrites = input.bool()
    options.preVote = input.bool()
    options.checkQuorum = input.bool()
    if options.checkQuorum, input.bool() { options.readMode = .leaseBased }
    options.stepDownOnRemoval = input.bool()
    options.waitingReadsMax = 50
    options.uncommittedSizeMax = 2000
    options.inflightMessagesMax = 4
    options.messageSizeMax = 200
    isAsync = options.asyncStorageWrites
    raft = try Raft(options)
    applied = raft.applied
    committed = raft.committed
  }

  mutating func act(_ input: inout Input) {
    switch input.byte() % 16 {
    case 0: raft.tick()
    case 1: try? raft.campaign()
    case 2: try? raft.propose(input.data())
    case 3: try? raft.propose(entries: entries(&input, after: EntryID(term: 0, index: 0)))
    case 4: try? raft.readIndex(input.data())
    case 5: raft.transferLeader(to: input.node())
    case 6: raft.reportSnapshot(input.node(), isSent: input.bool())
    case 7: raft.reportUnreachable(input.node())
    case 8: raft.forgetLeader()
    case 9: if raft.hasReady { work() }
    default: try? raft.step(message(&input))
    }
    precondition(raft.applied >= applied && raft.committed >= committed, "went back")
    precondition(raft.applied <= raft.committed && raft.committed <= raft.lastIndex, "out of order")
    (applied, committed) = (raft.applied, raft.committed)
  }

  // MARK: The program

  private mutating func work() {
    guard let ready = try? raft.ready() else { return }
    if !isAsync {
      store(ready.hardState, ready.entries, ready.snapshot)
      apply(ready.committedEntries)
      try? raft.advance()
      return
    }
    for message in ready.messages {
      if message.to == Node.appendThread {
        let state = HardState(term: message.term, vote: message.vote, commit: message.commit)
        store(state, message.entries, message.snapshot ?? Snapshot())
      } else if message.to == Node.applyThread {
        apply(message.entries)
      }
      for response in message.responses where response.to == 1 { try? raft.step(fromStorage: response) }
    }
  }

  private func store(_ state: HardState, _ entries: [Entry], _ snapshot: Snapshot) {
    if !state.isEmpty { storage.set(state) }
    if !snapshot.isEmpty { try? storage.apply(snapshot) }
    try? storage.append(entries)
  }

  private mutating func apply(_ entries: [Entry]) {
    for entry in entries {
      if let change = try? ConfigChange.decode(entry) { _ = try? raft.apply(change) }
    }
  }

  // MARK: Messages

  private func entries(_ input: inout Input, after previous: EntryID) -> [Entry] {
    var last = previous
    return (0..<Int(input.byte() % 6)).map { _ in
      let kind = EntryKind(rawValue: input.byte() % 8) ?? .normal
      // Mostly as it must be.
      let isRight = input.byte() < 200
      last = EntryID(
        term: isRight ? max(1, last.term) : input.number(near: raft.term),
        index: isRight ? last.index &+ 1 : input.number(near: raft.lastIndex))
      return Entry(term: last.term, index: last.index, kind: kind, data: input.data())
    }
  }

  private func message(_ input: inout Input) -> Message {
    let type = MessageType.allCases[Int(input.byte()) % MessageType.allCases.count]
    var message = Message(type, to: input.byte() < 250 ? 1 : input.node(), from: input.node())
    message.term = input.byte() < 30 ? 0 : input.number(near: raft.term)
    message.index = input.number(near: raft.lastIndex)
    message.logTerm =
      input.byte() < 200 ? raft.termOfEntry(at: message.index) ?? 0 : input.number(near: raft.term)
    message.commit = input.number(near: raft.committed)
    message.reject = input.byte() > 200
    message.rejectHint = input.number(near: raft.lastIndex)
    if input.bool() { message.context = input.byte() < 100 ? input.data() : [UInt8](repeating: 0, count: 16) }
    switch type {
    case .append: message.entries = entries(&input, after: EntryID(term: message.logTerm, index: message.index))
    case .propose, .readIndex, .readIndexResponse:
      message.entries = entries(&input, after: EntryID(term: 0, index: 0))
    case .snapshot:
      let members = ConfigState(
        voters: (0..<Int(input.byte() % 4)).map { _ in input.node() },
        votersOutgoing: (0..<Int(input.byte() % 3)).map { _ in input.node() },
        learners: (0..<Int(input.byte() % 3)).map { _ in input.node() },
        learnersNext: (0..<Int(input.byte() % 3)).map { _ in input.node() }, autoLeave: input.bool())
      message.snapshot = Snapshot(
        index: input.number(near: raft.lastIndex), term: input.number(near: raft.term), members: members)
    default: break
    }
    return message
  }
}
