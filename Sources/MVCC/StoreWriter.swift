// The write side: commands become edits of the three trees and bytes of an answer. One thread, the only writer, owns it.
import NeedletailBackend
import NeedletailBytes

package struct PutCommand {
  package var key: UnsafeRawBufferPointer
  package var value: UnsafeRawBufferPointer
  package var lease: Int64 = 0
  package var prevKV = false
  package var ignoreValue = false
  package var ignoreLease = false

  package init(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    self.key = key
    self.value = value
  }

  /// What can be refused without looking at the store; the same rule before proposing and when applying.
  package func validate(keyLimit: Int) throws(MVCCError) {
    guard key.count > 0 else { throw .keyNotProvided }
    guard !ignoreValue || value.count == 0 else { throw .valueProvided }
    guard !ignoreLease || lease == 0 else { throw .leaseProvided }
    guard key.count <= keyLimit else { throw .keyTooLong(limit: keyLimit) }
  }
}

package struct DeleteRangeCommand {
  package var key: UnsafeRawBufferPointer
  package var rangeEnd: UnsafeRawBufferPointer
  package var prevKV = false

  package init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer = .init(start: nil, count: 0)) {
    self.key = key
    self.rangeEnd = rangeEnd
  }

  package func validate() throws(MVCCError) {
    guard key.count > 0 else { throw .keyNotProvided }
  }
}

