// Bytes of a simulated disk: sparse, so that copying one of them — which every simulated crash does — costs what was
// written and not what the file is long.

import Glibc

/// A fixed range of zeros that can be written. Used by one thread.
final class DiskImage {
  let memory: UnsafeMutableRawPointer
  let capacity: Int
  private var touched: [Bool]

  private static let chunk = 4096

  init(capacity: Int) {
    self.capacity = capacity
    let mapped = mmap(
      nil, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped, mapped != MAP_FAILED else { preconditionFailure("no address space for a simulated disk") }
    memory = mapped
    touched = [Bool](repeating: false, count: capacity / Self.chunk)
  }

  deinit { munmap(memory, capacity) }

  /// Another image with the first `size` bytes of this one.
  func copy(size: Int) -> DiskImage {
    let image = DiskImage(capacity: capacity)
    for (i, isTouched) in touched.enumerated() where isTouched && i * Self.chunk < size {
      let offset = i * Self.chunk
      memcpy(image.memory + offset, memory + offset, min(Self.chunk, size - offset))
      image.touched[i] = true
    }
    return image
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    memcpy(memory + offset, source, bytes.count)
    touch(offset, bytes.count)
  }

  func fill(_ byte: UInt8, at offset: Int, count: Int) {
    guard count > 0 else { return }
    memset(memory + offset, Int32(byte), count)
    touch(offset, count)
  }

  private func touch(_ offset: Int, _ count: Int) {
    for i in offset / Self.chunk...(offset + count - 1) / Self.chunk { touched[i] = true }
  }

  /// Reads at or beyond `size` fault from here on, and those before it do not.
  func protect(beyond size: Int) {
    let edge = min(capacity, (size + Self.chunk - 1) / Self.chunk * Self.chunk)
    mprotect(memory, edge, PROT_READ | PROT_WRITE)
    if edge < capacity { mprotect(memory + edge, capacity - edge, PROT_NONE) }
  }
}
