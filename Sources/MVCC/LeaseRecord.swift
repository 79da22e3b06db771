// Leases in their tree: a record for each, and right behind it an entry for each key attached to it.
//
//   name                                        value
//   id u64 big-endian                           granted TTL i64, remaining TTL i64 (0 = all of it), both little-endian
//   id u64 big-endian · key                     nothing
//   id · beginning of the key · FNV-1a 64 of it {length u32 little-endian, key}…: keys too long for a name
//
// Names of the last form are exactly as long as the tree allows, those of the second are shorter.
import NeedletailBackend
import NeedletailBytes

package struct LeaseRecord: Equatable, Sendable {
  package static let size = 16

  /// Seconds that it was granted.
  package var ttl: Int64
  /// Seconds that were left at the last checkpoint; 0 = all.
  package var remaining: Int64

  package init(ttl: Int64, remaining: Int64 = 0) {
    self.ttl = ttl
    self.remaining = remaining
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(MVCCError) {
    guard bytes.count == LeaseRecord.size else { throw .corrupt("a lease of \(bytes.count) bytes") }
    ttl = Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: Int64.self))
    remaining = Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: Int64.self))
  }

  func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(MVCCError) -> R) throws(MVCCError) -> R {
    var words = (ttl.littleEndian, remaining.littleEndian)
    return try withUnsafeMutableBytes(of: &words) { (p) throws(MVCCError) -> R in
      try body(UnsafeRawBufferPointer(p))
    }
  }
}

/// Names of the lease tree, built in a buffer of the caller's.
struct LeaseName {
  static let idSize = 8

  static func build(_ id: Int64, in out: inout OutBuffer) {
    out.removeAll()
    out.reserve(idSize).storeBytes(of: UInt64(bitPattern: id).bigEndian, as: UInt64.self)
    out.advance(idSize)
  }

  /// True for the long form.
  static func build(_ id: Int64, _ key: UnsafeRawBufferPointer, nameMax: Int, in out: inout OutBuffer) -> Bool {
    build(id, in: &out)
    guard idSize + key.count >= nameMax else {
      out.append(key)
      return false
    }
    out.append(UnsafeRawBufferPointer(rebasing: key[..<(nameMax - idSize - 8)]))
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    out.reserve(8).storeBytes(of: hash.bigEndian, as: UInt64.self)
    out.advance(8)
    return true
  }

  static func id(_ name: UnsafeRawBufferPointer) throws(MVCCError) -> Int64 {
    guard name.count >= idSize else { throw .corrupt("a lease's name of \(name.count) bytes") }
    return Int64(bitPattern: UInt64(bigEndian: name.loadUnaligned(as: UInt64.self)))
  }
}

/// The keys in a long form's value.
struct LongLeaseKeys {
  private var bytes: UnsafeRawBufferPointer
  private var at = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  mutating func next() throws(MVCCError) -> UnsafeRawBufferPointer? {
    guard at < bytes.count else { return nil }
    guard bytes.count - at >= 4 else { throw .corrupt("a lease's long keys") }
    let count = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
    guard count <= bytes.count - at - 4 else { throw .corrupt("a lease's long keys") }
    defer { at += 4 + count }
    return UnsafeRawBufferPointer(rebasing: bytes[(at + 4)..<(at + 4 + count)])
  }
}

extension Store {
  /// The lease, or nil.
  package func lease(_ view: SnapshotView, _ id: Int64) throws(MVCCError) -> LeaseRecord? {
    var name = OutBuffer()
    defer { name.free() }
    LeaseName.build(id, in: &name)
    return try view.tree(lease).find(name.bytes).map { (bytes) throws(MVCCError) in try LeaseRecord(bytes) }
  }

  /// Calls `body` for each lease, in the order of ids. O(leases · log): keys are stepped over.
  package func forEachLease(
    _ view: SnapshotView, _ body: (Int64, LeaseRecord) -> Void
  ) throws(MVCCError) {
    var name = OutBuffer()
    defer { name.free() }
    var cursor = view.tree(lease).cursor()
    var from: UInt64 = 0
    while true {
      LeaseName.build(Int64(bitPattern: from), in: &name)
      guard try cursor.move(to: name.bytes) else { return }
      let id = try LeaseName.id(try cursor.name)
      body(id, try LeaseRecord(try cursor.record))
      guard UInt64(bitPattern: id) < UInt64.max else { return }
      from = UInt64(bitPattern: id) + 1
    }
  }

  /// The keys attached to a lease, in key order.
  package func keys(of id: Int64, _ view: SnapshotView) throws(MVCCError) -> [[UInt8]] {
    try LeaseKeys.all(of: id, view.tree(lease), nameMax: database.maxKeyLength)
  }
}

enum LeaseKeys {
  static func all(of id: Int64, _ tree: TreeView, nameMax: Int) throws(MVCCError) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    var hasLong = false
    var name = OutBuffer()
    defer { name.free() }
    LeaseName.build(id, in: &name)
    name.append(byte: 0)
    var cursor = tree.cursor()
    var isValid = try cursor.move(to: name.bytes)
    while isValid {
      let found = try cursor.name
      guard try LeaseName.id(found) == id else { break }
      if found.count < nameMax {
        keys.append([UInt8](found[LeaseName.idSize...]))
      } else {
        hasLong = true
        var long = LongLeaseKeys(try cursor.record)
        while let key = try long.next() { keys.append([UInt8](key)) }
      }
      isValid = try cursor.step()
    }
    // Long names are ordered by hash where their beginnings are equal.
    if hasLong { keys.sort { $0.lexicographicallyPrecedes($1) } }
    return keys
  }
}
