// A branch: n separators between n + 1 children, with the number of live entries under each child.
//
//   header · samples u64[n/16] · pad to 64 · heads u64[n] · children u32[n+1] · counts[n+1] · slots u16[n] · prefix
//   · free space · tails {u16 rest length, bytes past the head}
//
// samples[j] = heads[16j + 15]: one cache line of them picks the block of 16 heads that holds the answer.
// A slot below 32 is a rest length of at most 8: the whole separator is in its head. Others are offsets of tails.
// Counts have the width that always suffices: u16 over leaves, u32 one level up, u64 above.
// Child i holds the keys in [separator i−1, separator i).

import CNeedletail

struct BranchPage {
  let page: UnsafeRawPointer
  @inline(__always) init(_ page: UnsafeRawPointer) { self.page = page }

  @inline(__always) var header: PageHeader { PageHeader(page) }
  /// Separators; children are one more.
  @inline(__always) var count: Int { page.u16(20) }
  @inline(__always) var prefixLength: Int { page.u16(22) }
  @inline(__always) var level: Int { Int(page.byte(17)) }

  // MARK: Offsets

  @inline(__always) static func headsOffset(_ n: Int) -> Int { (headerSize &+ (n &>> 4) &* 8 &+ 63) & ~63 }
  @inline(__always) static func childrenOffset(_ n: Int) -> Int { headsOffset(n) &+ n &* 8 }
  @inline(__always) static func countsOffset(_ n: Int) -> Int { childrenOffset(n) &+ (n &+ 1) &* 4 }
  @inline(__always) static func countWidth(level: Int) -> Int { level == 1 ? 2 : level == 2 ? 4 : 8 }
  @inline(__always) static func slotsOffset(_ n: Int, level: Int) -> Int {
    countsOffset(n) &+ (n &+ 1) &* countWidth(level: level)
  }
  @inline(__always) static func prefixOffset(_ n: Int, level: Int) -> Int { slotsOffset(n, level: level) &+ n &* 2 }

  @inline(__always) var prefix: UnsafeRawPointer { page + Self.prefixOffset(count, level: level) }
  @inline(__always) var lower: Int { Self.prefixOffset(count, level: level) &+ prefixLength }
  /// Every array and the prefix lie inside the page.
  @inline(__always) func isWellFormed(pageSize: Int) -> Bool { lower <= pageSize }
  /// What a search by heads needs of that, for one multiplication: samples, heads and children end by 12.5 n + 100, and
  /// a whole page's arrays take at least 16.5 n.
  @inline(__always) func isSearchable(pageSize: Int) -> Bool { count &* 13 &+ 128 <= pageSize }

  // MARK: Search

  @inline(__always) func head(_ i: Int, count n: Int) -> UInt64 { page.u64(Self.headsOffset(n) &+ i &* 8) }
  @inline(__always) func child(_ i: Int) -> PageID { page.u32(Self.childrenOffset(count) &+ i &* 4) }

  /// The child whose range holds `key`: the number of separators not greater than it.
  @inline(__always) func childIndex(_ key: UnsafeRawPointer, _ length: Int, pageSize: Int) -> Int {
    let n = count
    let target = keyHead(key, prefixLength, length)
    let block = findBlock(target, count: n)
    return childIndex(inBlock: block, target, key, length, count: n, pageSize: pageSize)
  }

  /// The first step: which block of 16 heads. The samples arrived with the header. They name the line of the child's
  /// reference too, which is fetched along with the block's instead of after them: one dependent miss less per level
  /// (7–10 % of a get over 1M keys).
  @inline(__always) func findBlock(_ target: UInt64, count n: Int) -> Int {
    let block = nt_find_block(page, n, target)
    let heads = page + Self.headsOffset(n)
    let children = heads + n &* 8 + block &* 64
    nt_prefetch(heads + block &* 128)
    nt_prefetch(heads + block &* 128 + 64)
    nt_prefetch(children)
    nt_prefetch(children + 63)
    return block
  }

