// One member's log: the real one for durability, and its entries in memory for Raft to read.

import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

/// The tree is older than what the log begins with: a checkpoint that was durable is gone.
struct LogGap: Error, CustomStringConvertible {
  var applied: UInt64
  var floor: UInt64
  var description: String { "the tree ends at \(applied), the log begins after \(floor)" }
}

final class DurableLog {
  let wal: WAL
  let storage = MemoryStorage()
  /// Makes what followers are given whose entries are gone.
  var makeSnapshot: (() throws(StorageError) -> NeedletailRaft.Snapshot)?
  /// Before this place of the log, groups behind it know that all is durable: damage there can't pass for a torn tail.
  private(set) var proven: LogPosition
  /// What the groups under way know to be durable, oldest first.
  private var attested: [(group: UInt64, place: LogPosition)] = []
  private var submitted: UInt64 = 0

  private static var options: WALOptions {
    var options = WALOptions()
    options.segmentSize = 64 << 10
    options.groupSize = 16 << 10
    options.background = false
    options.storeID = StoreID(high: 1, low: 2)
    return options
  }

  /// What the device holds; `applied` is what the tree holds, which is the truth where the log has another entry there, or
  /// none: then the log begins anew behind it. Throws `LogGap` where the tree has lost what the log rests on.
  init(_ device: SimulatedLogDevice, applied: LogMark, members: ConfigState) throws {
    var entries: [Entry] = []
    // Writes that are under way at once complete one by one, in any order.
    var random = SimulatedRandom(applied.index)
    device.isEager = { false }
    device.chooseCompletion = { random.below($0) }
    var base = LogMark()
    wal = try WAL.open(device: device, options: DurableLog.options) { record in
      switch record {
      case .entry(let index, let term, let payload):
        while let last = entries.last, last.index >= index { entries.removeLast() }
        guard let kind = payload.first.flatMap(EntryKind.init(rawValue:)) else {
          throw Violation("entry \(index) of the log has no kind")
        }
        entries.append(Entry(term: term, index: index, kind: kind, data: Array(payload.dropFirst())))
      case .snapshot(let mark):
        let isHeld = entries.contains { $0.index == mark.index && $0.term == mark.term }
        guard !isHeld, mark.index >= entries.first?.index ?? 0 else { return }
        base = mark
        entries = []
      case .hardState, .metadata: break
      }
    }
    proven = wal.durableEnd
    if wal.recovery.floor.index > base.index { base = wal.recovery.floor }
    entries.removeAll { $0.index <= base.index }
    if base.index > applied.index { throw LogGap(applied: applied.index, floor: base.index) }
    let held = applied.index == base.index ? base.term : entries.first { $0.index == applied.index }?.term
    if held != applied.term {
      base = applied
      entries = []
      try wal.append(snapshot: base)
      try settle(try wal.submit())
    }
    try load(entries, base, members)
  }

  private func load(_ entries: [Entry], _ base: LogMark, _ members: ConfigState) throws {
    if base.index > 0 {
      try storage.apply(NeedletailRaft.Snapshot(index: base.index, term: base.term, members: members))
    }
    storage.members = members
    storage.makeSnapshot = { [unowned self] () throws(StorageError) in
      guard let makeSnapshot else { throw .snapshotTemporarilyUnavailable }
      return try makeSnapshot()
    }
    try storage.append(entries)
    if var state = wal.recovery.hardState {
      state.commit = max(state.commit, base.index)
      storage.set(NeedletailRaft.HardState(term: state.term, vote: state.vote, commit: state.commit))
    } else {
      storage.set(NeedletailRaft.HardState(term: base.term, commit: base.index))
    }
  }

  /// Hands the batch to the log. The group to wait for, or nil where nothing needs to be durable first.
  func begin(_ ready: Ready) throws -> UInt64? {
    if !ready.snapshot.isEmpty {
      try wal.append(snapshot: LogMark(index: ready.snapshot.index, term: ready.snapshot.term))
    }
    for entry in ready.entries {
      let payload = [entry.kind.rawValue] + entry.data
      try payload.withUnsafeBytes { bytes in _ = try wal.append(index: entry.index, term: entry.term, payload: bytes) }
    }
    if !ready.hardState.isEmpty {
      let state = ready.hardState
      try wal.append(NeedletailWAL.HardState(term: state.term, vote: state.vote, commit: state.commit))
    }
    guard ready.mustSync || !ready.snapshot.isEmpty else { return nil }
    let group = try wal.submit()
    // Where nothing was to be written, the group is an earlier one, which knows what it knew.
    if group > submitted { attested.append((group, wal.durableEnd)) }
    submitted = group
    return group
  }

  /// Waits until the group is durable.
  func settle(_ group: UInt64) throws {
    while wal.durable.group < group, wal.groupsInFlight > 0 { try wal.reap(wait: true) }
    while let first = attested.first, first.group <= wal.durable.group {
      proven = first.place
      attested.removeFirst()
    }
  }

  /// Makes the batch visible to Raft; it is durable where it must be.
  func finish(_ ready: Ready) throws {
    if !ready.hardState.isEmpty { storage.set(ready.hardState) }
    if !ready.snapshot.isEmpty { try storage.apply(ready.snapshot) }
    try storage.append(ready.entries)
  }

  /// Forgets entries up to `index`, which a durable checkpoint of the tree contains.
  func forget(through index: UInt64) throws {
    guard index >= storage.firstIndex, index < storage.lastIndex else { return }
    try storage.compact(to: index)
    try wal.recycle(through: index)
  }
}
