// The internal head in front of every version: which place in its transaction it has, how deep its history is, and the
// links by which a read of the past skips over versions.
//
//   offset  size
//   0       1     n: 0 = the short form, and the head ends here; else 0x80 | number of links (0…17)
//   1       4     sub         place within the transaction of revision `main`
//   5       4     depth       older versions in the chain of links
//   9       12 each           links, level 0 first: main u64, sub u32
//
// All little-endian. Short form means sub 0, depth 0, no links: a key written once pays one byte.
// `links[k]` is the nearest older version whose depth is divisible by 4^k, so that each level reaches four times as far
// as the one before. Links are ordered from newest to oldest.

/// A parsed head; `links` points into the page and is valid as long as the page is.
struct VersionHead {
  static let linkSize = 12
  static let fixedSize = 9
  /// Depth is a u32, and 4^16 = 2^32: levels 0…16.
  static let maxLinks = 17
  static let maxSize = fixedSize + maxLinks * linkSize

  var size: Int
  var sub: UInt32
  var depth: UInt32
  var linkCount: Int
  private var links: UnsafeRawPointer?

  /// Length of the head at the start of `bytes`, checked to lie inside; all that a read of the latest version needs.
  @inline(__always)
  static func size(of bytes: UnsafeRawBufferPointer) throws(MVCCError) -> Int {
    guard bytes.count > 0 else { throw .corrupt("an empty version") }
    let first = bytes[0]
    if first == 0 { return 1 }
    let linkCount = Int(first & 0x7f)
    let size = fixedSize &+ linkCount &* linkSize
    guard first >= 0x80, linkCount <= maxLinks, size <= bytes.count else { throw .corrupt("a version's head") }
    return size
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(MVCCError) {
    size = try VersionHead.size(of: bytes)
    guard size > 1 else {
      sub = 0
      depth = 0
      linkCount = 0
      links = nil
      return
    }
    linkCount = Int(bytes[0] & 0x7f)
    sub = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
    depth = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 5, as: UInt32.self))
    links = bytes.baseAddress.map { $0 + VersionHead.fixedSize }
  }

  /// Link of level `k`, 0 ≤ k < linkCount.
  func link(_ k: Int) -> Revision? {
    guard k >= 0, k < linkCount, let links else { return nil }
    let at = links + k * VersionHead.linkSize
    return Revision(
      main: UInt64(littleEndian: at.loadUnaligned(as: UInt64.self)),
      sub: UInt32(littleEndian: at.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
  }
}

/// The head of a version about to be written, built from the one it replaces without reading any further version.
struct HeadBuilder {
  private(set) var sub: UInt32 = 0
  private(set) var depth: UInt32 = 0
  private(set) var linkCount = 0
  private var links = InlineArray<17, Revision>(repeating: Revision(main: 0, sub: 0))

  /// `replaced` is nil for a key that never was, or whose history ended at or below `compacted`: the chain restarts.
  /// Reads never go below `compacted`, so neither restarting nor cutting links at or below it loses anything that can be
  /// asked for; a chain that restarts at full depth is just as correct, since a read may always step to the direct
  /// predecessor.
  init(sub: UInt32, replacing replaced: Version?, compacted: UInt64) {
    self.sub = sub
    guard let replaced, replaced.revision.main > compacted, replaced.head.depth < UInt32.max else { return }
    let old = replaced.head
    depth = old.depth + 1
    linkCount = old.linkCount
    for k in 0..<linkCount { links[k] = old.link(k) ?? links[k] }

    // The replaced version becomes the nearest one on every level whose step divides its depth.
    let levels = old.depth == 0 ? 1 : old.depth.trailingZeroBitCount / 2 + 1
    for k in 0..<min(levels, VersionHead.maxLinks) {
      links[k] = replaced.revision
      linkCount = max(linkCount, k + 1)
    }
    while linkCount > 0, links[linkCount - 1].main <= compacted { linkCount -= 1 }
  }

  var size: Int {
    sub == 0 && depth == 0 && linkCount == 0 ? 1 : VersionHead.fixedSize + linkCount * VersionHead.linkSize
  }

  /// Writes `size` bytes and returns the byte after them.
  func write(_ p: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    guard size > 1 else { return writeByte(0, p) }
    var at = writeByte(0x80 | UInt8(linkCount), p)
    at.storeBytes(of: sub.littleEndian, as: UInt32.self)
    at.storeBytes(of: depth.littleEndian, toByteOffset: 4, as: UInt32.self)
    at += 8
    for k in 0..<linkCount {
      at.storeBytes(of: links[k].main.littleEndian, as: UInt64.self)
      at.storeBytes(of: links[k].sub.littleEndian, toByteOffset: 8, as: UInt32.self)
      at += VersionHead.linkSize
    }
    return at
  }
}