/// Applies commands to a write batch. An error that is not fatal leaves the batch untouched by that command; a fatal one
/// must discard the batch (throw out of `Database.write`), after which `begin` starts again from what is published.
package final class StoreWriter {
  let store: Store
  /// Revision of the last change of the batch.
  package private(set) var revision: UInt64 = 0
  var compacted: UInt64 = 0
  var removal = Removal()
  /// What is raised, as the batch's edits left it.
  var alarms: AlarmKinds = []
  /// Place of the next change within the transaction that is being applied.
  private var sub: UInt32 = 0
  /// Built here before the tree copies them: the log row, the new version, deleted entries, previous values.
  private var row = OutBuffer()
  private var version = OutBuffer()
  var victims = OutBuffer()
  private var previous = OutBuffer()
  var leaseName = OutBuffer()
  var leaseKeys = OutBuffer()
  /// The batch's changes for watchers; nil while nobody watches.
  package var capture: EventCapture?

  package init(_ store: Store) {
    self.store = store
  }

  deinit {
    row.free()
    version.free()
    victims.free()
    previous.free()
    leaseName.free()
    leaseKeys.free()
    capture?.free()
  }

  /// Reads where the batch starts from. First call of every batch.
  package func begin(_ batch: WriteBatch) throws(MVCCError) {
    revision = batch.word(StoreWord.revision)
    compacted = batch.word(StoreWord.compactedRevision)
    try loadAlarms(batch)
  }

  /// Stores the revision reached and the log position that led to it. Last call of every batch.
  package func finish(_ batch: WriteBatch, appliedIndex: UInt64, appliedTerm: UInt64) {
    batch.setWord(StoreWord.revision, revision)
    batch.setWord(StoreWord.compactedRevision, compacted)
    batch.setWord(StoreWord.appliedIndex, mutant(.appliedIndexApartFromData) ? appliedIndex - 1 : appliedIndex)
    batch.setWord(StoreWord.appliedTerm, appliedTerm)
  }

  /// Everything until `endChange` is one revision, the next one.
  func beginChange() { sub = 0 }

  /// A revision passes only if something was changed.
  func endChange() { if sub > 0 { revision += 1 } }

  /// The trees as the edits left them, until the next edit.
  func state(_ batch: WriteBatch) throws(MVCCError) -> StoreState {
    do {
      return StoreState(
        current: try batch.view(store.current), graveyard: try batch.view(store.graveyard),
        log: try batch.view(store.log), leases: try batch.view(store.lease),
        meta: try batch.view(store.meta),
        revision: sub > 0 ? revision + 1 : revision, compacted: compacted)
    } catch {
      throw .storage(error)
    }
  }

  /// Appends a PutResponse body to `out`.
  package func put(
    _ batch: WriteBatch, _ command: PutCommand, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try command.validate(keyLimit: store.keyLimit)
    try alarms.check(needsSpace: true)
    if command.lease != 0, try lease(batch, command.lease) == nil || (mutant(.appliesByTheClock) && isClockOdd()) {
      throw .leaseNotFound
    }
    if command.ignoreValue || command.ignoreLease, try find(batch, store.current, command.key) == nil {
      throw .keyNotFound
    }
    beginChange()
    try put(batch, command, scope: .whole(term: term), into: &out)
    endChange()
  }

  /// The put itself; everything that can be refused has been. What it shall keep of a key that isn't there (because an
  /// earlier operation of its transaction deleted it) is empty.
  func put(
    _ batch: WriteBatch, _ command: PutCommand, scope: AnswerHeader.Scope, into out: inout OutBuffer
  ) throws(MVCCError) {
    let latest = try find(batch, store.current, command.key)
    let old = try latest.map { (bytes) throws(MVCCError) in try RecordFields(try Version(record: bytes).fields) }

    // The answer first: the old record's bytes are valid until the first edit.
    let main = revision + 1
    let fieldsAt = try latest.map { (bytes) throws(MVCCError) in try VersionHead.size(of: bytes) } ?? 0
    let room = AnswerHeader.maxSize + keyValueOverhead + command.key.count + (latest?.count ?? 0)
    let start = out.reserve(room)
    var at = store.header.write(start, revision: main, scope)
    if command.prevKV, let latest {
      let fields = UnsafeRawBufferPointer(rebasing: latest[fieldsAt...])
      at = writeKeyValue(at, tag: AnswerTag.putPrevKV, key: command.key, fields: fields)
    }
    out.advance(at - start)

    let fields = RecordFields(
      createRevision: old?.createRevision ?? main, modRevision: main, version: (old?.version ?? 0) + 1,
      value: command.ignoreValue ? old?.value ?? command.value : command.value,
      lease: command.ignoreLease ? old?.lease ?? 0 : UInt64(bitPattern: command.lease))
    let oldLease = Int64(bitPattern: old?.lease ?? 0)
    let newLease = Int64(bitPattern: fields.lease)
    try replace(batch, command.key, latest: latest, with: fields, main: main)
    try attach(batch, command.key, from: oldLease, to: newLease)
  }

  /// Appends a DeleteRangeResponse body to `out`. Deletes in key order; deleting nothing leaves the revision.
  package func deleteRange(
    _ batch: WriteBatch, _ command: DeleteRangeCommand, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try command.validate()
    try alarms.check(needsSpace: false)
    beginChange()
    try deleteRange(batch, command, scope: .whole(term: term), into: &out)
    endChange()
  }

  func deleteRange(
    _ batch: WriteBatch, _ command: DeleteRangeCommand, scope: AnswerHeader.Scope, into out: inout OutBuffer
  ) throws(MVCCError) {
    previous.removeAll()
    let range = KeyRange(key: command.key, rangeEnd: command.rangeEnd)
    let main = revision + 1
    var deleted: UInt64 = 0
    if range.kind == .single {
      if command.key.count <= store.keyLimit, let record = try find(batch, store.current, command.key) {
        try delete(batch, command.key, record, main: main, keepsPrevious: command.prevKV)
        deleted = 1
      }
    } else if !range.isEmpty {
      while try collectVictims(batch, range) {
        deleted += try deleteVictims(batch, main: main, keepsPrevious: command.prevKV)
      }
    }

    let start = out.reserve(AnswerHeader.maxSize + 11)
    var at = store.header.write(start, revision: sub > 0 ? main : revision, scope)
    if deleted > 0 { at = writeVarint(deleted, writeByte(AnswerTag.deleted, at)) }
    out.advance(at - start)
    out.append(previous.bytes)
  }

  func find(
    _ batch: WriteBatch, _ tree: TreeID, _ key: UnsafeRawBufferPointer
  ) throws(MVCCError) -> UnsafeRawBufferPointer? {
    do { return try batch.get(tree, key) } catch { throw .storage(error) }
  }

  func put(
    _ batch: WriteBatch, _ tree: TreeID, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) throws(MVCCError) {
    do { try batch.put(tree, key, value) } catch { throw .storage(error) }
  }

  func remove(_ batch: WriteBatch, _ tree: TreeID, _ key: UnsafeRawBufferPointer) throws(MVCCError) {
    let existed: Bool
    do { existed = try batch.delete(tree, key) } catch { throw .storage(error) }
    guard existed else { throw .corrupt("a key vanished while it was changed") }
  }

  /// Makes `fields` the key's latest version. What it replaces, living or dead, moves into the log row.
  private func replace(
    _ batch: WriteBatch, _ key: UnsafeRawBufferPointer, latest: UnsafeRawBufferPointer?, with fields: RecordFields,
    main: UInt64
  ) throws(MVCCError) {
    let tombstone = latest == nil ? try find(batch, store.graveyard, key) : nil
    let replaced: Version?
    if let latest {
      replaced = try Version(record: latest)
    } else {
      replaced = try tombstone.map { (bytes) throws(MVCCError) in try Version(tombstone: bytes) }
    }
    let kind: LogRow.Replaced = latest != nil ? .record : tombstone != nil ? .tombstone : .nothing
    buildRow(.put, key, replaced: kind, latest ?? tombstone)
    let head = HeadBuilder(sub: sub, replacing: replaced, compacted: compacted)
    version.removeAll()
    let start = version.reserve(head.size + fields.encodedSize(keysOnly: false))
    version.advance(fields.write(head.write(start), keysOnly: false) - start)
    let isRevival = tombstone != nil
    if capture != nil {
      let made = UnsafeRawBufferPointer(rebasing: version.bytes[head.size...])
      capture?.add(Revision(main: main, sub: sub), isDelete: false, key: key, fields: made, previous: replaced)
    }

    // From the first edit on, nothing that points into pages is used any more.
    try appendRow(batch, main)
    if isRevival { try remove(batch, store.graveyard, key) }
    try put(batch, store.current, key, version.bytes)
    sub += 1
  }

  /// Moves a living key to the graveyard and its last record into the log row.
  func delete(
    _ batch: WriteBatch, _ key: UnsafeRawBufferPointer, _ record: UnsafeRawBufferPointer, main: UInt64,
    keepsPrevious: Bool
  ) throws(MVCCError) {
    let replaced = try Version(record: record)
    let lease = Int64(bitPattern: try RecordFields(replaced.fields).lease)
    if keepsPrevious {
      let start = previous.reserve(keyValueOverhead + key.count + replaced.fields.count)
      let end = writeKeyValue(start, tag: AnswerTag.deletePrevKVs, key: key, fields: replaced.fields)
      previous.advance(end - start)
    }
    buildRow(.delete, key, replaced: .record, record)
    let head = HeadBuilder(sub: sub, replacing: replaced, compacted: compacted)
    version.removeAll()
    let start = version.reserve(head.size + 8)
    let at = head.write(start)
    at.storeBytes(of: main.littleEndian, as: UInt64.self)
    version.advance(at + 8 - start)
    if capture != nil {
      capture?.add(
        Revision(main: main, sub: sub), isDelete: true, key: key, fields: UnsafeRawBufferPointer(start: nil, count: 0),
        previous: replaced)
    }

    try appendRow(batch, main)
    try put(batch, store.graveyard, key, version.bytes)
    try remove(batch, store.current, key)
    if lease != 0 { try detach(batch, key, from: lease) }
    sub += 1
  }

  private func buildRow(
    _ kind: LogRow.Kind, _ key: UnsafeRawBufferPointer, replaced: LogRow.Replaced, _ old: UnsafeRawBufferPointer?
  ) {
    row.removeAll()
    let start = row.reserve(LogRow.fixedSize)
    start.storeBytes(of: kind.rawValue | replaced.rawValue << 4, as: UInt8.self)
    start.storeBytes(of: UInt32(key.count).littleEndian, toByteOffset: 1, as: UInt32.self)
    row.advance(LogRow.fixedSize)
    row.append(key)
    if let old { row.append(old) }
  }

  /// Writes the row that was built at (main, sub).
  private func appendRow(_ batch: WriteBatch, _ main: UInt64) throws(MVCCError) {
    try LogKey(Revision(main: main, sub: sub)).withBytes { (name) throws(MVCCError) in
      try put(batch, store.log, name, row.bytes)
    }
  }
}

