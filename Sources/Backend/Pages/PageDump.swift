// A page as text, for people. It is shown as it is: what is damaged is said, never trusted, so this works on any bytes.

import CNeedletail

package struct PageDump {
  private let page: UnsafeRawPointer
  private let number: UInt64
  private let pageSize: Int
  private let showsAll: Bool
  private let isHex: Bool
  private var lines: [String] = []

  /// Bytes of a value or a key that are shown unless all are asked for.
  private static let shownMax = 64

  /// `bytes` has a page's length. `isHex`: keys and values as hexadecimal digits. `showsAll`: whole values.
  package static func text(
    _ bytes: UnsafeRawBufferPointer, number: UInt64, isHex: Bool = false, showsAll: Bool = false
  ) -> String {
    guard let page = bytes.baseAddress, (try? PageGeometry(pageSize: bytes.count)) != nil else { return "no page\n" }
    var dump = PageDump(page: page, number: number, pageSize: bytes.count, showsAll: showsAll, isHex: isHex)
    dump.describe()
    return dump.lines.joined(separator: "\n") + "\n"
  }

  /// The page size that a database file's first 4,096 bytes state; nil where they are damaged or something else.
  package static func pageSize(start bytes: UnsafeRawBufferPointer) -> Int? {
    guard bytes.count >= metaSize, let page = bytes.baseAddress, let size = try? Meta.statedPageSize(page),
      (try? PageGeometry(pageSize: size)) != nil
    else { return nil }
    return size
  }

  /// Pages before it hold the two meta pages.
  package static func metaPages(pageSize: Int) -> Int { FreeSpace.metaPages(pageSize: pageSize) }

  private mutating func line(_ text: String) { lines.append(text) }

  private mutating func describe() {
    let header = PageHeader(page)
    switch PageType(rawValue: header.type) {
    case .leaf: describeLeaf()
    case .branch: describeBranch()
    case .overflow: describeOverflow()
    case .bitmap: describeBitmap()
    case nil:
      line("page \(number): of no type that exists (\(header.type))")
      let bytes = UnsafeRawBufferPointer(start: page, count: pageSize)
      if bytes.allSatisfy({ $0 == 0 }) {
        line("  all zeros: never written")
      } else {
        dumpStart()
      }
    }
  }

  private mutating func describeHeader(_ kind: String, checksum: UInt32) {
    let header = PageHeader(page)
    line("page \(number): \(kind)")
    let verdict = checksum == header.crc ? "right" : "WRONG, the contents give \(hex(checksum))"
    line("  checksum     \(hex(header.crc)), \(verdict)")
    if UInt64(header.id) != number { line("  number       \(header.id): WRONG, this is page \(number)") }
    line("  transaction  \(header.transaction)")
  }

  private func hex(_ value: UInt32) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  // MARK: Leaves

  private mutating func describeLeaf() {
    let header = PageHeader(page)
    let leaf = LeafPage(page)
    describeHeader(
      "leaf of tree \(header.tree)\(header.level == 0 ? "" : ", level \(header.level): WRONG, leaves have 0")",
      checksum: header.checksum(pageSize: pageSize))
    guard leaf.isWellFormed(pageSize: pageSize) else { return outside("\(leaf.count) entries") }
    describeRoom(lower: leaf.lower)
    line("  prefix       \(show(leaf.prefix, leaf.prefixLength))")
    line("  entries      \(leaf.count)")
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 2 * pageSize + 16, alignment: 8)
    defer { buffer.deallocate() }
    for i in 0..<leaf.count {
      let record = leaf.recordOffset(i, count: leaf.count)
      guard leaf.isRecordInside(record, pageSize: pageSize) else {
        line("    \(i)  at \(record): DAMAGED, the record lies outside the page")
        continue
      }
      let length = leaf.copyKey(i, to: buffer)
      line("    \(i)  at \(record)  \(show(UnsafeRawPointer(buffer), length)) = \(value(leaf, record))")
    }
  }

  private func value(_ leaf: LeafPage, _ record: Int) -> String {
    let start = page + record + 4 + leaf.tailLength(record)
    guard leaf.isOverflow(record) else { return show(start, leaf.storedValueLength(record)) }
    let run = OverflowReference(start)
    let pages = run.length <= UInt64(Int32.max) ? OverflowReference.pages(length: run.length, pageSize: pageSize) : 0
    return "\(run.length) bytes in \(pages) pages from page \(run.first), checksum \(hex(run.crc))"
  }

  private mutating func describeRoom(lower: Int) {
    let header = PageHeader(page)
    guard header.upper >= lower, header.upper <= pageSize, header.garbage <= pageSize - header.upper else {
      line("  upper        \(header.upper), garbage \(header.garbage): WRONG, the arrays end at \(lower)")
      return
    }
    let free = header.upper - lower + header.garbage
    line(
      "  room         arrays to \(lower), records from \(header.upper), \(header.garbage) garbage; "
        + "\((pageSize - free) * 100 / pageSize) % full")
  }

  private mutating func outside(_ what: String) {
    line("  DAMAGED: there is no room for \(what) in a page of \(pageSize) bytes")
    dumpStart()
  }

  // MARK: Branches

  private mutating func describeBranch() {
    let header = PageHeader(page)
    let branch = BranchPage(page)
    describeHeader(
      "branch of tree \(header.tree), level \(header.level)", checksum: header.checksum(pageSize: pageSize))
    guard header.level > 0, branch.isWellFormed(pageSize: pageSize) else {
      return outside("\(branch.count) separators at level \(header.level)")
    }
    describeRoom(lower: branch.lower)
    line("  prefix       \(show(branch.prefix, branch.prefixLength))")
    line("  children     \(branch.count + 1)")
    let isSound = branch.tailsAreInside(pageSize: pageSize)
    if !isSound { line("  DAMAGED: separators lie outside the page; only children are shown") }
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 2 * pageSize + 16, alignment: 8)
    defer { buffer.deallocate() }
    for i in 0...branch.count {
      var from = ""
      if i > 0, isSound {
        let length = branch.copySeparator(i - 1, to: buffer)
        from = "  from \(show(UnsafeRawPointer(buffer), length))"
      }
      line("    \(i)  page \(branch.child(i)), \(branch.liveCount(i)) entries\(from)")
    }
  }

  // MARK: Others

  private mutating func describeOverflow() {
    let header = PageHeader(page)
    describeHeader(
      "first of \(header.upper) pages that hold one value of tree \(header.tree)", checksum: header.overflowChecksum)
    line("  (the checksum covers the header; the value's stands in the leaf that refers to it)")
    line("  value        \(show(page + headerSize, pageSize - headerSize))")
  }

  private mutating func describeBitmap() {
    let header = PageHeader(page)
    describeHeader("bitmap of a group of pages", checksum: header.checksum(pageSize: pageSize))
    let group = Int(number) / FreeSpace.groupPages(pageSize: pageSize)
    let first = group * FreeSpace.groupPages(pageSize: pageSize)
    let bits = FreeSpace.groupPages(pageSize: pageSize)
    func isUsed(_ i: Int) -> Bool { page.byte(headerSize + i / 8) >> UInt8(i % 8) & 1 == 1 }
    line("  group        \(group), pages \(first) to \(first + bits - 1)")
    line("  used         \((0..<bits).reduce(0) { $0 + (isUsed($1) ? 1 : 0) })")
    var i = 0
    while i < bits {
      guard isUsed(i) else {
        i += 1
        continue
      }
      let start = i
      while i < bits, isUsed(i) { i += 1 }
      line(i - start == 1 ? "    \(first + start)" : "    \(first + start) to \(first + i - 1)")
    }
  }

  private mutating func dumpStart() {
    for row in stride(from: 0, to: min(256, pageSize), by: 16) {
      let digits = (row..<row + 16).map { byte in
        let text = String(page.byte(byte), radix: 16)
        return text.count == 1 ? "0" + text : text
      }
      line("  \(hex(UInt32(row)).suffix(4))  \(digits.joined(separator: " "))")
    }
  }

  /// Bytes as text or hexadecimal digits, with their number where not all are shown.
  private func show(_ start: UnsafeRawPointer, _ count: Int) -> String {
    let shown = showsAll ? count : min(count, Self.shownMax)
    let bytes = UnsafeRawBufferPointer(start: start, count: shown)
    let text = isHex ? Self.digits(bytes) : Self.quoted(bytes)
    return shown < count ? "\(text)… (\(count) bytes)" : text
  }

  package static func digits(_ bytes: UnsafeRawBufferPointer) -> String {
    bytes.reduce(into: "") { text, byte in
      if byte < 16 { text += "0" }
      text += String(byte, radix: 16)
    }
  }

  package static func quoted(_ bytes: UnsafeRawBufferPointer) -> String {
    var text = "\""
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        text += "\\"
        text.unicodeScalars.append(Unicode.Scalar(byte))
      case 0x20..<0x7F: text.unicodeScalars.append(Unicode.Scalar(byte))
      default: text += byte < 16 ? "\\x0" + String(byte, radix: 16) : "\\x" + String(byte, radix: 16)
      }
    }
    return text + "\""
  }
}

