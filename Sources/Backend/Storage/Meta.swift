// The two meta pages: each names one complete checkpoint. 4,096 bytes at any page size.
//
//      0  u64  magic "NEEDLETL"          8  u32  format version        12  u32  page size
//     16  u64  checkpoint number        24  u64  transaction           32  u64  pages in the file
//     40  u64  store id                 48  u32  number of trees       52  u32  reserved, 0
//     64  8 × u64  user words
//    128  48 × tree { u8 name length · 31 name bytes · u32 root page · u32 root level · u64 live entries · 16 reserved }
//   4092  u32  crc32c of bytes 0..<4092

import CNeedletail
import Glibc

let metaSize = 4096
let formatVersion: UInt32 = 1
private let magic: UInt64 = 0x4C54_454C_4445_454E  // "NEEDLETL", read as a little-endian integer
private let treesOffset = 128
private let treeSize = 64
private let nameMax = 31

/// What one checkpoint says. Which of the two meta pages counts is decided by the higher checkpoint number: transaction
/// numbers alone would tie when a checkpoint is repeated after a crash.
struct Meta: Equatable {
  var checkpoint: UInt64
  var transaction: UInt64
  var pages: UInt64
  var storeID: UInt64
  var words = [UInt64](repeating: 0, count: wordsMax)
  var trees: [(name: String, root: TreeRoot)] = []

  static func == (a: Meta, b: Meta) -> Bool {
    a.checkpoint == b.checkpoint && a.transaction == b.transaction && a.pages == b.pages && a.storeID == b.storeID
      && a.words == b.words && a.trees.elementsEqual(b.trees) { $0.name == $1.name && $0.root == $1.root }
  }

  static func isValidName(_ name: String) -> Bool { !name.isEmpty && name.utf8.count <= nameMax }

  func encode(into page: UnsafeMutableRawPointer, pageSize: Int) {
    memset(page, 0, metaSize)
    page.setU64(0, magic)
    page.setU32(8, formatVersion)
    page.setU32(12, UInt32(pageSize))
    page.setU64(16, checkpoint)
    page.setU64(24, transaction)
    page.setU64(32, pages)
    page.setU64(40, storeID)
    page.setU32(48, UInt32(trees.count))
    for (i, word) in words.enumerated() { page.setU64(64 + 8 * i, word) }
    for (i, tree) in trees.enumerated() {
      let at = page + treesOffset + treeSize * i
      var name = Array(tree.name.utf8.prefix(nameMax))
      at.storeBytes(of: UInt8(name.count), as: UInt8.self)
      memcpy(at + 1, &name, name.count)
      at.setU32(32, tree.root.page)
      at.setU32(36, UInt32(tree.root.level))
      at.setU64(40, tree.root.live)
    }
    page.setU32(metaSize - 4, nt_crc32c(0, page, metaSize - 4))
  }

  /// What is wrong with a meta page, for the error when neither is good.
  enum Problem: Error, Equatable {
    case notOurs
    case version(UInt32)
    case damaged(String)
  }

  /// The page size a meta page states; nil unless the page is whole.
  static func statedPageSize(_ page: UnsafeRawPointer) throws(Problem) -> Int {
    guard page.u64(0) == magic else { throw .notOurs }
    guard page.u32(metaSize - 4) == nt_crc32c(0, page, metaSize - 4) else { throw .damaged("checksum") }
    guard page.u32(8) == formatVersion else { throw .version(page.u32(8)) }
    return Int(page.u32(12))
  }

  /// What a torn write of a first meta page may leave: zeros or our magic number in front, and no valid page.
  static func isFragment(_ page: UnsafeRawPointer) -> Bool {
    guard page.u64(0) == 0 || page.u64(0) == magic else { return false }
    do throws(Problem) { _ = try statedPageSize(page) } catch {
      return error == .notOurs || error == .damaged("checksum")
    }
    return false
  }

  init(checkpoint: UInt64, transaction: UInt64, pages: UInt64, storeID: UInt64) {
    self.checkpoint = checkpoint
    self.transaction = transaction
    self.pages = pages
    self.storeID = storeID
  }

  init(decoding page: UnsafeRawPointer, fileSize: UInt64) throws(Problem) {
    let pageSize = try Self.statedPageSize(page)
    guard (try? PageGeometry(pageSize: pageSize)) != nil else { throw .damaged("page size \(pageSize)") }
    self.init(
      checkpoint: page.u64(16), transaction: page.u64(24), pages: page.u64(32), storeID: page.u64(40))
    guard pages <= fileSize / UInt64(pageSize), pages <= UInt64(dirtyBit) else {
      throw .damaged("it names \(pages) pages, more than the file holds")
    }
    // Counters that leave room to count on.
    guard checkpoint < 1 << 62, transaction < 1 << 62 else { throw .damaged("counters") }
    let count = Int(page.u32(48))
    guard count <= treesMax else { throw .damaged("\(count) trees") }
    for i in 0..<wordsMax { words[i] = page.u64(64 + 8 * i) }
    for i in 0..<count {
      let at = page + treesOffset + treeSize * i
      let length = Int(at.byte(0))
      guard length >= 1, length <= nameMax else { throw .damaged("tree name") }
      let name = String(decoding: UnsafeRawBufferPointer(start: at + 1, count: length), as: UTF8.self)
      let root = TreeRoot(page: at.u32(32), level: Int32(truncatingIfNeeded: at.u32(36)), live: at.u64(40))
      guard UInt64(root.page) < pages, root.level >= 0, root.level < Int32(depthLimit) else {
        throw .damaged("root of tree \(name)")
      }
      trees.append((name, root))
    }
  }
}
