import Foundation
import Testing

@testable import NeedletailRaft

/// The same numbers on every run with the same seed.
struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x2545_f491_4f6c_dd1d &+ 0x9e37_79b9 }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }
  /// True in `percent` of a hundred.
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }
}

func setting(_ name: String) -> Int? { ProcessInfo.processInfo.environment[name].flatMap(Int.init) }

/// The seeds of a randomised test: NEEDLETAIL_SEED alone, or `count` (NEEDLETAIL_RAFT_SEEDS) from 1.
func seeds(_ count: Int) -> [UInt64] {
  if let one = setting("NEEDLETAIL_SEED") { return [UInt64(one)] }
  return (1...UInt64(setting("NEEDLETAIL_RAFT_SEEDS") ?? count)).map { $0 }
}

/// A member of `voters` whose log has entries of the given terms, from 1 on.
func makeRaft(
  _ id: NodeID = 1, voters: [NodeID] = [1, 2, 3], learners: [NodeID] = [], terms: [UInt64] = [], term: UInt64? = nil,
  _ configure: (inout RaftOptions) -> Void = { _ in }
) throws -> (raft: Raft, storage: MemoryStorage) {
  let storage = MemoryStorage()
  storage.members = ConfigState(voters: voters, learners: learners)
  try storage.append(terms.enumerated().map { Entry(term: $1, index: UInt64($0 + 1)) })
  if let term = term ?? terms.last { storage.set(HardState(term: term)) }
  var options = RaftOptions(id: id, storage: storage)
  options.messageSizeMax = Limits.unlimited
  configure(&options)
  return (try Raft(options), storage)
}

/// Does what `Ready` says, at once. The messages that leave, and what was applied.
@discardableResult
func settle(_ raft: inout Raft, _ storage: MemoryStorage) throws -> (
  messages: [Message], applied: [Entry], reads: [ReadState]
) {
  var messages: [Message] = []
  var applied: [Entry] = []
  var reads: [ReadState] = []
  while raft.hasReady {
    let ready = try raft.ready()
    if !ready.hardState.isEmpty { storage.set(ready.hardState) }
    if !ready.snapshot.isEmpty { try storage.apply(ready.snapshot) }
    try storage.append(ready.entries)
    for entry in ready.committedEntries {
      applied.append(entry)
      if let change = try ConfigChange.decode(entry) { storage.members = try raft.apply(change) }
    }
    messages += ready.messages
    reads += ready.readStates
    try raft.advance()
  }
  return (messages, applied, reads)
}

/// Makes `raft` leader with the votes of `voters`, and lets the term's first entry commit.
func elect(_ raft: inout Raft, _ storage: MemoryStorage, votes voters: [NodeID] = [2, 3], commits: Bool = true) throws {
  try raft.campaign()
  try settle(&raft, storage)
  for voter in voters where raft.role != .leader {
    try raft.step(Message(.voteResponse, to: raft.id, from: voter, term: raft.term))
  }
  try settle(&raft, storage)
  #expect(raft.role == .leader)
  if !commits { return }
  for voter in voters {
    try raft.step(Message(.appendResponse, to: raft.id, from: voter, term: raft.term, index: raft.lastIndex))
  }
  try settle(&raft, storage)
  #expect(raft.committed == raft.lastIndex)
}
