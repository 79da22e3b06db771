// A member of a scripted cluster: its state machine, its storage, and what it applied.

import NeedletailRaft

final class ScriptMember {
  var id: NodeID { options.id }
  let options: RaftOptions
  let storage: MemoryStorage
  var raft: Raft
  /// For the storage threads, oldest first.
  var appendWork: [Message] = []
  var applyWork: [Message] = []
  /// The state after each entry that was applied; the state machine puts data one after another.
  let history: History

  final class History {
    var snapshots: [Snapshot]
    init(_ first: Snapshot) { snapshots = [first] }
    var last: Snapshot { snapshots.last ?? Snapshot() }
  }

  /// Begins with the snapshot, unless that is empty.
  init(_ template: RaftOptions, storage: MemoryStorage, snapshot: Snapshot) throws {
    let history = History(snapshot)
    storage.makeSnapshot = { () throws(StorageError) in history.last }
    self.history = history
    self.storage = storage
    options = template
    raft = try Raft(template)
  }

  func append(_ state: HardState, _ entries: [Entry], _ snapshot: Snapshot) throws {
    if !state.isEmpty { storage.set(state) }
    if snapshot.isEmpty { return try storage.append(entries) }
    if !entries.isEmpty { throw ScriptFailure("can't apply snapshot and entries at the same time") }
    try storage.apply(snapshot)
  }

  func apply(_ entries: [Entry]) throws {
    for entry in entries {
      var next = history.last
      if let change = try ConfigChange.decode(entry) {
        next.members = try raft.apply(change)
        next.data += change.context
      } else {
        next.data += entry.data
      }
      next.index = entry.index
      next.term = entry.term
      history.snapshots.append(next)
    }
  }
}
