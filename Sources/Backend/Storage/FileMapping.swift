// A file in the address space: reserved at once for all it may grow to, and never moved.

import Glibc

/// A shared mapping of a file from byte 0. Its owner unmaps it.
struct FileMapping {
  let address: UnsafeMutableRawPointer
  private let reserved: UnsafeMutableRawPointer
  private let length: Int

  /// A 2 MiB-aligned mapping lets the kernel map the page cache's large folios as huge pages.
  static let alignment = 2 << 20

  /// Maps `capacity` bytes, a multiple of `alignment`, of which the file need not have any yet. Throws `reservation`.
  init(_ descriptor: Int32, capacity: UInt64, writable: Bool) throws(DatabaseError) {
    // Reserve with room to align, then map the file over the aligned part.
    length = Int(capacity) + Self.alignment
    guard let reserved = mmap(nil, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      reserved != MAP_FAILED
    else { throw .reservation(bytes: capacity, errno: errno) }
    let aligned = (Int(bitPattern: reserved) + Self.alignment - 1) & ~(Self.alignment - 1)
    let mapped = mmap(
      UnsafeMutableRawPointer(bitPattern: aligned), Int(capacity), writable ? PROT_READ | PROT_WRITE : PROT_READ,
      MAP_SHARED | MAP_NORESERVE | MAP_FIXED, descriptor, 0)
    guard let mapped, mapped != MAP_FAILED else {
      let cause = errno
      munmap(reserved, length)
      throw .reservation(bytes: capacity, errno: cause)
    }
    madvise(mapped, Int(capacity), MADV_DONTDUMP)
    self.reserved = reserved
    address = mapped
  }

  func unmap() { munmap(reserved, length) }

  /// The reservation asked for, or what the address-space limit leaves of it.
  static func affordable(_ bytes: UInt64) -> UInt64 {
    guard let limit = addressSpaceLimit else { return bytes & ~UInt64(alignment - 1) }
    return min(bytes, limit / 2) & ~UInt64(alignment - 1)
  }

  static var addressSpaceLimit: UInt64? {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0, limit.rlim_cur != UInt64.max else {
      return nil
    }
    return UInt64(limit.rlim_cur)
  }
}