  /// The second step: the child, once its block is there.
  @inline(__always) func childIndex(
    inBlock block: Int, _ target: UInt64, _ key: UnsafeRawPointer, _ length: Int, count n: Int, pageSize: Int
  ) -> Int {
    let heads = page + Self.headsOffset(n)
    let left = n &- block &* 16
    let low = block &* 16 &+ nt_find_in_block(heads + block &* 128, left < 16 ? left : 16, target)
    if low == n || heads.u64(low &* 8) != target { return low }
    return searchTies(from: low, head: target, key, length, pageSize: pageSize)
  }

  /// Binary search among separators whose heads equal the key's.
  @inline(never) private func searchTies(
    from start: Int, head target: UInt64, _ key: UnsafeRawPointer, _ length: Int, pageSize: Int
  ) -> Int {
    // Tails are read from here on.
    guard isWellFormed(pageSize: pageSize) else { return start }
    let n = count
    var low = start
    var high = n
    while low < high {
      let middle = (low &+ high) &>> 1
      if head(middle, count: n) == target, compare(middle, key, length, pageSize: pageSize) >= 0 {
        low = middle &+ 1
      } else {
        high = middle
      }
    }
    return low
  }

  /// Sign of key − separator i, whose heads are known to be equal. Never reads outside the page.
  func compare(_ i: Int, _ key: UnsafeRawPointer, _ length: Int, pageSize: Int) -> Int {
    let n = count
    let rest = length &- prefixLength
    let slot = page.u16(Self.slotsOffset(n, level: level) &+ i &* 2)
    if slot < headerSize { return rest &- slot }
    guard slot <= pageSize &- 2 else { return -1 }
    let separatorRest = page.u16(slot)
    guard slot &+ 2 &+ separatorRest &- 8 <= pageSize else { return -1 }
    return compareTails(key + prefixLength + 8, rest, page + slot + 2, separatorRest)
  }

  // MARK: Counts

  /// Live entries under child i.
  @inline(__always) func liveCount(_ i: Int) -> UInt64 {
    let offset = Self.countsOffset(count)
    switch level {
    case 1: return UInt64(page.u16(offset &+ i &* 2))
    case 2: return UInt64(page.u32(offset &+ i &* 4))
    default: return page.u64(offset &+ i &* 8)
    }
  }

  /// Live entries under the children before `end`.
  func liveCount(before end: Int) -> UInt64 {
    let offset = Self.countsOffset(count)
    var total: UInt64 = 0
    switch level {
    case 1: for i in 0..<end { total &+= UInt64(page.u16(offset &+ i &* 2)) }
    case 2: for i in 0..<end { total &+= UInt64(page.u32(offset &+ i &* 4)) }
    default: for i in 0..<end { total &+= page.u64(offset &+ i &* 8) }
    }
    return total
  }
  var totalCount: UInt64 { liveCount(before: count + 1) }

  // MARK: Separators

  /// Rest length (bytes after the prefix) of separator i.
  func restLength(_ i: Int) -> Int {
    let slot = page.u16(Self.slotsOffset(count, level: level) + i * 2)
    return slot < headerSize ? slot : page.u16(slot)
  }

  /// The whole separator, prefix included, to `out`, which has room for any key and 8 bytes more. Returns its length.
  func copySeparator(_ i: Int, to out: UnsafeMutableRawPointer) -> Int {
    let n = count
    let prefixLength = self.prefixLength
    out.copyMemory(from: prefix, byteCount: prefixLength)
    out.storeBytes(of: head(i, count: n).bigEndian, toByteOffset: prefixLength, as: UInt64.self)
    let slot = page.u16(Self.slotsOffset(n, level: level) + i * 2)
    if slot < headerSize { return prefixLength + slot }
    let rest = page.u16(slot)
    if rest > 8 { (out + prefixLength + 8).copyMemory(from: page + slot + 2, byteCount: rest - 8) }
    return prefixLength + rest
  }

  /// Every tail lies inside the page; asked before a page is trusted for editing.
  func tailsAreInside(pageSize: Int) -> Bool {
    let slots = Self.slotsOffset(count, level: level)
    for i in 0..<count {
      let slot = page.u16(slots + i * 2)
      if slot < headerSize {
        if slot > 8 { return false }
        continue
      }
      if slot > pageSize - 2 || slot + 2 + max(0, page.u16(slot) - 8) > pageSize { return false }
    }
    return true
  }
}
