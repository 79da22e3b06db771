// Is the file what it should be? Walks every tree of a snapshot and compares with the free-space bitmap: each page is
// reachable exactly once or free; keys in order and inside their fences; prefixes, counts, levels and checksums right.

import CNeedletail
import Glibc

/// What a check saw: figures per tree, and everything that is wrong (at most `problemsMax` of it).
public struct CheckReport: Sendable {
  public struct Tree: Sendable {
    public var name: String
    public var levels = 0
    public var entries: UInt64 = 0
    public var leafPages: UInt64 = 0
    public var branchPages: UInt64 = 0
    public var overflowPages: UInt64 = 0
    /// Bytes used in leaf and branch pages, of `(leafPages + branchPages) × page size`.
    public var usedBytes: UInt64 = 0
  }
  public struct Problem: Sendable, Equatable {
    public var page: UInt32
    public var reason: CorruptionReason
    public var detail: String
  }
  public static let problemsMax = 100
  public internal(set) var trees: [Tree] = []
  public internal(set) var problems: [Problem] = []
  public internal(set) var pages: UInt64 = 0
  public internal(set) var freePages: UInt64 = 0
  public var isClean: Bool { problems.isEmpty }
}

struct TreeChecker {
  private let source: PageSource
  private let geometry: PageGeometry
  private let transaction: UInt64
  private(set) var report = CheckReport()
  private var reached: Bitmap
  private var buffer: [UInt8]

  init(source: PageSource, geometry: PageGeometry, transaction: UInt64) {
    self.source = source
    self.geometry = geometry
    self.transaction = transaction
    reached = Bitmap(count: Int(source.limit))
    buffer = [UInt8](repeating: 0, count: geometry.pageSize * 2 + 16)
  }

  /// A subtree's surroundings: its fences, and what the parent says of it.
  private struct Expectation {
    var level: Int
    var low: [UInt8]?
    var high: [UInt8]?
    var live: UInt64
    var transaction: UInt64
    var treePrefix: Int?
  }

  mutating func check(name: String, tree id: UInt8, root: TreeRoot) {
    report.trees.append(.init(name: name, levels: root.page == 0 ? 0 : Int(root.level) + 1))
    guard root.page != 0 else {
      if root.live != 0 { problem(0, .count, "empty tree \(name) counts \(root.live) entries") }
      return
    }
    let expected = Expectation(
      level: Int(root.level), low: nil, high: nil, live: root.live, transaction: transaction, treePrefix: nil)
    visit(root.page, tree: id, expected)
  }

  /// Every page that is not reachable must be free, and the other way round.
  mutating func checkFreeSpace(_ free: FreeSpace) {
    report.pages = UInt64(free.pages)
    report.freePages = UInt64(free.reusablePages)
    for page in 0..<free.pages where free.live.contains(page) != (page < reached.count && reached.contains(page)) {
      if free.live.contains(page) {
        problem(PageID(page), .leakedPage, "marked as used")
      } else {
        problem(PageID(page), .freePage, "not marked as used")
      }
    }
  }

  private mutating func problem(_ page: PageID, _ reason: CorruptionReason, _ detail: String = "") {
    guard report.problems.count < CheckReport.problemsMax else { return }
    report.problems.append(.init(page: page, reason: reason, detail: detail))
  }

  /// Marks pages as reached; false where one was reached before, which also ends cycles.
  private mutating func reach(_ first: PageID, count: Int) -> Bool {
    for page in Int(first)..<Int(first) + count {
      if reached.contains(page) {
        problem(PageID(page), .sharedPage)
        return false
      }
      reached.insert(page)
    }
    return true
  }

  private mutating func visit(_ id: PageID, tree: UInt8, _ expected: Expectation) {
    guard id != 0, id < source.limit else { return problem(id, .pageOutOfFile) }
    guard reach(id, count: 1) else { return }
    let page = source.address(id)
    let header = PageHeader(page)
    guard header.id == id else { return problem(id, .identity, "it says \(header.id)") }
    guard header.kind == PageHeader.kind(level: expected.level) else {
      return problem(id, .kind, "type \(header.type) level \(header.level), expected level \(expected.level)")
    }
    guard header.checksum(pageSize: geometry.pageSize) == header.crc else { return problem(id, .checksum) }
    if header.tree != tree { problem(id, .kind, "page of tree \(header.tree) in tree \(tree)") }
    if header.transaction > expected.transaction {
      problem(id, .transaction, "\(header.transaction) under \(expected.transaction)")
    }
    if expected.level == 0 { visitLeaf(page, id, expected) } else { visitBranch(page, id, tree, expected) }
  }

  /// The prefix that follows from the fences.
  private func impliedPrefix(_ own: Int, _ expected: Expectation) -> Int {
    guard let low = expected.low, let high = expected.high else { return expected.treePrefix ?? own }
    let shared = low.withUnsafeBytes { low in high.withUnsafeBytes { commonPrefix(low, $0) } }
    return min(shared, geometry.prefixMax)
  }

  private func isInside(_ key: [UInt8], _ expected: Expectation) -> Bool {
    if let low = expected.low, Self.compare(key, low) < 0 { return false }
    if let high = expected.high, Self.compare(key, high) >= 0 { return false }
    return true
  }

  private static func compare(_ a: [UInt8], _ b: [UInt8]) -> Int {
    a.withUnsafeBytes { a in b.withUnsafeBytes { compareKeys(a, $0) } }
  }

