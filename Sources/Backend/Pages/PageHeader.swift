// The 32 bytes that every page begins with, and raw loads and stores on pages.
//
//   0  u32  crc32c of bytes 4..<page size
//   4  u32  page number (in a batch not yet published: the scratch reference)
//   8  u64  transaction that wrote the page
//  16  u8   type      17 u8  level (leaf 0)      18 u8  tree      19 u8  reserved, 0
//  20  u16  count: entries of a leaf, separators of a branch
//  22  u16  prefix length
//  24  u32  upper: records or tails begin here and reach to the page's end
//  28  u32  garbage: dead bytes above `upper`, won back when the page is rewritten
//
// All integers are little-endian: native order on every machine we run on.

import CNeedletail

/// A page number, or within a batch (`dirtyBit` set) the index of a scratch page without a number yet.
package typealias PageID = UInt32

let dirtyBit: PageID = 1 << 31
let headerSize = 32
/// No valid tree is deeper: a branch has at least two children, so 2^24 leaves are the least a deeper one had.
let depthLimit = 24

enum PageType: UInt8 {
  case leaf = 1
  case branch = 2
  case overflow = 3
  case bitmap = 4
}

extension UnsafeRawPointer {
  @inline(__always) func u16(_ offset: Int) -> Int {
    Int(truncatingIfNeeded: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
  @inline(__always) func u32(_ offset: Int) -> UInt32 { loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
  @inline(__always) func u64(_ offset: Int) -> UInt64 { loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
  @inline(__always) func byte(_ offset: Int) -> UInt8 { load(fromByteOffset: offset, as: UInt8.self) }
}

extension UnsafeMutableRawPointer {
  @inline(__always) func setU16(_ offset: Int, _ value: Int) {
    storeBytes(of: UInt16(truncatingIfNeeded: value), toByteOffset: offset, as: UInt16.self)
  }
  @inline(__always) func setU32(_ offset: Int, _ value: UInt32) {
    storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
  }
  @inline(__always) func setU64(_ offset: Int, _ value: UInt64) {
    storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }
}

/// A page as bytes. Views of it (`LeafPage`, `BranchPage`) trust what `PageSource.page` has checked.
struct PageHeader {
  let page: UnsafeRawPointer
  @inline(__always) init(_ page: UnsafeRawPointer) { self.page = page }

  @inline(__always) var crc: UInt32 { page.u32(0) }
  @inline(__always) var id: PageID { page.u32(4) }
  @inline(__always) var transaction: UInt64 { page.u64(8) }
  @inline(__always) var type: UInt8 { page.byte(16) }
  @inline(__always) var level: Int { Int(page.byte(17)) }
  @inline(__always) var tree: UInt8 { page.byte(18) }
  @inline(__always) var count: Int { page.u16(20) }
  @inline(__always) var prefixLength: Int { page.u16(22) }
  @inline(__always) var upper: Int { Int(page.u32(24)) }
  @inline(__always) var garbage: Int { Int(page.u32(28)) }
  /// Type and level in one load: `kind(level:)` of what the descent expects.
  @inline(__always) var kind: Int { page.u16(16) }

  @inline(__always) static func kind(level: Int) -> Int {
    level == 0 ? Int(PageType.leaf.rawValue) : Int(PageType.branch.rawValue) | level << 8
  }

  func checksum(pageSize: Int) -> UInt32 { nt_crc32c(0, page + 4, pageSize - 4) }
  /// An overflow run's header vouches for itself alone; the value's checksum stands in the leaf.
  var overflowChecksum: UInt32 { nt_crc32c(0, page + 4, headerSize - 4) }
  var isOverflowIntact: Bool { overflowChecksum == crc }
}

/// The write side of a header. Only scratch pages are ever written.
struct MutablePageHeader {
  let page: UnsafeMutableRawPointer
  @inline(__always) init(_ page: UnsafeMutableRawPointer) { self.page = page }

  func format(id: PageID, transaction: UInt64, level: Int, tree: UInt8, pageSize: Int) {
    page.setU32(0, 0)
    page.setU32(4, id)
    page.setU64(8, transaction)
    page.setU16(16, PageHeader.kind(level: level))
    page.setU16(18, Int(tree))
    page.setU16(20, 0)
    page.setU16(22, 0)
    page.setU32(24, UInt32(pageSize))
    page.setU32(28, 0)
  }
  @inline(__always) func setID(_ id: PageID) { page.setU32(4, id) }
  @inline(__always) func setTransaction(_ transaction: UInt64) { page.setU64(8, transaction) }
  @inline(__always) func setCount(_ count: Int) { page.setU16(20, count) }
  @inline(__always) func setPrefixLength(_ length: Int) { page.setU16(22, length) }
  @inline(__always) func setUpper(_ upper: Int) { page.setU32(24, UInt32(truncatingIfNeeded: upper)) }
  @inline(__always) func setGarbage(_ bytes: Int) { page.setU32(28, UInt32(truncatingIfNeeded: bytes)) }
  func seal(pageSize: Int) { page.setU32(0, nt_crc32c(0, page + 4, pageSize - 4)) }
}

/// Limits that follow from the page size alone.
///
/// `entryMax` is what makes splits succeed: a page's entries and one more weigh at most U + entryMax (U: page less
/// header); halving them by weight leaves at most U/2 + entryMax in one half, which must fit beside the longest
/// prefix, and re-basing a page on a longer prefix may cost it 8 bytes.
package struct PageGeometry: Sendable {
  package let pageSize: Int
  package let shift: UInt64
  package let keyMax: Int
  let prefixMax: Int
  let entryMax: Int

  package init(pageSize: Int) throws(DatabaseError) {
    guard pageSize >= 512, pageSize <= 65536, pageSize & (pageSize - 1) == 0 else {
      throw .pageSizeInvalid(pageSize)
    }
    self.pageSize = pageSize
    shift = UInt64(pageSize.trailingZeroBitCount)
    keyMax = pageSize / 4 - 24
    prefixMax = pageSize / 8
    entryMax = (pageSize - headerSize) / 2 - prefixMax - 8
    precondition(entryMax >= leafEntryOverhead + keyMax + overflowReferenceSize)
  }

  /// Bytes of a page that entries may use, beside the header.
  var capacity: Int { pageSize - headerSize }
}
