// A point in the store's history, and the keys of the `log` tree that are made of it.

/// (main, sub): the transaction and the place within it. Two versions of one key never share a revision.
package struct Revision: Equatable, Comparable, Sendable {
  package var main: UInt64
  package var sub: UInt32

  @inline(__always)
  package init(main: UInt64, sub: UInt32) {
    self.main = main
    self.sub = sub
  }

  @inline(__always)
  package static func < (a: Revision, b: Revision) -> Bool {
    a.main != b.main ? a.main < b.main : a.sub < b.sub
  }
}

/// The 12 bytes of a `log` key: big-endian, so that the tree's byte order is the order of revisions.
struct LogKey {
  static let size = 12

  private var high: UInt64
  private var low: UInt32

  init(_ revision: Revision) {
    high = revision.main.bigEndian
    low = revision.sub.bigEndian
  }

  /// Calls `body` with the key's bytes.
  @inline(__always)
  func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(MVCCError) -> R) throws(MVCCError) -> R {
    var storage: (UInt64, UInt64) = (0, 0)
    return try withUnsafeMutableBytes(of: &storage) { (p) throws(MVCCError) -> R in
      p.storeBytes(of: high, toByteOffset: 0, as: UInt64.self)
      p.storeBytes(of: low, toByteOffset: 8, as: UInt32.self)
      return try body(UnsafeRawBufferPointer(rebasing: p[..<LogKey.size]))
    }
  }

  static func decode(_ bytes: UnsafeRawBufferPointer) throws(MVCCError) -> Revision {
    guard bytes.count == size else { throw .corrupt("a log key of \(bytes.count) bytes") }
    return Revision(
      main: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
      sub: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
  }
}
