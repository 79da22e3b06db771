// Reading what a database has on disk, page by page, to find damage before somebody needs the page.
//
// Why there is never a false alarm: each step pins a snapshot, and looks only at pages that this snapshot reaches. A page
// that a pinned snapshot reaches is neither written nor reused (see `Reclaimer`), and it was written whole before the
// snapshot was published; a direct read writes back what the page cache still holds of it first. So what is read must be
// right, whatever writers do meanwhile. Between steps nothing is pinned: the next one goes on behind the last key in
// whatever snapshot is then the newest. A page born behind the scrub is seen by the next pass.
//
// A step takes the leaves under one branch, 64 at most, in the order they have in the file, and their values in pages of
// their own. Behind the last tree come the meta and bitmap pages, which no tree reaches: see `Scrubber+Checkpoints`.

import CNeedletail
import Glibc

/// Used by one thread.
package final class Scrubber {
  package struct Damage: Sendable, Equatable {
    package var page: UInt32
    package var reason: CorruptionReason
    /// What it belongs to: "tree pods", "meta" or "bitmap".
    package var place: String
    /// Where the disk would not even be read: why.
    package var error: String?
  }

  /// What one step did.
  package struct Step: Sendable {
    package var pages: UInt64 = 0
    package var bytes: UInt64 = 0
    package var damage: [Damage] = []
    /// Everything was looked at once since the last time this was true.
    package var endsPass = false
  }

  /// Leaves of a step, and bytes after which it ends at the next leaf: what is pinned is pinned for that long.
  private static let leavesMax = 64
  private static let stepBytes: UInt64 = 4 << 20

  let database: Database
  let direct: DirectReader
  let geometry: PageGeometry
  private let reader: ReaderHandle
  private var view: SnapshotView
  /// Where the next step begins: a tree, and the first key it looks at; empty for the tree's start.
  private var tree = 0
  private var key: [UInt8] = []
  /// Behind the trees: the group of bitmap pages that is next, and how many groups a step takes.
  var group = 0
  var groupsMax = 16
  var step = Step()
  /// A page is read twice before it counts as damaged.
  private let page: UnsafeMutableRawPointer

  package init(_ database: Database) throws(DatabaseError) {
    self.database = database
    geometry = database.geometry
    direct = try DirectReader(database.store)
    reader = try database.makeReader()
    view = reader.pin()
    reader.unpin()
    page = .allocate(byteCount: geometry.pageSize, alignment: 64)
  }

  deinit {
    reader.free()
    page.deallocate()
  }

  /// False where the file system refuses to read past the page cache.
  package var isDirect: Bool { direct.isDirect }

  /// Looks at some pages: about 256 KiB, more where values are long.
  package func next() -> Step {
    step = Step()
    // What was read under another pin counts for nothing.
    direct.forget()
    if !nextOfTrees() {
      step.endsPass = !nextOfCheckpoints()
      if step.endsPass { (tree, key, group) = (0, [], 0) }
    }
    return step
  }

  /// False, and nothing is done, where there is no tree left.
  private func nextOfTrees() -> Bool {
    view = reader.pin()
    defer { reader.unpin() }
    if mutant(.scrubsWithoutPin) { reader.unpin() }
    guard tree < view.treeCount else { return false }
    let root = view.snapshot.pointee.roots[tree]
    if root.page == 0 {
      nextTree()
    } else if root.level == 0 {
      if let leaf = fetch(root.page, level: 0, parent: view.transaction) { checkValues(LeafPage(leaf)) }
      nextTree()
    } else {
      descend(root)
    }
    return true
  }

  private func nextTree() {
    tree += 1
    key = []
  }

  // MARK: The way down

  /// To the branch over the leaves that come next.
  private func descend(_ root: TreeRoot) {
    var id = root.page
    var level = Int(root.level)
    var parent = view.transaction
    // Everything behind this subtree begins here; empty: nothing does.
    var end: [UInt8] = []
    while true {
      guard let found = fetch(id, level: level, parent: parent) else {
        // What lies under a damaged branch cannot be found; what lies beside it can.
        return goOn(from: end)
      }
      let branch = BranchPage(found)
      if level == root.level, isBehind(branch) { return nextTree() }
      let index = childIndex(branch)
      if level == 1 { return scan(branch, from: index, end: end) }
      if index < branch.count { end = separator(branch, index) }
      parent = branch.header.transaction
      id = branch.child(index)
      level -= 1
    }
  }

  private func goOn(from end: [UInt8]) {
    if end.isEmpty { nextTree() } else { key = end }
  }

  /// The key was a separator once; the tree may have other keys now.
  private func isBehind(_ root: BranchPage) -> Bool {
    let prefix = UnsafeRawBufferPointer(start: root.prefix, count: root.prefixLength)
    let order = key.withUnsafeBytes { compareToPrefix($0, prefix) }
    if order < 0 { key = [] }
    return order > 0
  }

  private func childIndex(_ branch: BranchPage) -> Int {
    guard !key.isEmpty, branch.prefixLength <= key.count else { return 0 }
    return key.withUnsafeBytes { key in
      key.baseAddress.map { branch.childIndex($0, key.count, pageSize: geometry.pageSize) } ?? 0
    }
  }

  private func separator(_ branch: BranchPage, _ i: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 2 * geometry.pageSize + 8) { out, count in
      count = out.baseAddress.map { branch.copySeparator(i, to: UnsafeMutableRawPointer($0)) } ?? 0
    }
  }

  // MARK: Leaves

  private func scan(_ branch: BranchPage, from first: Int, end: [UInt8]) {
    let last = min(branch.count, first + Self.leavesMax - 1)
    let parent = branch.header.transaction
    // The branch lies in the one buffer for pages: what is needed of it is taken out first.
    let children = (first...last).map { i in
      (id: branch.child(i), behind: i < branch.count ? separator(branch, i) : end)
    }
    var leaves: [PageID: [UInt8]] = [:]
    let inOrder = children.map(\.id).sorted()
    for (i, id) in inOrder.enumerated() {
      readAhead(inOrder[i...])
      guard let leaf = fetch(id, level: 0, parent: parent) else { continue }
      // Most leaves have no values to follow.
      if hasOverflow(LeafPage(leaf)) {
        leaves[id] = [UInt8](UnsafeRawBufferPointer(start: leaf, count: geometry.pageSize))
      }
    }
    for child in children {
      if let leaf = leaves[child.id] {
        leaf.withUnsafeBytes { bytes in if let start = bytes.baseAddress { checkValues(LeafPage(start)) } }
      }
      goOn(from: child.behind)
      if step.bytes >= Self.stepBytes { return }
    }
  }

  /// One read for pages that lie close together; where it fails, each is read by itself and tells why.
  private func readAhead(_ ids: ArraySlice<PageID>) {
    guard let first = ids.first, var last = ids.first else { return }
    let pagesMax = DirectReader.readMax >> Int(geometry.shift)
    for id in ids.dropFirst() {
      guard id < view.snapshot.pointee.limit, Int(id - last) <= 4, Int(id - first) < pagesMax else { break }
      last = id
    }
    guard first != 0, last > first, last < view.snapshot.pointee.limit else { return }
    _ = try? direct.read(offset: UInt64(first) << geometry.shift, count: Int(last - first + 1) << Int(geometry.shift))
  }

  private func hasOverflow(_ leaf: LeafPage) -> Bool {
    (0..<leaf.count).contains { leaf.isOverflow(leaf.recordOffset($0, count: leaf.count)) }
  }

  /// Values in pages of their own, against the checksums that a sound leaf has of them.
  private func checkValues(_ leaf: LeafPage) {
    for i in 0..<leaf.count {
      let record = leaf.recordOffset(i, count: leaf.count)
      guard leaf.isOverflow(record) else { continue }
      let run = OverflowReference(leaf.page + record + 4 + leaf.tailLength(record))
      guard let problem = problem(of: run) else { continue }
      direct.forget()
      if let again = self.problem(of: run) {
        report(run.first, again.reason ?? problem.reason ?? .checksum, again.error)
      }
    }
  }

  // MARK: Reading

  typealias Problem = (reason: CorruptionReason?, error: String?)

  private func report(_ id: PageID, _ reason: CorruptionReason, _ error: String?) {
    let names = database.treeNames
    let place = "tree \(tree < names.count ? names[tree] : "")"
    step.damage.append(Damage(page: id, reason: reason, place: place, error: error))
  }

  /// A page of the tree from disk, in the buffer for pages, fit for its views; nil where it is damaged, which is noted.
  private func fetch(_ id: PageID, level: Int, parent: UInt64) -> UnsafeRawPointer? {
    guard let problem = problem(of: id, level: level, parent: parent) else { return UnsafeRawPointer(page) }
    // Once more: what counts is what is on disk, not a read that failed on its way.
    direct.forget()
    guard let again = self.problem(of: id, level: level, parent: parent) else { return UnsafeRawPointer(page) }
    report(id, again.reason ?? problem.reason ?? .checksum, again.error)
    return nil
  }

  private func problem(of id: PageID, level: Int, parent: UInt64) -> Problem? {
    guard id != 0, id < view.snapshot.pointee.limit else { return (.pageOutOfFile, nil) }
    do throws(DatabaseError) {
      let bytes = try direct.read(offset: UInt64(id) << geometry.shift, count: geometry.pageSize)
      page.copyMemory(from: bytes.baseAddress.unsafelyUnwrapped, byteCount: geometry.pageSize)
    } catch {
      return (nil, error.description)
    }
    step.pages += 1
    step.bytes += UInt64(geometry.pageSize)
    let header = PageHeader(UnsafeRawPointer(page))
    guard header.checksum(pageSize: geometry.pageSize) == header.crc else { return (.checksum, nil) }
    guard header.id == id else { return (.identity, nil) }
    guard header.kind == PageHeader.kind(level: level), Int(header.tree) == tree else { return (.kind, nil) }
    guard header.transaction <= parent else { return (.transaction, nil) }
    guard isWellFormed(level: level) else { return (.bounds, nil) }
    return nil
  }

  private func isWellFormed(level: Int) -> Bool {
    let pageSize = geometry.pageSize
    if level > 0 {
      let branch = BranchPage(UnsafeRawPointer(page))
      return branch.isWellFormed(pageSize: pageSize) && branch.tailsAreInside(pageSize: pageSize)
    }
    let leaf = LeafPage(UnsafeRawPointer(page))
    guard leaf.isWellFormed(pageSize: pageSize) else { return false }
    let n = leaf.count
    return (0..<n).allSatisfy { leaf.isRecordInside(leaf.recordOffset($0, count: n), pageSize: pageSize) }
  }

  private func problem(of run: OverflowReference) -> Problem? {
    guard run.length <= UInt64(Int32.max) else { return (.bounds, nil) }
    let pages = OverflowReference.pages(length: run.length, pageSize: geometry.pageSize)
    guard run.first != 0, UInt64(run.first) + pages <= UInt64(view.snapshot.pointee.limit) else {
      return (.pageOutOfFile, nil)
    }
    let start = UInt64(run.first) << geometry.shift
    let end = UInt64(headerSize) + run.length
    var position: UInt64 = 0
    var crc: UInt32 = 0
    while position < end {
      let count = Int(min(end - position, UInt64(DirectReader.readMax)))
      do throws(DatabaseError) {
        var bytes = try direct.read(offset: start + position, count: count)
        step.bytes += UInt64(count)
        if position == 0 {
          let header = PageHeader(bytes.baseAddress.unsafelyUnwrapped)
          guard header.id == run.first else { return (.identity, nil) }
          guard header.type == PageType.overflow.rawValue else { return (.kind, nil) }
          guard header.isOverflowIntact else { return (.checksum, nil) }
          bytes = UnsafeRawBufferPointer(rebasing: bytes[headerSize...])
        }
        if let base = bytes.baseAddress { crc = nt_crc32c(crc, base, bytes.count) }
      } catch {
        return (nil, error.description)
      }
      position += UInt64(count)
    }
    step.pages += pages
    return crc == run.crc ? nil : (.checksum, nil)
  }
}
