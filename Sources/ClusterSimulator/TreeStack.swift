// The engine and the store of one member, over its simulated disk.

import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

final class TreeStack {
  struct Outcome {
    var index: UInt64
    var command: ClusterCommand
    var answer: Result<[UInt8], MVCCError>
  }

  let pages: SimulatedPageStore
  let database: Database
  let store: Store
  private let writer: StoreWriter
  private let reader: ReaderHandle
  private let memberTree: TreeID
  /// The last entry in the tree.
  private(set) var applied: LogMark
  /// The membership as of that entry, which the tree holds beside the data.
  private(set) var members: ConfigState
  /// What the last `apply` has changed; nil where that is nothing, or too much to keep.
  private(set) var changes: EventBlock?
  private(set) var hasLostChanges = false
  /// The last entry in the tree's newest checkpoint, of those made since it was opened.
  private(set) var checkpointed: LogMark

  /// Where founders begin: an empty store as of entry 1. Who joins later begins with nothing.
  private static let beginning = LogMark(index: 1, term: 1)
  private static let identity = StoreIdentity(clusterID: 7, memberID: 1)
  private static let memberKey = Array("members".utf8)

  /// `founders`: the first membership, for those who are in it; nil for who joins later.
  init(_ pages: SimulatedPageStore, founders: ConfigState?) throws {
    var options = DatabaseOptions()
    options.membarrier = false
    options.readersMax = 4
    self.pages = pages
    database = try Database(store: pages, path: "simulated", options: options)
    store = try Store.open(database, identity: TreeStack.identity)
    writer = StoreWriter(store)
    // Small, so that it overflows now and then.
    writer.capture = EventCapture(bytesMax: 6000)
    memberTree = try database.write { batch in try batch.openTree("members") }
    reader = try database.makeReader()
    let view = reader.pin()
    defer { reader.unpin() }
    applied = LogMark(index: view.word(StoreWord.appliedIndex), term: view.word(StoreWord.appliedTerm))
    members = founders ?? ConfigState()
    if applied.index == 0, founders != nil { applied = TreeStack.beginning }
    checkpointed = applied
    let found = try TreeStack.memberKey.withUnsafeBytes { key in try view.tree(memberTree).get(key) }
    if let found {
      guard let state = ConfigState(bytes: found) else { throw MVCCError.corrupt("the membership") }
      members = state
    }
  }

  func close() {
    reader.free()
    database.close()
  }

  func checkpoint() throws {
    try database.checkpoint()
    checkpointed = applied
  }

  // MARK: Writing

  /// Applies entries in one commit; an outcome for each that is a command. `change` is asked what a change of the
  /// membership leads to; nil where it is applied as nothing.
  func apply(_ entries: [Entry], change: (Entry) throws -> ConfigState?) throws -> [Outcome] {
    guard let last = entries.last else { return [] }
    var outcomes: [Outcome] = []
    var members = members
    let before = UInt64(revisions.revision)
    writer.capture?.removeAll()
    try database.write { batch in
      try writer.begin(batch)
      for entry in entries where entry.index > applied.index {
        if entry.isConfigChange {
          guard let state = try change(entry) else { continue }
          members = state
          try store(state, batch)
          continue
        }
        guard !entry.data.isEmpty else { continue }
        guard let command = ClusterCommand(entry.data) else { throw Violation("entry \(entry.index) is no command") }
        let answer = command.apply(writer, batch, term: entry.term)
        if case .failure(let error) = answer, error.isFatal { throw error }
        outcomes.append(Outcome(index: entry.index, command: command, answer: answer))
      }
      writer.finish(batch, appliedIndex: last.index, appliedTerm: last.term)
    }
    let now = UInt64(revisions.revision)
    changes = now > before ? writer.capture?.take(after: before, through: now) : nil
    hasLostChanges = now > before && changes == nil
    applied = LogMark(index: last.index, term: last.term)
    self.members = members
    return outcomes
  }

  private func store(_ members: ConfigState, _ batch: WriteBatch) throws {
    try TreeStack.memberKey.withUnsafeBytes { key in
      try members.bytes.withUnsafeBytes { value in try batch.put(memberTree, key, value) }
    }
  }

  /// Removes a part of what compactions gave up.
  func removeCompacted(rowsMax: Int) throws {
    _ = try database.write { batch in try writer.removeCompacted(batch, rowsMax: rowsMax) }
  }

  // MARK: Reading

  /// The body of a range's answer. Throws where the store itself is broken.
  func range(_ key: [UInt8], end: [UInt8], revision: Int64) throws -> Result<[UInt8], MVCCError> {
    var out = OutBuffer()
    defer { out.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    do throws(MVCCError) {
      try withPointers([key, end]) { (fields) throws(MVCCError) in
        var query = RangeQuery(key: fields[0], rangeEnd: fields[1])
        query.revision = revision
        try store.range(view, query, into: &out)
      }
      return .success(Array(out.bytes))
    } catch {
      if error.isFatal { throw error }
      return .failure(error)
    }
  }

  /// The newest revision, and the compacted one.
  var revisions: (revision: Int64, compacted: Int64) {
    let view = reader.pin()
    defer { reader.unpin() }
    return (Int64(view.word(StoreWord.revision)), Int64(view.word(StoreWord.compactedRevision)))
  }

  /// Changes behind `after` to keys that are wanted, as a client reads them, and the revision up to which that is all.
  func changes(
    after: Int64, _ window: EventWindow, wants: (UnsafeRawBufferPointer) -> Bool
  ) throws -> (events: [WatchEvent], reached: Int64) {
    let view = reader.pin()
    defer { reader.unpin() }
    var wire = EventWire()
    let reached = try store.changes(view, after: UInt64(after), window, wants: wants) { wire.add($0) }
    return (try wire.take(), Int64(reached))
  }

  // MARK: Leases

  func allLeases() throws -> [(id: Int64, ttl: Int64)] {
    let view = reader.pin()
    defer { reader.unpin() }
    var all: [(Int64, Int64)] = []
    try store.forEachLease(view) { id, record in all.append((id, record.ttl)) }
    return all
  }

  /// The body of a LeaseTimeToLiveResponse.
  func leaseKeys(_ id: Int64) throws -> [UInt8] {
    let view = reader.pin()
    defer { reader.unpin() }
    var answer = LeaseResponse()
    answer.ttl = -1
    if let record = try store.lease(view, id) {
      answer.ttl = record.ttl
      answer.keys = try store.keys(of: id, view)
    }
    return answer.encoded()
  }

  /// Reads every page and compares all with all. Throws the first thing that is wrong.
  func verify() throws {
    guard let problem = try database.check().problems.first else { return }
    throw DatabaseError.corrupt(page: problem.page, reason: problem.reason)
  }
}
