// A database file: mapped once for reading, written with pwritev.
//
// Why not write through the mapping: a full disk would be SIGBUS instead of ENOSPC, a stray store would corrupt the
// file, and the kernel would write whole large folios for each page touched.

import CNeedletail
import Glibc
import Synchronization

/// Immutable after `open` but for `size`, which only the writer changes and only it reads (readers know a file's extent
/// from their snapshot), and `extent`, which its lock guards. Hence unchecked Sendable.
final class FilePageStore: PageStore, @unchecked Sendable {
  let base: UnsafeRawPointer
  let capacity: UInt64
  private(set) var size: UInt64
  let descriptor: Int32
  private let mapping: UnsafeMutableRawPointer
  private let mappingLength: Int

  /// A 2 MiB-aligned mapping lets the kernel map the page cache's large folios as huge pages.
  static let alignment = 2 << 20
  /// Size of the pieces that the page cache is to hold the file in; divides `alignment`.
  private let folio: Int
  /// `filled`: up to there the page cache holds the file in large folios, or as it was found when opened.
  private struct Extent {
    var filled: UInt64
    var size: UInt64
  }
  private let extent: Mutex<Extent>
  /// The kernel takes no more pieces in one call (UIO_MAXIOV).
  private static let vectorsMax = 1024

  /// Opens `path`, creating it when `create`; takes the lock that keeps a second writer out.
  static func open(
    _ path: String, create: Bool, readOnly: Bool, reservation: UInt64, hugePages: Bool
  ) throws(DatabaseError) -> FilePageStore {
    var created = false
    var descriptor = Glibc.open(path, (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC)
    if descriptor < 0, errno == ENOENT, create, !readOnly {
      descriptor = Glibc.open(path, O_RDWR | O_CLOEXEC | O_CREAT | O_EXCL, 0o600)
      created = true
    }
    guard descriptor >= 0 else { throw .io(operation: "open \(path)", errno: errno, offset: 0) }
    do throws(DatabaseError) {
      guard flock(descriptor, (readOnly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 else {
        throw errno == EWOULDBLOCK ? .inUse(path: path) : .io(operation: "flock \(path)", errno: errno, offset: 0)
      }
      if created { try syncDirectory(of: path) }
      return try FilePageStore(descriptor: descriptor, path: path, reservation: reservation, hugePages: hugePages)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  private init(
    descriptor: Int32, path: String, reservation: UInt64, hugePages: Bool
  ) throws(DatabaseError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .io(operation: "fstat \(path)", errno: errno, offset: 0) }
    size = UInt64(status.st_size)
    self.descriptor = descriptor
    folio = hugePages ? Self.alignment : 64 << 10
    capacity = Self.affordable(max(reservation, size * 2))
    // Reserve with room to align, then map the file over the aligned part.
    mappingLength = Int(capacity) + Self.alignment
    guard let reserved = mmap(nil, mappingLength, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      reserved != MAP_FAILED
    else { throw .reservation(bytes: capacity, errno: errno) }
    mapping = reserved
    let address = (Int(bitPattern: reserved) + Self.alignment - 1) & ~(Self.alignment - 1)
    let mapped = mmap(
      UnsafeMutableRawPointer(bitPattern: address), Int(capacity), PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED,
      descriptor, 0)
    guard let mapped, mapped != MAP_FAILED else {
      let cause = errno
      munmap(reserved, mappingLength)
      throw .reservation(bytes: capacity, errno: cause)
    }
    madvise(mapped, Int(capacity), MADV_DONTDUMP)
    // Pages not in memory then come in pieces of 2 MiB, which the kernel maps as huge pages (15–20 % on random gets of a
    // reopened file). Not for what may not fit in memory: there each miss would read 2 MiB for one page.
    if hugePages, size > 0, size <= Self.physicalMemory / 4 { madvise(mapped, Int(size), MADV_HUGEPAGE) }
    base = UnsafeRawPointer(mapped)
    extent = Mutex(Extent(filled: size, size: size))
  }

  /// The reservation asked for, or what the address-space limit leaves of it.
  private static func affordable(_ bytes: UInt64) -> UInt64 {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0, limit.rlim_cur != UInt64.max else {
      return bytes & ~UInt64(alignment - 1)
    }
    return min(bytes, UInt64(limit.rlim_cur) / 2) & ~UInt64(alignment - 1)
  }

  private static var physicalMemory: UInt64 {
    UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
  }

  func write(_ runs: [PageRun]) throws(DatabaseError) {
    var vectors: [iovec] = []
    vectors.reserveCapacity(min(runs.count, Self.vectorsMax))
    var i = 0
    while i < runs.count {
      let offset = runs[i].offset
      var end = offset
      // One call for one large folio, so that a call can fill one.
      let folioEnd = (offset / UInt64(folio) + 1) * UInt64(folio)
      vectors.removeAll(keepingCapacity: true)
      while i < runs.count, runs[i].offset == end, end < folioEnd, vectors.count < Self.vectorsMax {
        vectors.append(
          iovec(iov_base: UnsafeMutableRawPointer(mutating: runs[i].bytes.baseAddress), iov_len: runs[i].bytes.count))
        end += UInt64(runs[i].bytes.count)
        i += 1
      }
      try fill(before: offset, end)
      try writeAll(&vectors, offset: offset)
    }
  }

  /// pwritev until everything is written: a short write is no error for a file, the next call tells why.
  private func writeAll(_ vectors: inout [iovec], offset: UInt64) throws(DatabaseError) {
    var offset = offset
    var first = 0
    while first < vectors.count {
      let written = vectors.withUnsafeBufferPointer {
        pwritev(descriptor, $0.baseAddress.unsafelyUnwrapped + first, Int32($0.count - first), off_t(offset))
      }
      if written < 0 {
        if errno == EINTR { continue }
        throw .io(operation: "pwritev", errno: errno, offset: offset)
      }
      offset += UInt64(written)
      var left = written
      while first < vectors.count, left >= vectors[first].iov_len {
        left -= vectors[first].iov_len
        first += 1
      }
      if first < vectors.count, left > 0 {
        vectors[first].iov_base = vectors[first].iov_base.map { $0 + left }
        vectors[first].iov_len -= left
      }
    }
  }

  func sync() throws(DatabaseError) {
    guard fdatasync(descriptor) == 0 else { throw .io(operation: "fdatasync", errno: errno, offset: 0) }
  }

  func grow(to newSize: UInt64) throws(DatabaseError) {
    guard newSize > size else { return }
    guard newSize <= capacity else { throw .noSpace(bytes: newSize - size) }
    let code = posix_fallocate(descriptor, off_t(size), off_t(newSize - size))
    guard code == 0 else {
      _ = ftruncate(descriptor, off_t(size))
      throw code == ENOSPC || code == EDQUOT || code == EFBIG
        ? .noSpace(bytes: newSize - size) : .io(operation: "fallocate", errno: code, offset: size)
    }
    size = newSize
    extent.withLock { $0.size = newSize }
  }

  // MARK: Large folios

  /// Sees to it that the bytes from `offset` to `end`, which are about to be written, come into the page cache in folios of
  /// 2 MiB (or what the options say), which the kernel maps as huge pages (15–20 % on random gets): what a folio's first write does not cover is
  /// written with zeros first. A load of sorted input covers most of its folios and writes them once.
  ///
  /// Under the lock, because a checkpoint's bitmap pages are written beside the writer: no zeros may come after them.
  private func fill(before offset: UInt64, _ end: UInt64) throws(DatabaseError) {
    var failure: DatabaseError?
    extent.withLock { extent in
      while extent.filled < min(end, extent.size), failure == nil {
        let folioEnd = min((extent.filled / UInt64(folio) + 1) * UInt64(folio), extent.size)
        if offset > extent.filled || end < folioEnd {
          do throws(DatabaseError) { try writeZeros(from: extent.filled, to: folioEnd) } catch { failure = error }
        }
        extent.filled = folioEnd
      }
    }
    if let failure { throw failure }
  }

  private func writeZeros(from: UInt64, to: UInt64) throws(DatabaseError) {
    guard let zeros = Self.zeros else { return }
    var offset = from
    while offset < to {
      let written = pwrite(descriptor, zeros, Int(to - offset), off_t(offset))
      if written < 0 {
        if errno == EINTR { continue }
        throw .io(operation: "pwrite", errno: errno, offset: offset)
      }
      offset += UInt64(written)
    }
  }

  /// 2 MiB of zeros for all stores. Populated: where the kernel must fault its source in, it first fills the folio twice.
  /// Nil where there is no memory for page tables: folios are then as they come.
  nonisolated(unsafe) private static let zeros: UnsafeRawPointer? = {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE
    guard let zeros = mmap(nil, alignment, PROT_READ, flags, -1, 0), zeros != MAP_FAILED else { return nil }
    return UnsafeRawPointer(zeros)
  }()

  func close() {
    munmap(mapping, mappingLength)
    Glibc.close(descriptor)
  }
}

/// fsyncs the directory that holds `path`, so that the file's name survives a power cut.
func syncDirectory(of path: String) throws(DatabaseError) {
  let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { throw .io(operation: "open \(directory)", errno: errno, offset: 0) }
  defer { close(descriptor) }
  guard fsync(descriptor) == 0 else { throw .io(operation: "fsync \(directory)", errno: errno, offset: 0) }
}
