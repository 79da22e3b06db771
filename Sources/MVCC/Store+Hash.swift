// Hashes of what the store holds, for comparing members: of decoded events and pairs, never of rows as they lie in pages,
// because how far removal has come, and where links lead, differs by member.
//
// CRC-32C over a stream of records, all integers little-endian:
//
//   event of (C, r], in order    1 = put or 2 = delete, main u64, sub u32, key length u32, key, what it replaced:
//                                0 = nothing, or 1, length u32 and the pair's fields 2…6 in protobuf, or 2, main u64 of
//                                the deletion and sub u32; a deletion at or below C counts as nothing
//   pair visible at r, in order  3, key length u32, key, length u32, fields 2…6
//
// The value that an event wrote is in what the next event of its key replaced, or among the pairs at r: nothing is read
// twice, and the history of a key needs no lookups.
import CNeedletail
import NeedletailBackend

package struct StoreHash: Equatable, Sendable {
  package var hash: UInt32
  /// Two hashes say something about each other only where these two are equal.
  package var compactedRevision: UInt64
  /// A compaction to revision 0 counts.
  package var wasCompacted: Bool
  package var revision: UInt64
  /// The newest revision of the snapshot that was hashed.
  package var currentRevision: UInt64
}

/// CRC-32C over numbers and bytes.
private struct Hasher32 {
  private(set) var value: UInt32 = 0

  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    value = nt_crc32c(value, start, bytes.count)
  }

  mutating func add(_ number: some FixedWidthInteger) {
    var number = number.littleEndian
    withUnsafeBytes(of: &number) { add($0) }
  }

  mutating func addCounted(_ bytes: UnsafeRawBufferPointer) {
    add(UInt32(truncatingIfNeeded: bytes.count))
    add(bytes)
  }
}

extension Store {
  /// Every so many records `goesOn` is asked.
  private static let recordsPerQuestion = 4096

  /// The hash at `revision`; 0 or less: the newest. Nil when `goesOn` said no. O(rows above the compacted revision +
  /// keys).
  package func hashKV(
    _ view: SnapshotView, revision asked: Int64, goesOn: @escaping () -> Bool = { true }
  ) throws(MVCCError) -> StoreHash? {
    let state = state(view)
    let revision = asked <= 0 ? state.revision : UInt64(asked)
    guard revision >= state.compacted else { throw .compacted }
    guard revision <= state.revision else { throw .futureRevision }
    var hasher = Hasher32()
    guard try addHistory(state, revision, to: &hasher, goesOn) else { return nil }
    return StoreHash(
      hash: hasher.value, compactedRevision: state.compacted, wasCompacted: try state.wasCompacted(),
      revision: revision, currentRevision: state.revision)
  }

  /// The hash at the newest revision, continued over leases and alarms as they lie in their trees: {4, name length u32,
  /// name, value length u32, value} each.
  package func hashAll(_ view: SnapshotView, goesOn: @escaping () -> Bool = { true }) throws(MVCCError) -> StoreHash? {
    let state = state(view)
    var hasher = Hasher32()
    guard try addHistory(state, state.revision, to: &hasher, goesOn) else { return nil }
    for tree in [state.leases, state.meta] {
      var cursor = tree.cursor()
      var isValid = try cursor.move(to: UnsafeRawBufferPointer(start: nil, count: 0))
      var question = Question(goesOn)
      while isValid {
        guard question.goesOn() else { return nil }
        hasher.add(4 as UInt8)
        hasher.addCounted(try cursor.name)
        hasher.addCounted(try cursor.record)
        isValid = try cursor.step()
      }
    }
    return StoreHash(
      hash: hasher.value, compactedRevision: state.compacted, wasCompacted: try state.wasCompacted(),
      revision: state.revision, currentRevision: state.revision)
  }

  /// Asks the caller now and then.
  private struct Question {
    private let ask: () -> Bool
    private var left = Store.recordsPerQuestion

    init(_ ask: @escaping () -> Bool) { self.ask = ask }

    mutating func goesOn() -> Bool {
      left -= 1
      guard left == 0 else { return true }
      left = Store.recordsPerQuestion
      return ask()
    }
  }

  private func addHistory(
    _ state: StoreState, _ revision: UInt64, to hasher: inout Hasher32, _ goesOn: @escaping () -> Bool
  ) throws(MVCCError) -> Bool {
    var question = Question(goesOn)
    guard try addEvents(state, revision, to: &hasher, &question) else { return false }
    return try addPairs(state, revision, to: &hasher, &question)
  }

  private func addEvents(
    _ state: StoreState, _ revision: UInt64, to hasher: inout Hasher32, _ question: inout Question
  ) throws(MVCCError) -> Bool {
    var cursor = state.log.cursor()
    let first = Revision(main: state.compacted + 1, sub: 0)
    var isValid = try LogKey(first).withBytes { (name) throws(MVCCError) in try cursor.move(to: name) }
    while isValid {
      guard question.goesOn() else { return false }
      let at = try LogKey.decode(try cursor.name)
      guard at.main <= revision else { break }
      let row = try LogRow(try cursor.record)
      hasher.add(row.kind.rawValue)
      hasher.add(at.main)
      hasher.add(at.sub)
      hasher.addCounted(row.key)
      let replaced = try row.replacedVersion()
      if let replaced, !replaced.isTombstone {
        hasher.add(1 as UInt8)
        hasher.addCounted(replaced.fields)
      } else if let replaced, replaced.revision.main > state.compacted {
        hasher.add(2 as UInt8)
        hasher.add(replaced.revision.main)
        hasher.add(replaced.revision.sub)
      } else {
        hasher.add(0 as UInt8)
      }
      isValid = try cursor.step()
    }
    return true
  }

  private func addPairs(
    _ state: StoreState, _ revision: UInt64, to hasher: inout Hasher32, _ question: inout Question
  ) throws(MVCCError) -> Bool {
    var entry = ScanEntry()
    if revision == state.revision {
      var scan = LatestScan(state, .everything)
      while try scan.next(&entry) {
        guard question.goesOn() else { return false }
        add(entry, to: &hasher)
      }
    } else {
      var scan = PastScan(
        RangeReader(store: self, state: state, range: .everything, revision: revision, bound: .max), descends: false)
      while try scan.next(&entry) {
        guard question.goesOn() else { return false }
        add(entry, to: &hasher)
      }
    }
    return true
  }

  private func add(_ entry: ScanEntry, to hasher: inout Hasher32) {
    hasher.add(3 as UInt8)
    hasher.addCounted(entry.key)
    hasher.addCounted(entry.fields)
  }
}
