// A leaf: entries in key order. Everything a search reads lies in the first few cache lines.
//
//   header · heads u64[n] · slots u16[n] · prefix · free space · records
//   record: u16 rest length · u16 value length · key bytes past prefix and head · value
//
// `rest length` counts the key's bytes after the prefix, head included. The prefix is implied by the fences, i.e. by the
// descent that led here, and is never compared; it is stored for cursors, which give back whole keys.
// A value length with the high bit set means an overflow reference instead of a value:
//   u32 first page of the run · u32 crc32c of the value · u64 value length

import CNeedletail

let leafEntryOverhead = 14  // head, slot, and the record's two lengths
let overflowReferenceSize = 16
let overflowFlag = 0x8000

struct LeafPage {
  let page: UnsafeRawPointer
  @inline(__always) init(_ page: UnsafeRawPointer) { self.page = page }

  @inline(__always) var header: PageHeader { PageHeader(page) }
  @inline(__always) var count: Int { page.u16(20) }
  @inline(__always) var prefixLength: Int { page.u16(22) }
  @inline(__always) func head(_ i: Int) -> UInt64 { page.u64(headerSize &+ i &* 8) }
  @inline(__always) static func slotOffset(_ i: Int, count: Int) -> Int { headerSize &+ count &* 8 &+ i &* 2 }
  @inline(__always) func recordOffset(_ i: Int, count: Int) -> Int { page.u16(Self.slotOffset(i, count: count)) }
  @inline(__always) static func prefixOffset(count: Int) -> Int { headerSize &+ count &* 10 }
  @inline(__always) var prefix: UnsafeRawPointer { page + Self.prefixOffset(count: count) }
  /// Where free space begins.
  @inline(__always) var lower: Int { headerSize &+ count &* 10 &+ prefixLength }

  /// The arrays and the prefix lie inside the page.
  @inline(__always) func isWellFormed(pageSize: Int) -> Bool { lower <= pageSize }

  /// Index of the first head not smaller than `head`.
  @inline(__always) func lowerBound(head: UInt64, count: Int) -> Int {
    nt_leaf_search(page + headerSize, count, head)
  }

  /// Where `key` is, or where it would go.
  @inline(__always) func search(
    _ key: UnsafeRawPointer, _ length: Int, pageSize: Int
  ) -> (index: Int, found: Bool) {
    let n = count
    let prefix = prefixLength
    let head = keyHead(key, prefix, length)
    let i = lowerBound(head: head, count: n)
    if i == n || self.head(i) != head { return (i, false) }
    let order = compare(i, key, length, prefix: prefix, count: n, pageSize: pageSize)
    if order <= 0 { return (i, order == 0) }
    return searchTies(from: i &+ 1, head: head, key, length, pageSize: pageSize)
  }

  /// Five lines: a record of a short key and a value of 256 bytes.
  @inline(__always) func prefetchRecord(_ offset: Int) {
    let record = page + offset
    nt_prefetch(record)
    nt_prefetch(record + 64)
    nt_prefetch(record + 128)
    nt_prefetch(record + 192)
    nt_prefetch(record + 256)
  }

  /// Binary search among entries whose heads equal the key's: keys that differ late stay O(log n).
  @inline(never) private func searchTies(
    from start: Int, head: UInt64, _ key: UnsafeRawPointer, _ length: Int, pageSize: Int
  ) -> (index: Int, found: Bool) {
    let n = count
    let prefix = prefixLength
    var low = start
    var high = head == .max ? n : max(start, lowerBound(head: head &+ 1, count: n))
    while low < high {
      let middle = (low &+ high) &>> 1
      let order = compare(middle, key, length, prefix: prefix, count: n, pageSize: pageSize)
      if order == 0 { return (middle, true) }
      if order > 0 { low = middle &+ 1 } else { high = middle }
    }
    return (low, false)
  }

  /// Sign of key − entry i, whose heads are known to be equal.
  /// A record whose bytes would leave the page compares as different, so that a corrupt page never reads outside.
  @inline(__always) func compare(
    _ i: Int, _ key: UnsafeRawPointer, _ length: Int, prefix: Int, count: Int, pageSize: Int
  ) -> Int {
    let offset = recordOffset(i, count: count)
    let rest = length &- prefix
    guard offset <= pageSize &- 4 else { return -1 }
    let entryRest = page.u16(offset)
    if rest <= 8 || entryRest <= 8 { return rest &- entryRest }
    guard offset &+ entryRest &- 4 <= pageSize else { return -1 }
    if rest == entryRest, equalBytes(key + prefix + 8, page + offset + 4, rest &- 8) { return 0 }
    return compareTails(key + prefix + 8, rest, page + offset + 4, entryRest)
  }

  // MARK: One entry

  /// Key bytes past prefix and head.
  @inline(__always) func tailLength(_ record: Int) -> Int {
    let rest = page.u16(record)
    return rest > 8 ? rest &- 8 : 0
  }
  @inline(__always) func keyLength(_ i: Int) -> Int { prefixLength &+ page.u16(recordOffset(i, count: count)) }
  @inline(__always) func isOverflow(_ record: Int) -> Bool { page.u16(record &+ 2) & overflowFlag != 0 }
  /// Bytes stored for the value: the value itself or the overflow reference.
  @inline(__always) func storedValueLength(_ record: Int) -> Int {
    let length = page.u16(record &+ 2)
    return length & overflowFlag != 0 ? overflowReferenceSize : length
  }
  @inline(__always) func recordLength(_ record: Int) -> Int {
    4 &+ tailLength(record) &+ storedValueLength(record)
  }
  /// The record lies inside the page.
  @inline(__always) func isRecordInside(_ record: Int, pageSize: Int) -> Bool {
    record <= pageSize &- 4 && record >= headerSize && record &+ recordLength(record) <= pageSize
  }

  /// Writes the whole key, prefix included, to `out`, which has room for it and 8 bytes more. Returns its length.
  @inline(__always) func copyKey(_ i: Int, to out: UnsafeMutableRawPointer) -> Int {
    let n = count
    let prefix = prefixLength
    out.copyMemory(from: page + Self.prefixOffset(count: n), byteCount: prefix)
    return copyRest(i, to: out + prefix, count: n) &+ prefix
  }
  /// The key after the prefix; returns its length. `out` has room for 8 bytes more.
  @inline(__always) func copyRest(_ i: Int, to out: UnsafeMutableRawPointer, count n: Int) -> Int {
    out.storeBytes(of: head(i).bigEndian, as: UInt64.self)
    let record = recordOffset(i, count: n)
    let rest = page.u16(record)
    if rest > 8 { copyShort(page + record + 4, to: out + 8, rest &- 8) }
    return rest
  }
}

/// A reference from a leaf to a value that lives in pages of its own.
struct OverflowReference {
  var first: PageID
  var crc: UInt32
  var length: UInt64

  init(first: PageID, crc: UInt32, length: UInt64) {
    self.first = first
    self.crc = crc
    self.length = length
  }
  @inline(__always) init(_ p: UnsafeRawPointer) {
    first = p.u32(0)
    crc = p.u32(4)
    length = p.u64(8)
  }
  func store(_ p: UnsafeMutableRawPointer) {
    p.setU32(0, first)
    p.setU32(4, crc)
    p.setU64(8, length)
  }
  /// Pages of a run: its first page begins with a page header, the value follows without a break.
  static func pages(length: UInt64, pageSize: Int) -> UInt64 {
    (length &+ UInt64(headerSize) &+ UInt64(pageSize) &- 1) / UInt64(pageSize)
  }
}
