// Private memory for the pages of a batch until they are published. A page gets its number only at publication, so that
// pages which come and go inside a batch cost nothing and the numbers of the rest can be contiguous.

import Glibc

/// Used by the writer only. A reference is the page's index here with `dirtyBit` set.
final class ScratchPages {
  struct OverflowRun {
    var memory: UnsafeMutableRawPointer
    var pages: Int
    var valueLength: Int
  }

  private let pageSize: Int
  @exclusivity(unchecked) private var table: UnsafeMutablePointer<UnsafeMutableRawPointer>
  @exclusivity(unchecked) private var capacity = 0
  @exclusivity(unchecked) private var slabs: [UnsafeMutableRawPointer] = []
  @exclusivity(unchecked) private var inUse: [Bool] = []
  @exclusivity(unchecked) private var unused: [Int] = []
  @exclusivity(unchecked) private var used = 0
  /// Values in runs of pages, which do have their numbers already: a leaf refers to them by number.
  @exclusivity(unchecked) private(set) var overflows: [PageID: OverflowRun] = [:]

  private static let slabPages = 64
  /// Memory kept between batches.
  private static let keptBytes = 64 << 20

  init(pageSize: Int) {
    self.pageSize = pageSize
    table = .allocate(capacity: 1)
  }

  deinit {
    for run in overflows.values { run.memory.deallocate() }
    for slab in slabs { slab.deallocate() }
    table.deallocate()
  }

  /// A page of undefined contents.
  func allocate() -> PageID {
    if let index = unused.popLast() {
      inUse[index] = true
      return PageID(index) | dirtyBit
    }
    if used == capacity { addSlab() }
    inUse.append(true)
    used += 1
    return PageID(used - 1) | dirtyBit
  }

  private func addSlab() {
    let slab = UnsafeMutableRawPointer.allocate(byteCount: pageSize * Self.slabPages, alignment: 4096)
    slabs.append(slab)
    let grown = UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: capacity + Self.slabPages)
    grown.update(from: table, count: capacity)
    table.deallocate()
    table = grown
    for i in 0..<Self.slabPages { (table + capacity + i).initialize(to: slab + i * pageSize) }
    capacity += Self.slabPages
  }

  /// The page is no longer part of the batch.
  func release(_ id: PageID) {
    let index = Int(id & ~dirtyBit)
    assert(inUse[index])
    inUse[index] = false
    unused.append(index)
  }

  @inline(__always) subscript(_ id: PageID) -> UnsafeMutableRawPointer { table[Int(id & ~dirtyBit)] }

  /// The page behind a reference, or nil for one this batch never gave out.
  func page(_ id: PageID) -> UnsafeRawPointer? {
    let index = Int(id & ~dirtyBit)
    return index < used && inUse[index] ? UnsafeRawPointer(table[index]) : nil
  }

  // MARK: Overflow runs

  func addOverflow(_ first: PageID, _ run: OverflowRun) { overflows[first] = run }

  func overflowValue(_ first: PageID) -> UnsafeRawBufferPointer? {
    overflows[first].map { UnsafeRawBufferPointer(start: $0.memory + headerSize, count: $0.valueLength) }
  }

  func removeOverflow(_ first: PageID) -> OverflowRun? {
    guard let run = overflows.removeValue(forKey: first) else { return nil }
    run.memory.deallocate()
    return run
  }

  // MARK: Publication

  var liveCount: Int { used - unused.count }

  /// Gives each page its number, in the order of first use, and mends the references between them.
  /// `body` is called with each page in ascending order of number.
  func seal(numbers: [PageID], body: (PageID, UnsafeMutableRawPointer) -> Void) {
    assert(numbers.count == liveCount)
    var assigned = [PageID](repeating: 0, count: used)
    var next = 0
    for index in 0..<used where inUse[index] {
      assigned[index] = numbers[next]
      next += 1
    }
    for index in 0..<used where inUse[index] {
      let page = table[index]
      MutablePageHeader(page).setID(assigned[index])
      if PageHeader(page).level > 0 {
        let editor = BranchEditor(page, pageSize: pageSize)
        for i in 0...editor.view.count {
          let child = editor.view.child(i)
          if child & dirtyBit != 0 { editor.setChild(i, assigned[Int(child & ~dirtyBit)]) }
        }
      }
      MutablePageHeader(page).seal(pageSize: pageSize)
      body(assigned[index], page)
    }
    number = assigned
  }
  /// Numbers given by the last `seal`, by index.
  @exclusivity(unchecked) private var number: [PageID] = []
  func numberAfterSeal(_ id: PageID) -> PageID { id & dirtyBit != 0 ? number[Int(id & ~dirtyBit)] : id }

  /// Forgets all pages; keeps some of the memory for the next batch.
  func reset() {
    for run in overflows.values { run.memory.deallocate() }
    overflows.removeAll(keepingCapacity: true)
    let kept = max(1, Self.keptBytes / (pageSize * Self.slabPages))
    while slabs.count > kept {
      slabs.removeLast().deallocate()
      capacity -= Self.slabPages
    }
    inUse.removeAll(keepingCapacity: true)
    unused.removeAll(keepingCapacity: true)
    number = []
    used = 0
  }
}
