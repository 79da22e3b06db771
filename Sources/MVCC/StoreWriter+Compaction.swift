// Compaction: a revision is named at once, by a command; what no read can reach from then on is removed in the
// background, a bounded part at a time.
//
// The log's rows below the compacted revision are a prefix of its tree. A row goes; if it was a deletion, so does the
// key's entry in the graveyard, unless the key was deleted again since: that entry belongs to a later row. Deletions at
// the compacted revision itself give up their entries too, while their rows stay until the next compaction. Where the
// work stands is told by what is left, so that a crash costs no more than the last part.
import NeedletailBackend
import NeedletailBytes

extension StoreWriter {
  /// Makes `wanted` the oldest revision that can be read, and appends a CompactionResponse body to `out`. A store that was
  /// never compacted takes revision 0 too, once, as etcd does.
  package func compact(
    _ batch: WriteBatch, to wanted: Int64, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try alarms.check(needsSpace: false)
    if wanted == 0, compacted == 0, try !state(batch).meta.wasCompactedToZero() {
      try MetaName.withCompactedToZero { (name) throws(MVCCError) in
        try put(batch, store.meta, name, UnsafeRawBufferPointer(start: nil, count: 0))
      }
    } else {
      guard wanted > Int64(clamping: compacted) else { throw .compacted }
    }
    guard wanted <= Int64(clamping: revision) else { throw .futureRevision }
    compacted = UInt64(wanted)
    let start = out.reserve(AnswerHeader.maxSize)
    out.advance(store.header.write(start, revision: revision, term: term) - start)
  }

  /// Removes at most `rowsMax` rows that the last compaction left without readers. Returns the bytes of what was looked
  /// at, or nil when nothing is left; a batch of its own, without `begin` and `finish`.
  package func removeCompacted(_ batch: WriteBatch, rowsMax: Int) throws(MVCCError) -> Int? {
    let target = batch.word(StoreWord.compactedRevision)
    guard batch.word(StoreWord.removedRevision) < target else { return nil }
    if removal.target != target { removal = Removal(target: target, nextSub: 0) }
    victims.removeAll()
    let isLast = try collectRows(batch, rowsMax: rowsMax)
    try removeRows(batch)
    if isLast { batch.setWord(StoreWord.removedRevision, target) }
    return victims.count
  }

  /// How far the deletions at the compacted revision have been looked at: their rows stay, and can't tell.
  struct Removal {
    var target: UInt64 = 0
    var nextSub: UInt32 = 0
  }

  /// Copies out the next rows: {1 if the row goes, 12 bytes of its key, length of the user key of a deletion, that key}.
  /// True where these are the last.
  private func collectRows(_ batch: WriteBatch, rowsMax: Int) throws(MVCCError) -> Bool {
    var cursor: Cursor
    do { cursor = try batch.cursor(store.log) } catch { throw .storage(error) }
    var isValid = try LogKey(Revision(main: 0, sub: 0)).withBytes { (name) throws(MVCCError) in
      try cursor.move(to: name)
    }
    var rows = 0
    while isValid, rows < rowsMax {
      let revision = try LogKey.decode(try cursor.name)
      guard revision.main < removal.target else { break }
      try note(try cursor.name, try LogRow(try cursor.record), goes: true)
      rows += 1
      isValid = try cursor.step()
    }
    guard rows < rowsMax else { return false }
    let first = Revision(main: removal.target, sub: removal.nextSub)
    isValid = try LogKey(first).withBytes { (name) throws(MVCCError) in try cursor.move(to: name) }
    while isValid, rows < rowsMax {
      let revision = try LogKey.decode(try cursor.name)
      guard revision.main == removal.target else { return true }
      try note(try cursor.name, try LogRow(try cursor.record), goes: false)
      removal.nextSub = revision.sub + 1
      rows += 1
      isValid = try cursor.step()
    }
    return !isValid
  }

  private func note(_ name: UnsafeRawBufferPointer, _ row: LogRow, goes: Bool) throws(MVCCError) {
    let key = row.kind == .delete ? row.key : UnsafeRawBufferPointer(start: nil, count: 0)
    victims.append(byte: goes ? 1 : 0)
    victims.append(name)
    victims.reserve(4).storeBytes(of: UInt32(key.count), as: UInt32.self)
    victims.advance(4)
    victims.append(key)
  }

  private func removeRows(_ batch: WriteBatch) throws(MVCCError) {
    let bytes = victims.bytes
    var at = 0
    while at < bytes.count {
      let name = UnsafeRawBufferPointer(rebasing: bytes[(at + 1)..<(at + 1 + LogKey.size)])
      let keyStart = at + 1 + LogKey.size + 4
      let keyCount = Int(bytes.loadUnaligned(fromByteOffset: keyStart - 4, as: UInt32.self))
      if keyCount > 0 {
        try bury(batch, UnsafeRawBufferPointer(rebasing: bytes[keyStart..<(keyStart + keyCount)]))
      }
      if bytes[at] == 1 { try remove(batch, store.log, name) }
      at = keyStart + keyCount
    }
  }

  /// Removes the key's entry in the graveyard unless it is younger than the compaction.
  private func bury(_ batch: WriteBatch, _ key: UnsafeRawBufferPointer) throws(MVCCError) {
    guard let entry = try find(batch, store.graveyard, key) else { return }
    guard try Version(tombstone: entry).revision.main <= removal.target else { return }
    try remove(batch, store.graveyard, key)
  }
}
