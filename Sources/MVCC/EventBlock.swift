// The changes of one commit, kept beside the trees for watchers: the apply thread copies them while it has them in its
// hands, so that those who watch the present never read storage.
import NeedletailBytes

/// Where a change lies in a block: its key, the new fields and the previous ones, end to end from `start` on.
private struct EventEntry {
  var main: UInt64
  var sub: UInt32
  var isDelete: Bool
  var start: Int
  var keyCount: Int
  var fieldsCount: Int
  /// -1: there are none.
  var previousCount: Int
}

/// Gathers the changes of the commit under way. Owns memory: `free` it, or `take` the block, which then owns it.
package struct EventCapture {
  private var bytes = OutBuffer()
  private var entries: [EventEntry] = []
  private let bytesMax: Int
  /// More was changed than the bound: nothing is kept, watchers read it from the log.
  package private(set) var isOverflown = false

  package init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// `previous`: the fields of the pair that was there. A pair that this revision itself has made counts for nothing:
  /// what was before the revision does.
  mutating func add(
    _ revision: Revision, isDelete: Bool, key: UnsafeRawBufferPointer, fields: UnsafeRawBufferPointer,
    previous: Version?
  ) {
    guard !isOverflown else { return }
    var entry = EventEntry(
      main: revision.main, sub: revision.sub, isDelete: isDelete, start: bytes.count, keyCount: key.count,
      fieldsCount: fields.count, previousCount: -1)
    bytes.append(key)
    bytes.append(fields)
    if let previous, !previous.isTombstone {
      if previous.revision.main != revision.main {
        entry.previousCount = previous.fields.count
        bytes.append(previous.fields)
      } else {
        keepEarlier(key, &entry)
      }
    }
    entries.append(entry)
    if bytes.count > bytesMax {
      isOverflown = true
      entries = []
      bytes.free()
    }
  }

  /// The key was changed by this revision before: what that change has replaced is the previous pair of this one, too.
  private mutating func keepEarlier(_ key: UnsafeRawBufferPointer, _ entry: inout EventEntry) {
    for earlier in entries.reversed() {
      guard earlier.main == entry.main else { return }
      let all = bytes.bytes
      let other = UnsafeRawBufferPointer(rebasing: all[earlier.start..<(earlier.start + earlier.keyCount)])
      guard compareBytes(other, key) == 0 else { continue }
      guard earlier.previousCount >= 0 else { return }
      let from = earlier.start + earlier.keyCount + earlier.fieldsCount
      // The room first: it may move what is copied.
      let target = bytes.reserve(earlier.previousCount)
      guard let base = bytes.start else { return }
      target.copyMemory(from: base + from, byteCount: earlier.previousCount)
      bytes.advance(earlier.previousCount)
      entry.previousCount = earlier.previousCount
      return
    }
  }

  package mutating func removeAll() {
    bytes.removeAll()
    entries.removeAll(keepingCapacity: true)
    isOverflown = false
  }

  /// The changes of (after, through], and an empty capture in their place; nil where they were too many.
  package mutating func take(after: UInt64, through: UInt64) -> EventBlock? {
    guard !isOverflown else {
      removeAll()
      return nil
    }
    let block = EventBlock(after: after, through: through, bytes, entries)
    bytes = OutBuffer()
    entries = []
    return block
  }

  package mutating func free() { bytes.free() }
}

/// All changes of the revisions (after, through], in order. Immutable: shared by reference.
package final class EventBlock: @unchecked Sendable {
  // Sendable: nothing changes after init; the memory lives as long as the block.
  package let after: UInt64
  package let through: UInt64
  private var bytes: OutBuffer
  private let entries: [EventEntry]

  fileprivate init(after: UInt64, through: UInt64, _ bytes: OutBuffer, _ entries: [EventEntry]) {
    self.after = after
    self.through = through
    self.bytes = bytes
    self.entries = entries
  }

  deinit { bytes.free() }

  package var count: Int { entries.count }
  /// What it takes in memory.
  package var byteCount: Int { bytes.capacity + entries.count * MemoryLayout<EventEntry>.stride }

  /// Calls `body` with each change of a revision above `revision`. The pointers live as long as the block.
  package func forEach(after revision: UInt64, _ body: (ChangeEvent) -> Void) {
    let all = bytes.bytes
    for entry in entries where entry.main > revision {
      let keyEnd = entry.start + entry.keyCount
      let fieldsEnd = keyEnd + entry.fieldsCount
      var event = ChangeEvent(
        revision: Revision(main: entry.main, sub: entry.sub), isDelete: entry.isDelete,
        key: UnsafeRawBufferPointer(rebasing: all[entry.start..<keyEnd]))
      event.fields = UnsafeRawBufferPointer(rebasing: all[keyEnd..<fieldsEnd])
      if entry.previousCount >= 0 {
        event.previous = UnsafeRawBufferPointer(rebasing: all[fieldsEnd..<(fieldsEnd + entry.previousCount)])
      }
      body(event)
    }
  }
}
