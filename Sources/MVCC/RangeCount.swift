// Counting a range: two ranks at the latest revision; for the past, the shorter of two ways.
import NeedletailBackend

extension RangeReader {
  /// Keys in the range at the revision.
  func count() throws(MVCCError) -> UInt64 {
    if isLatest { return try entries(of: state.current) }
    if range.kind == .single { return try countByScan() }
    // Scanning meets every key of the range, living or dead. Correcting meets every change since the revision.
    let scanned = try entries(of: state.current) &+ (try entries(of: state.graveyard))
    let log = state.log
    let first = Revision(main: revision + 1, sub: 0)
    let changesBefore = try LogKey(first).withBytes { (name) throws(MVCCError) in try log.position(of: name) }
    return log.count &- changesBefore < scanned ? try countByCorrection(from: first) : try countByScan()
  }

  /// Entries of a tree in the range. O(log n).
  private func entries(of tree: TreeView) throws(MVCCError) -> UInt64 {
    switch range.kind {
    case .single: return range.lower.count > store.keyLimit ? 0 : try tree.find(range.lower) == nil ? 0 : 1
    case .unbounded: return tree.count &- (try tree.position(of: range.lower))
    case .bounded: return try tree.position(of: range.upper) &- (try tree.position(of: range.lower))
    }
  }

  func countByScan() throws(MVCCError) -> UInt64 {
    var scan = PastScan(self, descends: false)
    var entry = ScanEntry()
    var count: UInt64 = 0
    while try scan.next(&entry) { count += 1 }
    return count
  }

  /// The count now, plus the keys that existed before their first change since the revision, less those that exist after
  /// their last one.
  func countByCorrection(from first: Revision) throws(MVCCError) -> UInt64 {
    var existedAtFirst: UInt64 = 0
    var existsAtLast: [PinnedKey: Bool] = [:]
    var cursor = state.log.cursor()
    var isValid = try LogKey(first).withBytes { (name) throws(MVCCError) in try cursor.move(to: name) }
    while isValid {
      let row = try LogRow(try cursor.record)
      if range.contains(row.key) {
        let key = PinnedKey(bytes: row.key)
        if existsAtLast.updateValue(row.kind == .put, forKey: key) == nil, row.replaced == .record {
          existedAtFirst += 1
        }
      }
      isValid = try cursor.step()
    }
    let existNow = existsAtLast.values.reduce(0 as UInt64) { $1 ? $0 + 1 : $0 }
    return try entries(of: state.current) &+ existedAtFirst &- existNow
  }
}
