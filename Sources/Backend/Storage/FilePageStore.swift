// A database file: mapped once for reading, written with pwritev, and where that is dear through a second mapping.
//
// Why not write all through a mapping: the kernel would write whole large folios for each page touched, which
// `DirtyFolios` keeps within bounds. A full disk would be SIGBUS instead of ENOSPC: so pages are stored only where a call
// has written before, and only on file systems that overwrite in place. The second mapping's address never leaves this
// class.

import CNeedletail
import Glibc
import Synchronization

/// Immutable after `open` but for `size`, `dirty` and what was advised, which only the writer uses (readers know a file's
/// extent from their snapshot), `isClosed`, which only the one who closes does, and `extent`, which its lock guards. Hence
/// unchecked Sendable.
final class FilePageStore: PageStore, @unchecked Sendable {
  var base: UnsafeRawPointer { UnsafeRawPointer(mapping.address) }
  let capacity: UInt64
  private(set) var size: UInt64
  let descriptor: Int32
  private let mapping: FileMapping
  /// The same bytes, to be written; nil where only calls write.
  private let stores: FileMapping?
  private var dirty = DirtyFolios()
  private let syncs = Atomic<UInt64>(0)
  /// Bytes that went through the writable mapping, for tests and reports.
  private(set) var storedBytes: UInt64 = 0

