// From a page reference to its bytes, with the checks that make a descent through a damaged file safe.

import CNeedletail
import Glibc

/// Where a tree's pages are: the mapping, and inside a write batch its scratch pages too.
struct PageSource {
  let base: UnsafeRawPointer
  let shift: UInt64
  let pageSize: Int
  /// Pages the file holds; references at or beyond it are scratch pages or damage.
  let limit: PageID
  /// Pages whose checksum was compared; nil: reads do not compare checksums.
  let verified: VerifiedPages?
  /// The batch whose unpublished pages may be met, or nil for a published snapshot.
  let scratch: Unmanaged<ScratchPages>?

  /// Reads that miss the page cache then fetch one page each, unless they ask for more.
  var isLargerThanMemory: Bool { MemoryLimit.isExceeded(by: UInt64(limit) &<< shift) }

  /// Has the kernel read pages that somebody is about to look at, without waiting for them.
  func readSoon(_ first: PageID, count: Int) {
    guard first < limit, count <= Int(limit - first) else { return }
    let start = Int(bitPattern: address(first))
    let aligned = start & -Int(getpagesize())
    madvise(UnsafeMutableRawPointer(bitPattern: aligned), start - aligned + count << Int(shift), MADV_WILLNEED)
  }

  @inline(__always) func address(_ id: PageID) -> UnsafeRawPointer {
    base + Int(truncatingIfNeeded: UInt64(id) &<< shift)
  }

  /// Whether a read may trust the page's bytes without looking at their checksum.
  @inline(__always) func isVerified(_ id: PageID) -> Bool {
    if let verified { verified.contains(id) } else { true }
  }

  /// The page a descent arrives at. Checked: the reference lies in the file, the page is the one referred to, of the
  /// level expected. One cache line, which the search needs anyway.
  @inline(__always) func page(_ id: PageID, level: Int) throws(DatabaseError) -> UnsafeRawPointer {
    guard _fastPath(id < limit) else { return try slowPage(id, level: level) }
    let page = address(id)
    let header = PageHeader(page)
    guard _fastPath(header.id == id && header.kind == PageHeader.kind(level: level)) else {
      throw wrongPage(page, id, level: level)
    }
    if let verified, _slowPath(!verified.contains(id)) { try verify(page, id, verified) }
    return page
  }

  /// The first look at a page since the file was opened.
  @inline(never) private func verify(
    _ page: UnsafeRawPointer, _ id: PageID, _ verified: VerifiedPages
  ) throws(DatabaseError) {
    guard PageHeader(page).checksum(pageSize: pageSize) == PageHeader(page).crc else {
      throw .corrupt(page: id, reason: .checksum)
    }
    verified.insert(id)
  }

  @inline(never) private func slowPage(_ id: PageID, level: Int) throws(DatabaseError) -> UnsafeRawPointer {
    guard let scratch, id & dirtyBit != 0, let page = scratch._withUnsafeGuaranteedRef({ $0.page(id) }) else {
      throw .corrupt(page: id, reason: .pageOutOfFile)
    }
    return page
  }

  @inline(never) private func wrongPage(_ page: UnsafeRawPointer, _ id: PageID, level: Int) -> DatabaseError {
    .corrupt(page: id, reason: PageHeader(page).id == id ? .kind : .identity)
  }

  /// A value: bytes in the leaf, or in an overflow run.
  @inline(__always) func value(
    of leaf: LeafPage, _ i: Int
  ) throws(DatabaseError) -> UnsafeRawBufferPointer {
    let record = leaf.recordOffset(i, count: leaf.count)
    guard _fastPath(record <= pageSize &- 4) else { throw damaged(leaf.page) }
    let start = record &+ 4 &+ leaf.tailLength(record)
    let field = leaf.page.u16(record &+ 2)
    if _fastPath(field & overflowFlag == 0) {
      guard _fastPath(start &+ field <= pageSize) else { throw damaged(leaf.page) }
      return UnsafeRawBufferPointer(start: leaf.page + start, count: field)
    }
    guard start &+ overflowReferenceSize <= pageSize else { throw damaged(leaf.page) }
    return try overflowValue(OverflowReference(leaf.page + start))
  }

  @inline(never) func damaged(_ page: UnsafeRawPointer) -> DatabaseError {
    .corrupt(page: PageHeader(page).id, reason: .bounds)
  }

  @inline(never) func overflowValue(_ run: OverflowReference) throws(DatabaseError) -> UnsafeRawBufferPointer {
    if let bytes = scratch?._withUnsafeGuaranteedRef({ $0.overflowValue(run.first) }) { return bytes }
    guard run.length <= UInt64(Int32.max) else { throw .corrupt(page: run.first, reason: .bounds) }
    let pages = OverflowReference.pages(length: run.length, pageSize: pageSize)
    guard run.first < limit, UInt64(run.first) + pages <= UInt64(limit) else {
      throw .corrupt(page: run.first, reason: .pageOutOfFile)
    }
    let page = address(run.first)
    if pages > 1, isLargerThanMemory { readSoon(run.first, count: Int(pages)) }
    let header = PageHeader(page)
    guard header.id == run.first else { throw .corrupt(page: run.first, reason: .identity) }
    guard header.type == PageType.overflow.rawValue else { throw .corrupt(page: run.first, reason: .kind) }
    let value = UnsafeRawBufferPointer(start: page + headerSize, count: Int(run.length))
    if let verified, !verified.contains(run.first) {
      guard header.isOverflowIntact, nt_crc32c(0, page + headerSize, value.count) == run.crc else {
        throw .corrupt(page: run.first, reason: .checksum)
      }
      verified.insert(run.first)
    }
    return value
  }
}
