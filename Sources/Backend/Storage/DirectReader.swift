// Bytes as the disk has them, past the page cache: for the scrub, which would learn nothing from a copy in memory.

import CNeedletail
import Glibc

/// Used by one thread.
final class DirectReader {
  /// O_DIRECT wants offsets, lengths and memory in multiples of the device's blocks.
  static let alignment = 4096
  /// Bytes of a read at most.
  static let readMax = 1 << 20

  /// False where the file system refuses O_DIRECT: then the page cache answers.
  let isDirect: Bool
  private let store: any PageStore
  private let descriptor: Int32
  private let buffer: UnsafeMutableRawPointer
  /// What the buffer holds.
  private var loaded: Range<UInt64> = 0..<0

  init(_ store: any PageStore) throws(DatabaseError) {
    self.store = store
    buffer = .allocate(byteCount: Self.readMax + 2 * Self.alignment, alignment: Self.alignment)
    guard let file = store as? FilePageStore else {
      descriptor = -1
      isDirect = false
      return
    }
    // The same file, also where its name has changed since.
    let name = "/proc/self/fd/\(file.descriptor)"
    let direct = open(name, O_RDONLY | O_CLOEXEC | NT_O_DIRECT)
    isDirect = direct >= 0
    descriptor = isDirect ? direct : open(name, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      buffer.deallocate()
      throw .io(operation: "open for scrubbing", errno: errno, offset: 0)
    }
  }

  deinit {
    buffer.deallocate()
    if descriptor >= 0 { close(descriptor) }
  }

  /// `count` bytes, `readMax` at most, valid until the next call. The store holds them.
  func read(offset: UInt64, count: Int) throws(DatabaseError) -> UnsafeRawBufferPointer {
    precondition(count <= Self.readMax)
    guard descriptor >= 0 else { return UnsafeRawBufferPointer(start: store.base + Int(offset), count: count) }
    if offset >= loaded.lowerBound, offset + UInt64(count) <= loaded.upperBound {
      return UnsafeRawBufferPointer(start: buffer + Int(offset - loaded.lowerBound), count: count)
    }
    let mask = UInt64(Self.alignment - 1)
    let start = offset & ~mask
    let length = Int(((offset + UInt64(count) + mask) & ~mask) - start)
    var filled = 0
    loaded = 0..<0
    while filled < Int(offset - start) + count {
      let n = nt_pread(descriptor, buffer + filled, length - filled, Int64(start) + Int64(filled))
      guard n > 0 else {
        throw .io(operation: "read", errno: n == 0 ? EIO : Int32(-n), offset: start + UInt64(filled))
      }
      filled += n
    }
    loaded = start..<(start + UInt64(filled))
    return UnsafeRawBufferPointer(start: buffer + Int(offset - start), count: count)
  }

  /// What was read before may be old: the next read asks the disk.
  func forget() { loaded = 0..<0 }
}
