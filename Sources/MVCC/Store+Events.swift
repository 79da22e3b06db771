// Changes of the past, read from the log tree of one pinned snapshot.
//
// A row of the log tells what a change replaced, not what it made: the value of a put lies in the row of the key's next
// change, and where that is beyond the window, in the version that a read at the window's end sees. So a window is gathered
// first, resolved from its end to its beginning, and then given in order. It is cut between revisions only.
import NeedletailBackend

/// How much of the log one call looks at. A revision is never cut, so that one larger than a bound is taken whole.
package struct EventWindow: Sendable {
  /// Rows looked at, and rows that `wants` accepted.
  package var rowsMax = 16_384
  package var changesMax = 512
  /// Bytes of keys and values given.
  package var bytesMax = 1 << 20

  package init() {}
}

extension Store {
  /// Calls `body` with the changes of (after, result] to keys that `wants` accepts, in order; all bytes are valid as long
  /// as the view is pinned. The result is the view's revision where the window's bounds allow it, and `after` where there
  /// is nothing newer. O(log n + rows + changes · log versions).
  ///
  /// `compacted` where a change after `after` may be gone already. Changes at the compacted revision are still there, but
  /// what they replaced is not: they come without a previous pair.
  package func changes(
    _ view: SnapshotView, after: UInt64, _ window: EventWindow = EventWindow(),
    wants: (UnsafeRawBufferPointer) -> Bool, _ body: (ChangeEvent) -> Void
  ) throws(MVCCError) -> UInt64 {
    let state = state(view)
    guard after < state.revision else { return after }
    guard after + 1 >= state.compacted else { throw .compacted }
    var reader = EventReader(self, state)
    let end = try reader.gather(after: after, window, wants)
    try reader.resolve(at: end)
    return reader.give(bytesMax: window.bytesMax, through: end, body)
  }
}

/// The changes of one window while they are put together.
private struct EventReader {
  private struct Change {
    var event: ChangeEvent
    /// What the row says was there before.
    var replaced: Version?
  }

  private let store: Store
  private let state: StoreState
  private var changes: [Change] = []

  init(_ store: Store, _ state: StoreState) {
    self.store = store
    self.state = state
  }

  /// Takes in the wanted rows behind `after`; returns the last revision that is wholly in.
  mutating func gather(
    after: UInt64, _ window: EventWindow, _ wants: (UnsafeRawBufferPointer) -> Bool
  ) throws(MVCCError) -> UInt64 {
    var cursor = state.log.cursor()
    var isValid = try LogKey(Revision(main: after + 1, sub: 0)).withBytes { (name) throws(MVCCError) in
      try cursor.move(to: name)
    }
    var rows = 0
    var reached = after
    while isValid {
      let revision = try LogKey.decode(try cursor.name)
      guard revision.main <= state.revision else { throw .corrupt("a log row beyond revision \(state.revision)") }
      if revision.main != reached {
        // Everything up to `reached` is in: the window may end here.
        if rows >= window.rowsMax || changes.count >= window.changesMax, reached > after { return reached }
        // Revisions that changed nothing have no rows.
        reached = revision.main
      }
      let row = try LogRow(try cursor.record)
      if wants(row.key) {
        let event = ChangeEvent(revision: revision, isDelete: row.kind == .delete, key: row.key)
        changes.append(Change(event: event, replaced: try row.replacedVersion()))
      }
      rows += 1
      isValid = try cursor.step()
    }
    return state.revision
  }

  /// Finds each put's fields and each change's previous pair. `end`: the window's last revision.
  mutating func resolve(at end: UInt64) throws(MVCCError) {
    // From the end: what the next change of a key replaced is what this one made.
    var made: [PinnedKey: Version?] = [:]
    for i in changes.indices.reversed() {
      let key = PinnedKey(bytes: changes[i].event.key)
      if !changes[i].event.isDelete {
        let version: Version?
        if let next = made[key] { version = next } else { version = try last(key.bytes, at: end) }
        guard let version, !version.isTombstone, version.revision == changes[i].event.revision else {
          let revision = changes[i].event.revision
          throw .corrupt("the log row at \(revision.main).\(revision.sub) belongs to no version")
        }
        changes[i].event.fields = version.fields
      }
      made[key] = .some(changes[i].replaced)
    }
    // In order: a pair that the same revision made is no previous one; what was before it is.
    var earlier: [PinnedKey: UnsafeRawBufferPointer?] = [:]
    var main: UInt64 = 0
    for i in changes.indices {
      let event = changes[i].event
      if event.revision.main != main {
        earlier.removeAll(keepingCapacity: true)
        main = event.revision.main
      }
      // The revision before a compacted one's changes can't be read any more.
      guard main > state.compacted, let replaced = changes[i].replaced, !replaced.isTombstone else { continue }
      let key = PinnedKey(bytes: event.key)
      let previous = replaced.revision.main == main ? earlier[key] ?? nil : replaced.fields
      changes[i].event.previous = previous
      earlier[key] = .some(previous)
    }
  }

  /// The version that a read at `end` sees.
  private func last(_ key: UnsafeRawBufferPointer, at end: UInt64) throws(MVCCError) -> Version? {
    let newest: Version
    if let record = try state.current.find(key) {
      newest = try Version(record: record)
    } else if let tombstone = try state.graveyard.find(key) {
      newest = try Version(tombstone: tombstone)
    } else {
      return nil
    }
    guard end < state.revision else { return newest }
    var history = History(state.log)
    return try history.version(of: key, from: newest, at: end)
  }

  /// Gives the changes, whole revisions until `bytesMax` is reached; returns the last revision given, or `end`.
  func give(bytesMax: Int, through end: UInt64, _ body: (ChangeEvent) -> Void) -> UInt64 {
    var bytes = 0
    var last: UInt64 = 0
    for change in changes {
      let event = change.event
      if event.revision.main != last {
        if bytes >= bytesMax { return last }
        last = event.revision.main
      }
      bytes += event.key.count + event.fields.count + (event.previous?.count ?? 0)
      body(event)
    }
    return end
  }
}