// Deleting a range: edits invalidate the cursor, so that victims are copied out in bounded rounds first.
extension StoreWriter {
  private static let victimBytes = 1 << 18

  /// Copies out the next living keys of the range with their records: {key length u32, record length u32, key, record}.
  /// False when none is left.
  private func collectVictims(_ batch: WriteBatch, _ range: KeyRange) throws(MVCCError) -> Bool {
    victims.removeAll()
    var cursor = try livingKeys(batch)
    var isValid = try cursor.move(to: range.lower)
    while isValid, victims.count < StoreWriter.victimBytes {
      let key = try cursor.name
      guard range.isBelowUpper(key) else { break }
      let record = try cursor.record
      let start = victims.reserve(8 + key.count + record.count)
      start.storeBytes(of: UInt32(key.count), as: UInt32.self)
      start.storeBytes(of: UInt32(record.count), toByteOffset: 4, as: UInt32.self)
      victims.advance(8)
      victims.append(key)
      victims.append(record)
      isValid = try cursor.step()
    }
    return victims.count > 0
  }

  private func livingKeys(_ batch: WriteBatch) throws(MVCCError) -> Cursor {
    do { return try batch.cursor(store.current) } catch { throw .storage(error) }
  }

  private func deleteVictims(_ batch: WriteBatch, main: UInt64, keepsPrevious: Bool) throws(MVCCError) -> UInt64 {
    let bytes = victims.bytes
    var at = 0
    var deleted: UInt64 = 0
    while at < bytes.count {
      let keyCount = Int(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      let recordCount = Int(bytes.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self))
      let record = at + 8 + keyCount
      try delete(
        batch, UnsafeRawBufferPointer(rebasing: bytes[(at + 8)..<record]),
        UnsafeRawBufferPointer(rebasing: bytes[record..<(record + recordCount)]), main: main,
        keepsPrevious: keepsPrevious)
      at = record + recordCount
      deleted += 1
    }
    return deleted
  }
}