  /// Size of the pieces that the page cache is to hold the file in; divides `FileMapping.alignment`.
  private let folio: Int
  /// `filled`: up to there the page cache holds the file in large folios, or as it was found when opened.
  private struct Extent {
    var filled: UInt64
    var size: UInt64
  }
  private let extent: Guarded<Extent>
  /// So much of the mapping's beginning was opened to be read in huge pages.
  private let hugeBytes: Int
  private var readsSinglePages = false
  private var isClosed = false
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
      return try FilePageStore(
        descriptor: descriptor, path: path, readOnly: readOnly, reservation: reservation, hugePages: hugePages)
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  private init(
    descriptor: Int32, path: String, readOnly: Bool, reservation: UInt64, hugePages: Bool
  ) throws(DatabaseError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .io(operation: "fstat \(path)", errno: errno, offset: 0) }
    size = UInt64(status.st_size)
    self.descriptor = descriptor
    folio = hugePages ? FileMapping.alignment : 64 << 10
    capacity = FileMapping.affordable(max(reservation, size * 2))
    mapping = try FileMapping(descriptor, capacity: capacity, writable: false)
    // Pages not in memory then come in pieces of 2 MiB, which the kernel maps as huge pages (15–20 % on random gets of a
    // reopened file). Not for what may not fit in memory: there each miss would read 2 MiB for one page.
    hugeBytes = hugePages && size <= MemoryLimit.bytes / 4 ? Int(size) : 0
    if hugeBytes > 0 { madvise(mapping.address, hugeBytes, MADV_HUGEPAGE) }
    stores =
      hugePages && !readOnly && nt_overwrites_in_place(descriptor) != 0 && FileMapping.addressSpaceLimit == nil
      ? try? FileMapping(descriptor, capacity: capacity, writable: true) : nil
    extent = Guarded(Extent(filled: size, size: size))
    adviseReads()
  }

  /// Of what does not fit in memory a miss would read what the device reads ahead (8 MiB here), and throw out as much: so it
  /// reads single pages, and who needs more asks for it (`PageSource.readSoon`). This follows the size: files grow and shrink
  /// while they are open.
  private func adviseReads() {
    let isLarge = MemoryLimit.isExceeded(by: size)
    guard isLarge != readsSinglePages else { return }
    readsSinglePages = isLarge
    madvise(mapping.address, Int(capacity), isLarge ? MADV_RANDOM : MADV_NORMAL)
    // Where huge pages were asked for, a miss would read 2 MiB all the same.
    if isLarge, hugeBytes > 0 { madvise(mapping.address, hugeBytes, MADV_NOHUGEPAGE) }
  }

  // MARK: Writing

  func write(_ runs: [PageRun]) throws(DatabaseError) {
    try forEachFolio(runs) { (_, group, end) throws(DatabaseError) in
      let offset = group[group.startIndex].offset
      if try !writeFresh(group, offset, end) { try writeAll(group, at: offset) }
    }
  }

  func publish(_ runs: [PageRun]) throws(DatabaseError) {
    dirty.noteSyncs(syncs.load(ordering: .relaxed))
    let isSmall = size <= MemoryLimit.bytes / 4
    try forEachFolio(runs) { (number, group, end) throws(DatabaseError) in
      let offset = group[group.startIndex].offset
      if try writeFresh(group, offset, end) { return dirty.fill(number) }
      if let stores, isSmall, end - offset < Self.callBytes, dirty.isDense(number) {
        for run in group {
          guard let bytes = run.bytes.baseAddress else { continue }
          nt_store_page(stores.address + Int(run.offset), bytes, run.bytes.count)
        }
        storedBytes += end - offset
      } else {
        try writeAll(group, at: offset)
      }
      dirty.add(end - offset, to: number)
    }
    // What was stored past the caches must be seen before the snapshot that names it.
    nt_store_fence()
  }

  /// One call for so many bytes costs less than faults and stores.
  private static let callBytes: UInt64 = 256 << 10

  /// Calls `body` with the contiguous runs that begin in one large folio, so that a call can fill one.
  private func forEachFolio(
    _ runs: [PageRun], _ body: (Int, ArraySlice<PageRun>, UInt64) throws(DatabaseError) -> Void
  ) throws(DatabaseError) {
    var i = 0
    while i < runs.count {
      let first = i
      let number = runs[i].offset / UInt64(folio)
      let folioEnd = (number + 1) * UInt64(folio)
      var end = runs[i].offset
      while i < runs.count, runs[i].offset == end, end < folioEnd, i - first < Self.vectorsMax - 2 {
        end += UInt64(runs[i].bytes.count)
        i += 1
      }
      try body(Int(number), runs[first..<i], end)
    }
  }

  /// Writes runs that lie side by side; true where they are the first in their folio. False where they are not, and
  /// nothing was done: then nobody's zeros can come after them.
  ///
  /// The page cache is to hold the file in folios of 2 MiB (or what the options say), which the kernel maps as huge pages
  /// (15–20 % on random gets). A folio becomes as large as the call that begins it: so zeros go along with the runs, in
  /// front and behind.
  ///
  /// Under the lock, because a checkpoint's bitmap pages are written beside the writer.
  private func writeFresh(
    _ runs: ArraySlice<PageRun>, _ offset: UInt64, _ end: UInt64
  ) throws(DatabaseError) -> Bool {
    let result: Result<Bool, DatabaseError> = extent.withLock { extent in
      guard extent.filled < min(end, extent.size) else { return .success(false) }
      do throws(DatabaseError) {
        while extent.filled + UInt64(folio) <= offset, let zeros = Self.zeros {
          let next = min((extent.filled / UInt64(folio) + 1) * UInt64(folio), extent.size)
          try write([iovec(zeros, next - extent.filled)], at: extent.filled)
          extent.filled = next
        }
        let folioEnd = min((end + UInt64(folio) - 1) / UInt64(folio) * UInt64(folio), extent.size)
        var vectors: [iovec] = []
        vectors.reserveCapacity(runs.count + 2)
        if offset > extent.filled, let zeros = Self.zeros { vectors.append(iovec(zeros, offset - extent.filled)) }
        for run in runs { vectors.append(iovec(run.bytes)) }
        if folioEnd > end, let zeros = Self.zeros { vectors.append(iovec(zeros, folioEnd - end)) }
        try write(vectors, at: Self.zeros == nil ? offset : min(offset, extent.filled))
        extent.filled = max(folioEnd, extent.filled)
        return .success(true)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private func writeAll(_ runs: ArraySlice<PageRun>, at offset: UInt64) throws(DatabaseError) {
    try write(runs.map { iovec($0.bytes) }, at: offset)
  }

  /// pwritev until everything is written: a short write is no error for a file, the next call tells why.
  private func write(_ pieces: [iovec], at start: UInt64) throws(DatabaseError) {
    var vectors = pieces
    var offset = start
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

  /// 2 MiB of zeros for all stores. Populated: where the kernel must fault its source in, it first fills the folio twice.
  /// Nil where there is no memory for page tables: folios are then as they come.
  nonisolated(unsafe) private static let zeros: UnsafeRawPointer? = {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE
    guard let zeros = mmap(nil, FileMapping.alignment, PROT_READ, flags, -1, 0), zeros != MAP_FAILED else { return nil }
    return UnsafeRawPointer(zeros)
  }()

  func sync() throws(DatabaseError) {
    guard fdatasync(descriptor) == 0 else { throw .io(operation: "fdatasync", errno: errno, offset: 0) }
    syncs.wrappingAdd(1, ordering: .relaxed)
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
    adviseReads()
  }

  func truncate(to newSize: UInt64) throws(DatabaseError) {
    guard newSize < size else { return }
    // Under the lock: a folio that is gone is fresh when the file grows again.
    let failure = extent.withLock { extent -> DatabaseError? in
      guard ftruncate(descriptor, off_t(newSize)) == 0 else {
        return .io(operation: "ftruncate", errno: errno, offset: newSize)
      }
      extent.size = newSize
      extent.filled = min(extent.filled, newSize)
      return nil
    }
    if let failure { throw failure }
    size = newSize
    adviseReads()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    stores?.unmap()
    mapping.unmap()
    Glibc.close(descriptor)
  }
}

extension iovec {
  fileprivate init(_ bytes: UnsafeRawPointer, _ count: UInt64) {
    self.init(iov_base: UnsafeMutableRawPointer(mutating: bytes), iov_len: Int(count))
  }
  fileprivate init(_ bytes: UnsafeRawBufferPointer) {
    self.init(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
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