  private mutating func visitLeaf(_ page: UnsafeRawPointer, _ id: PageID, _ expected: Expectation) {
    let pageSize = geometry.pageSize
    let leaf = LeafPage(page)
    guard leaf.isWellFormed(pageSize: pageSize), leaf.header.upper >= leaf.lower, leaf.header.upper <= pageSize else {
      return problem(id, .bounds, "arrays")
    }
    if leaf.prefixLength != impliedPrefix(leaf.prefixLength, expected) {
      problem(id, .prefix, "\(leaf.prefixLength), fences say \(impliedPrefix(leaf.prefixLength, expected))")
    }
    let n = leaf.count
    if UInt64(n) != expected.live { problem(id, .count, "\(n) entries, parent says \(expected.live)") }
    var previous: [UInt8]?
    var recordBytes = 0
    for i in 0..<n {
      let record = leaf.recordOffset(i, count: n)
      guard leaf.isRecordInside(record, pageSize: pageSize), record >= leaf.header.upper,
        leaf.keyLength(i) <= geometry.keyMax
      else {
        problem(id, .bounds, "record \(i)")
        continue
      }
      recordBytes += leaf.recordLength(record)
      let key = key(of: leaf, i)
      if let previous, Self.compare(previous, key) >= 0 { problem(id, .order, "entry \(i)") }
      if !isInside(key, expected) { problem(id, .fences, "entry \(i)") }
      if leaf.isOverflow(record) {
        visitOverflow(OverflowReference(page + record + 4 + leaf.tailLength(record)), expected.transaction)
      }
      previous = key
    }
    if recordBytes + leaf.header.garbage != pageSize - leaf.header.upper {
      problem(id, .bounds, "\(recordBytes) record bytes and \(leaf.header.garbage) garbage behind \(leaf.header.upper)")
    }
    let last = report.trees.count - 1
    report.trees[last].entries += UInt64(n)
    report.trees[last].leafPages += 1
    report.trees[last].usedBytes += UInt64(leaf.lower + recordBytes)
  }

  private mutating func key(of leaf: LeafPage, _ i: Int) -> [UInt8] {
    buffer.withUnsafeMutableBytes { bytes in
      guard let base = bytes.baseAddress else { return [] }
      return [UInt8](UnsafeRawBufferPointer(start: base, count: leaf.copyKey(i, to: base)))
    }
  }

  private mutating func visitOverflow(_ run: OverflowReference, _ transaction: UInt64) {
    let pages = OverflowReference.pages(length: run.length, pageSize: geometry.pageSize)
    guard run.length <= UInt64(Int32.max), UInt64(run.first) + pages <= UInt64(source.limit) else {
      return problem(run.first, .pageOutOfFile)
    }
    guard reach(run.first, count: Int(pages)) else { return }
    report.trees[report.trees.count - 1].overflowPages += pages
    let page = source.address(run.first)
    let header = PageHeader(page)
    guard header.id == run.first, header.type == PageType.overflow.rawValue else {
      return problem(run.first, .identity, "overflow run")
    }
    guard header.isOverflowIntact else { return problem(run.first, .checksum, "header") }
    if header.transaction > transaction { problem(run.first, .transaction, "overflow run") }
    if nt_crc32c(0, page + headerSize, Int(run.length)) != run.crc { problem(run.first, .checksum, "value") }
  }

  private mutating func visitBranch(
    _ page: UnsafeRawPointer, _ id: PageID, _ tree: UInt8, _ expected: Expectation
  ) {
    let pageSize = geometry.pageSize
    let branch = BranchPage(page)
    guard branch.isWellFormed(pageSize: pageSize), branch.tailsAreInside(pageSize: pageSize),
      branch.header.upper >= branch.lower, branch.header.upper + branch.header.garbage <= pageSize
    else { return problem(id, .bounds, "arrays") }
    if branch.prefixLength != impliedPrefix(branch.prefixLength, expected) {
      problem(id, .prefix, "\(branch.prefixLength), fences say \(impliedPrefix(branch.prefixLength, expected))")
    }
    if branch.totalCount != expected.live {
      problem(id, .count, "\(branch.totalCount) entries, parent says \(expected.live)")
    }
    for j in 0..<branch.count >> 4 where page.u64(headerSize + 8 * j) != branch.head(16 * j + 15, count: branch.count) {
      problem(id, .order, "sample \(j)")
    }
    let last = report.trees.count - 1
    report.trees[last].branchPages += 1
    report.trees[last].usedBytes += UInt64(branch.lower + pageSize - branch.header.upper - branch.header.garbage)
    let contents = BranchContents(branch, keyBuffer: &buffer)
    for (i, child) in contents.children.enumerated() {
      var below = expected
      below.level -= 1
      below.low = i > 0 ? contents.separators[i - 1] : expected.low
      below.high = i < contents.separators.count ? contents.separators[i] : expected.high
      below.live = child.live
      below.transaction = branch.header.transaction
      below.treePrefix = expected.treePrefix ?? branch.prefixLength
      if let low = below.low, let high = below.high, Self.compare(low, high) >= 0 {
        problem(id, .order, "separator \(i)")
      }
      visit(child.id, tree: tree, below)
    }
  }
}

extension Database {
  /// Checks the published snapshot, whole. Writers wait while it runs: the free-space bitmap must not change under it.
  public func check() throws(DatabaseError) -> CheckReport {
    try withWriter { (writer) throws(DatabaseError) in
      if writer.isClosed { throw .closed }
      let snapshot = readers.current
      let source = PageSource(
        base: store.base, shift: geometry.shift, pageSize: geometry.pageSize, limit: snapshot.pointee.limit,
        verified: nil, scratch: nil)
      var checker = TreeChecker(
        source: source, geometry: geometry, transaction: snapshot.pointee.transaction.load(ordering: .relaxed))
      for (i, name) in writer.names.enumerated() {
        checker.check(name: name, tree: UInt8(i), root: snapshot.pointee.roots[i])
      }
      checker.checkFreeSpace(writer.free)
      return checker.report
    }
  }
}