/// A meta page as text.
package enum MetaDump {
  package static func text(_ bytes: UnsafeRawBufferPointer, slot: Int, fileBytes: UInt64) -> String {
    guard bytes.count >= metaSize, let page = bytes.baseAddress else { return "meta page \(slot): cut short\n" }
    let meta: Meta
    do { meta = try Meta(decoding: page, fileSize: fileBytes) } catch {
      switch error {
      case .notOurs: return "meta page \(slot): DAMAGED or never written: it does not begin with NEEDLETL\n"
      case .version(let version): return "meta page \(slot): of format version \(version)\n"
      case .damaged(let what): return "meta page \(slot): DAMAGED: \(what)\n"
      }
    }
    var text = "meta page \(slot)\n  checkpoint   \(meta.checkpoint)\n  transaction  \(meta.transaction)\n"
    text += "  pages        \(meta.pages)\n  store id     \(String(meta.storeID, radix: 16))\n"
    text += "  user words   \(meta.words.map { "\($0)" }.joined(separator: " "))\n"
    for (i, tree) in meta.trees.enumerated() {
      let name = Array(tree.name.utf8).withUnsafeBytes { PageDump.quoted($0) }
      text += "  tree \(i)       \(name): "
      text +=
        tree.root.page == 0
        ? "empty\n" : "\(tree.root.live) entries, root page \(tree.root.page) at level \(tree.root.level)\n"
    }
    return text
  }
}
