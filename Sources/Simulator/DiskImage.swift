// Bytes of a simulated disk: sparse and pooled, so that copying one of them — which every simulated crash does — costs
// what was written and not what the file is long.

import Glibc
import NeedletailBackend

/// A fixed range of zeros that can be written. Used by one thread.
final class DiskImage {
  /// Memory that images use one after another. All of it is zero while it is in the pool.
  private struct Block: @unchecked Sendable {
    var memory: UnsafeMutableRawPointer
    var capacity: Int
    /// Reads at or beyond fault.
    var edge: Int
    var touched: [Bool]
  }

  private static let pool = Guarded<[Block]>([])
  private static let pooledMax = 64
  private static let chunk = 4096

  private var block: Block
  var memory: UnsafeMutableRawPointer { block.memory }
  var capacity: Int { block.capacity }

  /// `size`: reads at or beyond it fault.
  init(capacity: Int, size: Int) {
    let edge = Self.edge(size, capacity)
    let pooled = Self.pool.withLock { pool -> Block? in
      let i =
        pool.lastIndex { $0.capacity == capacity && $0.edge == edge } ?? pool.lastIndex { $0.capacity == capacity }
      return i.map { pool.remove(at: $0) }
    }
    block = pooled ?? Self.map(capacity)
    protect(beyond: size)
  }

  private static func map(_ capacity: Int) -> Block {
    let mapped = mmap(
      nil, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped, mapped != MAP_FAILED else { preconditionFailure("no address space for a simulated disk") }
    return Block(
      memory: mapped, capacity: capacity, edge: capacity, touched: [Bool](repeating: false, count: capacity / chunk))
  }

  deinit {
    for i in block.touched.indices where block.touched[i] {
      memset(block.memory + i * Self.chunk, 0, Self.chunk)
      block.touched[i] = false
    }
    let block = self.block
    let isKept = Self.pool.withLock { pool in
      guard pool.count < Self.pooledMax else { return false }
      pool.append(block)
      return true
    }
    if !isKept { munmap(block.memory, block.capacity) }
  }

  /// Another image with the first `size` bytes of this one.
  func copy(size: Int, edge: Int) -> DiskImage {
    let image = DiskImage(capacity: capacity, size: edge)
    for (i, isTouched) in block.touched.enumerated() where isTouched && i * Self.chunk < size {
      let offset = i * Self.chunk
      memcpy(image.memory + offset, memory + offset, min(Self.chunk, size - offset))
      image.block.touched[i] = true
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

  /// All bytes from `offset` on are zeros again.
  func clear(from offset: Int) {
    guard offset < capacity else { return }
    for i in offset / Self.chunk..<block.touched.count where block.touched[i] {
      let start = max(offset, i * Self.chunk)
      memset(memory + start, 0, (i + 1) * Self.chunk - start)
      block.touched[i] = start > i * Self.chunk
    }
  }

  private func touch(_ offset: Int, _ count: Int) {
    for i in offset / Self.chunk...(offset + count - 1) / Self.chunk { block.touched[i] = true }
  }

  private static func edge(_ size: Int, _ capacity: Int) -> Int { min(capacity, (size + chunk - 1) / chunk * chunk) }

  /// Reads at or beyond `size` fault from here on, and those before it do not.
  func protect(beyond size: Int) {
    let edge = Self.edge(size, capacity)
    if edge == block.edge { return }
    mprotect(memory, edge, PROT_READ | PROT_WRITE)
    if edge < capacity { mprotect(memory + edge, capacity - edge, PROT_NONE) }
    block.edge = edge
  }
}
