// Editing a branch in scratch memory. Counts and child references change in place; separators come and go by
// rewriting the page from a list, which happens once per split or merge of a child.

import CNeedletail
import Glibc

struct BranchEditor {
  let page: UnsafeMutableRawPointer
  let pageSize: Int
  init(_ page: UnsafeMutableRawPointer, pageSize: Int) {
    self.page = page
    self.pageSize = pageSize
  }

  var view: BranchPage { BranchPage(UnsafeRawPointer(page)) }

  @inline(__always) func setChild(_ i: Int, _ child: PageID) {
    page.setU32(BranchPage.childrenOffset(view.count) &+ i &* 4, child)
  }

  @inline(__always) func setLiveCount(_ i: Int, _ value: UInt64) {
    let offset = BranchPage.countsOffset(view.count)
    switch view.level {
    case 1:
      assert(value <= UInt64(UInt16.max))
      page.setU16(offset &+ i &* 2, Int(truncatingIfNeeded: value))
    case 2: page.setU32(offset &+ i &* 4, UInt32(truncatingIfNeeded: value))
    default: page.setU64(offset &+ i &* 8, value)
    }
  }

  @inline(__always) func addLiveCount(_ i: Int, _ delta: Int64) {
    setLiveCount(i, view.liveCount(i) &+ UInt64(bitPattern: delta))
  }
}

extension BranchEditor {
  /// Adds separator i and the child to its right, where the page has room for them; false where it has not.
  /// `scratch` is a page of memory. The child to the left keeps its place; its count is the caller's to mend.
  func insert(
    at i: Int, separator: UnsafeRawBufferPointer, right: BranchContents.Child, scratch: UnsafeMutableRawPointer
  ) -> Bool {
    let n = view.count
    let level = view.level
    let prefixLength = view.prefixLength
    guard let key = separator.baseAddress else { return false }
    let rest = separator.count - prefixLength
    let tail = rest > 8 ? 2 + rest - 8 : 0
    let upper = view.header.upper
    guard BranchPage.prefixOffset(n + 1, level: level) + prefixLength + tail <= upper else { return false }

    // The arrays slide by different distances: copy what is there, then lay it out anew.
    memcpy(scratch, page, view.lower)
    let old = UnsafeRawPointer(scratch)
    let width = BranchPage.countWidth(level: level)
    spread(old, from: BranchPage.headsOffset(n), to: BranchPage.headsOffset(n + 1), at: i, of: n, width: 8)
    spread(
      old, from: BranchPage.childrenOffset(n), to: BranchPage.childrenOffset(n + 1), at: i + 1, of: n + 1, width: 4)
    spread(
      old, from: BranchPage.countsOffset(n), to: BranchPage.countsOffset(n + 1), at: i + 1, of: n + 1, width: width)
    spread(
      old, from: BranchPage.slotsOffset(n, level: level), to: BranchPage.slotsOffset(n + 1, level: level), at: i,
      of: n, width: 2)
    memcpy(
      page + BranchPage.prefixOffset(n + 1, level: level), old + BranchPage.prefixOffset(n, level: level), prefixLength)
    let header = MutablePageHeader(page)
    header.setCount(n + 1)
    page.setU64(BranchPage.headsOffset(n + 1) + 8 * i, keyHead(key, prefixLength, separator.count))
    if tail == 0 {
      page.setU16(BranchPage.slotsOffset(n + 1, level: level) + 2 * i, rest)
    } else {
      page.setU16(BranchPage.slotsOffset(n + 1, level: level) + 2 * i, upper - tail)
      page.setU16(upper - tail, rest)
      memcpy(page + upper - tail + 2, key + prefixLength + 8, rest - 8)
      header.setUpper(upper - tail)
    }
    setChild(i + 1, right.id)
    setLiveCount(i + 1, right.live)
    writeSamples()
    return true
  }

  /// Puts `separator` in the place of separator i, or returns false and leaves the page as it was where there is no room.
  /// `keyBuffer` has room for any key and 8 bytes more.
  func replaceSeparator(at i: Int, _ separator: UnsafeRawBufferPointer, keyBuffer: UnsafeMutableRawPointer) -> Bool {
    let n = view.count
    let level = view.level
    let prefixLength = view.prefixLength
    guard let key = separator.baseAddress else { return false }
    let rest = separator.count - prefixLength
    assert(i < n && rest >= 0)
    let slotOffset = BranchPage.slotsOffset(n, level: level) + 2 * i
    let slot = UnsafeRawPointer(page).u16(slotOffset)
    let oldTail = slot < headerSize ? 0 : 2 + UnsafeRawPointer(page).u16(slot) - 8
    let newTail = rest > 8 ? 2 + rest - 8 : 0
    var garbage = view.header.garbage + oldTail
    let header = MutablePageHeader(page)
    if newTail == 0 {
      page.setU16(slotOffset, rest)
    } else {
      var offset = slot
      if newTail <= oldTail {
        garbage -= newTail
      } else {
        offset = view.header.upper - newTail
        guard offset >= view.lower else { return rewrite(replacing: i, with: separator, keyBuffer: keyBuffer) }
        header.setUpper(offset)
        page.setU16(slotOffset, offset)
      }
      page.setU16(offset, rest)
      memcpy(page + offset + 2, key + prefixLength + 8, rest - 8)
    }
    header.setGarbage(garbage)
    let head = keyHead(key, prefixLength, separator.count)
    page.setU64(BranchPage.headsOffset(n) + 8 * i, head)
    if i & 15 == 15, !mutant(.replacedSampleKept) { page.setU64(headerSize + 8 * (i >> 4), head) }
    return true
  }

