// Editing a leaf in scratch memory: insert, remove, and rewriting entries into a page with another prefix.

import CNeedletail
import Glibc

/// A value as a leaf stores it: its bytes, or the 16 bytes of an overflow reference.
struct StoredValue {
  let bytes: UnsafeRawBufferPointer
  let isOverflow: Bool
  var lengthField: Int { isOverflow ? overflowFlag : bytes.count }
}

struct LeafEditor {
  let page: UnsafeMutableRawPointer
  let pageSize: Int
  init(_ page: UnsafeMutableRawPointer, pageSize: Int) {
    self.page = page
    self.pageSize = pageSize
  }

  var view: LeafPage { LeafPage(UnsafeRawPointer(page)) }
  private var header: MutablePageHeader { MutablePageHeader(page) }

  /// Bytes free between the arrays and the records, and those that a rewrite would add.
  var free: Int { view.header.upper - view.lower }
  var freeAfterRewrite: Int { free + view.header.garbage }
  /// Bytes in use beside the header.
  var used: Int { pageSize - headerSize - freeAfterRewrite }

  /// Inserts an entry at index `i`; the caller has seen that `entryLength` bytes are free.
  func insert(at i: Int, head: UInt64, rest: Int, tail: UnsafeRawPointer, value: StoredValue) {
    let n = view.count
    let prefixLength = view.prefixLength
    let tailLength = max(0, rest - 8)
    let upper = view.header.upper - 4 - tailLength - value.bytes.count
    assert(i <= n && upper >= view.lower + 10)
    // Highest part first: each move's target overlaps only what has already moved.
    memmove(page + LeafPage.prefixOffset(count: n + 1), page + LeafPage.prefixOffset(count: n), prefixLength)
    memmove(
      page + LeafPage.slotOffset(i + 1, count: n + 1), page + LeafPage.slotOffset(i, count: n), 2 * (n - i))
    memmove(page + LeafPage.slotOffset(0, count: n + 1), page + LeafPage.slotOffset(0, count: n), 2 * i)
    memmove(page + headerSize + 8 * (i + 1), page + headerSize + 8 * i, 8 * (n - i))
    page.setU64(headerSize + 8 * i, head)
    page.setU16(LeafPage.slotOffset(i, count: n + 1), upper)
    header.setCount(n + 1)
    header.setUpper(upper)
    writeRecord(at: upper, rest: rest, tail: tail, value: value)
  }

  private func writeRecord(at offset: Int, rest: Int, tail: UnsafeRawPointer, value: StoredValue) {
    let tailLength = max(0, rest - 8)
    page.setU16(offset, rest)
    page.setU16(offset + 2, value.lengthField)
    if tailLength > 0 { memcpy(page + offset + 4, tail, tailLength) }
    if let source = value.bytes.baseAddress, value.bytes.count > 0 {
      memcpy(page + offset + 4 + tailLength, source, value.bytes.count)
    }
  }

  /// Overwrites entry i's value where the stored length stays the same; false where it does not.
  func replaceInPlace(at i: Int, value: StoredValue) -> Bool {
    let record = view.recordOffset(i, count: view.count)
    guard view.storedValueLength(record) == value.bytes.count else { return false }
    page.setU16(record + 2, value.lengthField)
    if let source = value.bytes.baseAddress, value.bytes.count > 0 {
      memcpy(page + record + 4 + view.tailLength(record), source, value.bytes.count)
    }
    return true
  }

  func remove(at i: Int) {
    let n = view.count
    assert(i < n)
    let record = view.recordOffset(i, count: n)
    let length = view.recordLength(record)
    if record == view.header.upper {
      header.setUpper(record + length)
    } else {
      header.setGarbage(view.header.garbage + length)
    }
    let prefixLength = view.prefixLength
    memmove(page + headerSize + 8 * i, page + headerSize + 8 * (i + 1), 8 * (n - 1 - i))
    memmove(page + LeafPage.slotOffset(0, count: n - 1), page + LeafPage.slotOffset(0, count: n), 2 * i)
    memmove(
      page + LeafPage.slotOffset(i, count: n - 1), page + LeafPage.slotOffset(i + 1, count: n), 2 * (n - 1 - i))
    memmove(page + LeafPage.prefixOffset(count: n - 1), page + LeafPage.prefixOffset(count: n), prefixLength)
    header.setCount(n - 1)
  }
}

