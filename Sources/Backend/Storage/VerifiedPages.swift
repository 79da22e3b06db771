// Which pages have had their checksum compared since the file was opened, or were written since: a bit each. A read tests
// the bit (the words of 100,000 pages fit in a first-level cache, and their address is known before the page arrives) and
// pays for the checksum once per page and open; so damage on disk is an error, never an answer.

import CNeedletail
import Glibc
import Synchronization

/// Trivial handle to the bits. Bits are only ever set, in any order, by any thread: the worst that a race costs is a second
/// look at the same page. A number that is used again keeps its bit, because what it holds then was written by us.
struct VerifiedPages: @unchecked Sendable {
  private let words: UnsafeMutablePointer<Atomic<UInt64>>
  private let byteCount: Int

  /// Room for `pages` bits. Memory is taken as bits are set.
  init(pages: UInt64) throws(DatabaseError) {
    byteCount = Int(pages / 8) + 4096
    guard
      let memory = mmap(
        nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      memory != MAP_FAILED
    else { throw .reservation(bytes: pages / 8, errno: errno) }
    words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: byteCount / 8)
  }

  @inline(__always) func contains(_ id: PageID) -> Bool {
    words[Int(id &>> 6)].load(ordering: .relaxed) &>> UInt64(id & 63) & 1 == 1
  }

  func insert(_ id: PageID) {
    words[Int(id >> 6)].bitwiseOr(1 << UInt64(id & 63), ordering: .relaxed)
  }

  func free() { munmap(words, byteCount) }
}