  private func rewrite(
    replacing i: Int, with separator: UnsafeRawBufferPointer, keyBuffer: UnsafeMutableRawPointer
  ) -> Bool {
    let level = view.level
    let prefixLength = view.prefixLength
    var contents = BranchContents(view, keyBuffer: keyBuffer)
    contents.separators[i] = [UInt8](separator)
    guard contents.encodedSize(prefixLength: prefixLength, level: level) <= pageSize else { return false }
    let prefix = [UInt8](UnsafeRawBufferPointer(start: view.prefix, count: prefixLength))
    MutablePageHeader(page).setUpper(pageSize)
    prefix.withUnsafeBytes { contents.encode(into: page, pageSize: pageSize, level: level, prefix: $0) }
    return true
  }

  /// Copies an array of `count` elements from `old`, leaving a gap for one at index `at`.
  private func spread(_ old: UnsafeRawPointer, from: Int, to: Int, at: Int, of count: Int, width: Int) {
    memcpy(page + to, old + from, at * width)
    memcpy(page + to + (at + 1) * width, old + from + at * width, (count - at) * width)
  }

  private func writeSamples() {
    let n = view.count
    let heads = BranchPage.headsOffset(n)
    let samples = n >> 4
    for j in 0..<samples { page.setU64(headerSize + 8 * j, view.head(16 * j + 15, count: n)) }
    memset(page + headerSize + 8 * samples, 0, heads - headerSize - 8 * samples)
  }
}

/// A branch taken apart: what splits and merges work on.
struct BranchContents {
  struct Child {
    var id: PageID
    var live: UInt64
  }
  /// Whole separators, prefix included.
  var separators: [[UInt8]] = []
  var children: [Child] = []

  init() {}

  init(_ branch: BranchPage, keyBuffer: UnsafeMutableRawPointer) {
    let n = branch.count
    separators.reserveCapacity(n + 2)
    children.reserveCapacity(n + 3)
    for i in 0..<n {
      let length = branch.copySeparator(i, to: keyBuffer)
      separators.append([UInt8](UnsafeRawBufferPointer(start: keyBuffer, count: length)))
    }
    for i in 0...n { children.append(Child(id: branch.child(i), live: branch.liveCount(i))) }
  }

  /// Separators [from, to) and the children around them.
  func slice(from: Int, to: Int) -> BranchContents {
    var part = BranchContents()
    part.separators = Array(separators[from..<to])
    part.children = Array(children[from...to])
    return part
  }

  var live: UInt64 { children.reduce(0) { $0 + $1.live } }

  static func encodedSize(separators n: Int, tails: Int, prefixLength: Int, level: Int) -> Int {
    BranchPage.prefixOffset(n, level: level) + prefixLength + tails
  }

  private static func tailSize(_ length: Int, prefixLength: Int) -> Int {
    let rest = length - prefixLength
    return rest > 8 ? 2 + rest - 8 : 0
  }

  func encodedSize(prefixLength: Int, level: Int) -> Int {
    let tails = separators.reduce(0) { $0 + Self.tailSize($1.count, prefixLength: prefixLength) }
    return Self.encodedSize(separators: separators.count, tails: tails, prefixLength: prefixLength, level: level)
  }

  /// Writes the contents into a formatted page; the caller has seen that they fit.
  func encode(
    into page: UnsafeMutableRawPointer, pageSize: Int, level: Int, prefix: UnsafeRawBufferPointer
  ) {
    let n = separators.count
    let prefixLength = prefix.count
    assert(children.count == n + 1)
    assert(encodedSize(prefixLength: prefixLength, level: level) <= pageSize)
    let header = MutablePageHeader(page)
    header.setCount(n)
    header.setPrefixLength(prefixLength)
    header.setGarbage(0)
    if let source = prefix.baseAddress { memcpy(page + BranchPage.prefixOffset(n, level: level), source, prefixLength) }
    let heads = BranchPage.headsOffset(n)
    // Between samples and heads lies padding: zeros, so that equal contents make equal pages.
    memset(page + headerSize, 0, heads - headerSize)
    let slots = BranchPage.slotsOffset(n, level: level)
    var upper = pageSize
    for (i, separator) in separators.enumerated() {
      separator.withUnsafeBytes { bytes in
        guard let key = bytes.baseAddress else { return }
        let head = keyHead(key, prefixLength, bytes.count)
        page.setU64(heads + 8 * i, head)
        if i & 15 == 15 { page.setU64(headerSize + 8 * (i >> 4), head) }
        let rest = bytes.count - prefixLength
        if rest <= 8 {
          page.setU16(slots + 2 * i, rest)
        } else {
          upper -= 2 + rest - 8
          page.setU16(slots + 2 * i, upper)
          page.setU16(upper, rest)
          memcpy(page + upper + 2, key + prefixLength + 8, rest - 8)
        }
      }
    }
    header.setUpper(upper)
    let editor = BranchEditor(page, pageSize: pageSize)
    for (i, child) in children.enumerated() {
      editor.setChild(i, child.id)
      editor.setLiveCount(i, child.live)
    }
  }
}