/// Writes entries into a formatted, empty leaf, in order; their number is known beforehand because the slots lie
/// behind the heads.
struct LeafBuilder {
  let page: UnsafeMutableRawPointer
  let count: Int
  let prefixLength: Int
  private(set) var written = 0
  private var upper: Int
  private let pageSize: Int

  init(
    _ page: UnsafeMutableRawPointer, pageSize: Int, count: Int, prefix: UnsafeRawPointer, prefixLength: Int
  ) {
    self.page = page
    self.pageSize = pageSize
    self.count = count
    self.prefixLength = prefixLength
    upper = pageSize
    memcpy(page + LeafPage.prefixOffset(count: count), prefix, prefixLength)
    let header = MutablePageHeader(page)
    header.setCount(count)
    header.setPrefixLength(prefixLength)
    header.setGarbage(0)
    header.setUpper(upper)
  }

  /// Adds an entry whose whole key is given.
  mutating func append(key: UnsafeRawPointer, length: Int, value: StoredValue) {
    let rest = length - prefixLength
    let tail = max(0, rest - 8)
    append(
      head: keyHead(key, prefixLength, length), rest: rest, tail: key + (length - tail), tailLength: tail,
      lengthField: value.lengthField, value: value.bytes)
  }

  /// Adds entries [from, to) of another leaf; `buffer` has room for any key and 8 bytes more.
  mutating func append(_ source: LeafPage, from: Int, to: Int, buffer: UnsafeMutableRawPointer) {
    let n = source.count
    let samePrefix = source.prefixLength == prefixLength
    if !samePrefix { buffer.copyMemory(from: source.prefix, byteCount: source.prefixLength) }
    for i in from..<to {
      let record = source.recordOffset(i, count: n)
      let tail = source.tailLength(record)
      let stored = UnsafeRawBufferPointer(
        start: source.page + record + 4 + tail, count: source.storedValueLength(record))
      let lengthField = source.page.u16(record + 2)
      if samePrefix {
        append(
          head: source.head(i), rest: source.page.u16(record), tail: source.page + record + 4, tailLength: tail,
          lengthField: lengthField, value: stored)
      } else {
        let length = source.prefixLength + source.copyRest(i, to: buffer + source.prefixLength, count: n)
        let rest = length - prefixLength
        let newTail = max(0, rest - 8)
        append(
          head: keyHead(UnsafeRawPointer(buffer), prefixLength, length), rest: rest,
          tail: UnsafeRawPointer(buffer) + (length - newTail), tailLength: newTail, lengthField: lengthField,
          value: stored)
      }
    }
  }

  private mutating func append(
    head: UInt64, rest: Int, tail: UnsafeRawPointer, tailLength: Int, lengthField: Int, value: UnsafeRawBufferPointer
  ) {
    assert(written < count && rest >= 0)
    upper -= 4 + tailLength + value.count
    assert(upper >= LeafPage.prefixOffset(count: count) + prefixLength)
    page.setU64(headerSize + 8 * written, head)
    page.setU16(LeafPage.slotOffset(written, count: count), upper)
    page.setU16(upper, rest)
    page.setU16(upper + 2, lengthField)
    if tailLength > 0 { memcpy(page + upper + 4, tail, tailLength) }
    if let source = value.baseAddress, value.count > 0 { memcpy(page + upper + 4 + tailLength, source, value.count) }
    written += 1
    MutablePageHeader(page).setUpper(upper)
  }
}

extension LeafPage {
  /// Bytes that entries [from, to) weigh in a page with another prefix (which is not counted).
  func weight(from: Int, to: Int, prefixLength newPrefix: Int) -> Int {
    let n = count
    let shift = prefixLength - newPrefix
    var total = 0
    for i in from..<to {
      let record = recordOffset(i, count: n)
      let rest = page.u16(record) + shift
      total += leafEntryOverhead + max(0, rest - 8) + storedValueLength(record)
    }
    return total
  }
}
