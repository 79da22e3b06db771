// What a snapshot file says of itself before the data. docs/format-snapshot.md shows every byte.

import CNeedletail
import Glibc
import NeedletailBackend

/// What the store above the engine wants known of its snapshot without anybody reading its trees. All zero for a
/// database that is embedded by itself.
public struct StoreInformation: Sendable, Equatable {
  public var clusterID: UInt64 = 0
  public var memberID: UInt64 = 0
  public var revision: UInt64 = 0
  public var compactedRevision: UInt64 = 0
  /// The last log entry that the data contains.
  public var index: UInt64 = 0
  public var term: UInt64 = 0
  /// Who belonged to the cluster, in the store's own encoding; at most `membershipMax` bytes.
  public var membership: [UInt8] = []

  public static let membershipMax = 1 << 16

  public init() {}
}

public struct SnapshotHeader: Sendable, Equatable {
  public struct Tree: Sendable, Equatable {
    public var name: String
    public var entries: UInt64
  }

  /// Random: tells this snapshot from all others, also from one taken of the same data.
  public var snapshotID: UInt64 = 0
  /// The database file it was taken from, and the batch that it shows.
  public var storeID: UInt64 = 0
  public var transaction: UInt64 = 0
  /// Bytes per page of that file: what a restore uses unless it is told otherwise.
  public var pageSize = 0
  /// Seconds since 1970, by the clock of the machine that took it.
  public var takenAt_s: UInt64 = 0
  public var words = [UInt64](repeating: 0, count: wordCount)
  public var store = StoreInformation()
  /// In the order of their numbers, which records refer to.
  public var trees: [Tree] = []

  public var entries: UInt64 { trees.reduce(0) { $0 &+ $1.entries } }

  static let wordCount = 8
  static let version: UInt32 = 1
  /// "NTSNAPSH" read as a little-endian integer.
  static let magic: UInt64 = 0x4853_5041_4E53_544E
  static let fixedSize = 192
  static let treeSize = 40
  static let nameMax = 31
  static let treesMax = 48
  /// Magic number, version and length: enough to know how much to read.
  static let startSize = 16
  static let sizeMax = fixedSize + treesMax * treeSize + StoreInformation.membershipMax + 4
}

extension SnapshotHeader {
  func encoded() -> [UInt8] {
    let size = Self.fixedSize + trees.count * Self.treeSize + store.membership.count + 4
    var bytes = [UInt8](repeating: 0, count: size)
    bytes.withUnsafeMutableBytes { out in
      out.put(Self.magic, 0)
      out.put(Self.version, 8)
      out.put(UInt32(size), 12)
      out.put(snapshotID, 16)
      out.put(storeID, 24)
      out.put(transaction, 32)
      out.put(takenAt_s, 40)
      out.put(UInt32(pageSize), 48)
      out.put(UInt32(trees.count), 52)
      for (i, word) in words.enumerated() { out.put(word, 56 + 8 * i) }
      out.put(store.clusterID, 120)
      out.put(store.memberID, 128)
      out.put(store.revision, 136)
      out.put(store.compactedRevision, 144)
      out.put(store.index, 152)
      out.put(store.term, 160)
      out.put(UInt32(SnapshotFrame.rawMax), 168)
      out.put(UInt32(store.membership.count), 172)
      for (i, tree) in trees.enumerated() {
        let at = Self.fixedSize + i * Self.treeSize
        let name = Array(tree.name.utf8.prefix(Self.nameMax))
        out[at] = UInt8(name.count)
        for (j, byte) in name.enumerated() { out[at + 1 + j] = byte }
        out.put(tree.entries, at + 32)
      }
      let membership = Self.fixedSize + trees.count * Self.treeSize
      for (j, byte) in store.membership.enumerated() { out[membership + j] = byte }
      out.put(checksum(UnsafeRawBufferPointer(out)[..<(size - 4)]), size - 4)
    }
    return bytes
  }

  /// The header's length, from its first `startSize` bytes. Nil: these are not the first bytes of a snapshot.
  static func size(start: UnsafeRawBufferPointer) throws(SnapshotError) -> Int? {
    guard start.count >= startSize, start.u64(0) == magic else { return nil }
    guard start.u32(8) == version else { throw .unsupportedVersion(found: start.u32(8), supported: version) }
    let size = Int(start.u32(12))
    guard size >= fixedSize + 4, size <= sizeMax else { throw .damaged(.header, offset: 0) }
    return size
  }

  /// `bytes` is the whole header, `size(start:)` of it.
  init(decoding bytes: UnsafeRawBufferPointer) throws(SnapshotError) {
    let damaged = SnapshotError.damaged(.header, offset: 0)
    let size = bytes.count
    guard size >= Self.fixedSize + 4, bytes.u32(size - 4) == checksum(bytes[..<(size - 4)]) else { throw damaged }
    snapshotID = bytes.u64(16)
    storeID = bytes.u64(24)
    transaction = bytes.u64(32)
    takenAt_s = bytes.u64(40)
    pageSize = Int(bytes.u32(48))
    let treeCount = Int(bytes.u32(52))
    for i in 0..<Self.wordCount { words[i] = bytes.u64(56 + 8 * i) }
    store.clusterID = bytes.u64(120)
    store.memberID = bytes.u64(128)
    store.revision = bytes.u64(136)
    store.compactedRevision = bytes.u64(144)
    store.index = bytes.u64(152)
    store.term = bytes.u64(160)
    let membership = Int(bytes.u32(172))
    guard (try? PageGeometry(pageSize: pageSize)) != nil, treeCount <= Self.treesMax,
      bytes.u32(168) == UInt32(SnapshotFrame.rawMax),
      size == Self.fixedSize + treeCount * Self.treeSize + membership + 4
    else { throw damaged }
    for i in 0..<treeCount {
      let at = Self.fixedSize + i * Self.treeSize
      let length = Int(bytes[at])
      guard length >= 1, length <= Self.nameMax else { throw damaged }
      let name = String(decoding: bytes[(at + 1)..<(at + 1 + length)], as: UTF8.self)
      guard !trees.contains(where: { $0.name == name }) else { throw damaged }
      trees.append(Tree(name: name, entries: bytes.u64(at + 32)))
    }
    let start = Self.fixedSize + treeCount * Self.treeSize
    store.membership = [UInt8](bytes[start..<(start + membership)])
  }
}

func checksum(_ bytes: Slice<UnsafeRawBufferPointer>, seed: UInt32 = 0) -> UInt32 {
  let bytes = UnsafeRawBufferPointer(rebasing: bytes)
  guard let start = bytes.baseAddress else { return seed }
  return nt_crc32c(seed, start, bytes.count)
}

// Little-endian integers at byte offsets, with the buffer's own bounds checks.
extension UnsafeRawBufferPointer {
  func u16(_ at: Int) -> UInt16 { UInt16(littleEndian: loadUnaligned(fromByteOffset: at, as: UInt16.self)) }
  func u32(_ at: Int) -> UInt32 { UInt32(littleEndian: loadUnaligned(fromByteOffset: at, as: UInt32.self)) }
  func u64(_ at: Int) -> UInt64 { UInt64(littleEndian: loadUnaligned(fromByteOffset: at, as: UInt64.self)) }
}

extension UnsafeMutableRawBufferPointer {
  func put<T: FixedWidthInteger>(_ value: T, _ at: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: at, as: T.self)
  }
}
