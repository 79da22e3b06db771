// A raw growable byte buffer: the one place where answers and requests are gathered before they are sent.
//
// A trivial struct over malloc'd memory, so that it lives in connection records without reference counts. Whoever
// holds it owns the memory and must call `free()` exactly once; a copy of the struct is an alias, never a second owner.

import Glibc

/// Bytes [0, count) are written, [count, capacity) are room. Invariant: 0 ≤ count ≤ capacity, and `base` is nil
/// exactly when capacity is 0.

@usableFromInline
package struct OutBuffer {
  @usableFromInline var base: UnsafeMutableRawPointer?
  @usableFromInline var end: Int
  @usableFromInline var allocated: Int

  /// An empty buffer that holds no memory yet.
  @inlinable package init() {
    base = nil
    end = 0
    allocated = 0
  }

  /// An empty buffer with room for `capacity` bytes.
  package init(capacity: Int) {
    self.init()
    if capacity > 0 { grow(capacity) }
  }

  /// Bytes written.
  @inlinable package var count: Int { end }

  /// Bytes allocated.
  @inlinable package var capacity: Int { allocated }

  @inlinable package var isEmpty: Bool { end == 0 }

  /// What is written so far; valid until the next mutation.
  @inlinable package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: end) }

  /// Start of the memory, for patching what is already written; nil while nothing was ever reserved.
  @inlinable package var start: UnsafeMutableRawPointer? { base }

  /// Room for at least `size` more bytes, at the returned pointer; valid until the next mutation. Follow it with
  /// `advance` by what was really written. Amortised O(1): memory doubles.
  @inlinable @inline(__always)
  package mutating func reserve(_ size: Int) -> UnsafeMutableRawPointer {
    assert(size >= 0)
    if _slowPath(base == nil || allocated &- end < size) { grow(size) }
    return base.unsafelyUnwrapped + end
  }

  /// Takes `size` bytes of the reserved room as written.
  @inlinable @inline(__always)
  package mutating func advance(_ size: Int) {
    assert(size >= 0 && size <= allocated &- end)
    end = end &+ size
  }

  /// Copies `size` bytes to the end.
  @inlinable @inline(__always)
  package mutating func append(_ source: UnsafeRawPointer, _ size: Int) {
    reserve(size).copyMemory(from: source, byteCount: size)
    end = end &+ size
  }

  /// Copies the bytes to the end.
  @inlinable @inline(__always)
  package mutating func append(_ source: UnsafeRawBufferPointer) {
    guard let start = source.baseAddress, source.count > 0 else { return }
    append(start, source.count)
  }

  /// Copies the text's UTF-8 to the end.
  package mutating func append(_ text: some StringProtocol) {
    var text = String(text)
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  @inlinable @inline(__always)
  package mutating func append(byte: UInt8) {
    reserve(1).storeBytes(of: byte, as: UInt8.self)
    end = end &+ 1
  }

  /// Forgets the written bytes from `count` on; memory stays.
  @inlinable package mutating func truncate(to count: Int) {
    precondition(count >= 0 && count <= end, "truncate beyond the written bytes")
    end = count
  }

  /// Drops the first `size` bytes and moves the rest to the front. O(count - size).
  package mutating func removeFirst(_ size: Int) {
    precondition(size >= 0 && size <= end, "remove beyond the written bytes")
    guard size > 0, let base else { return }
    memmove(base, base + size, end - size)
    end -= size
  }

  /// Forgets everything written; memory stays.
  @inlinable package mutating func removeAll() { end = 0 }

  /// Gives the memory back and leaves an empty buffer. Safe to call again.
  package mutating func free() {
    Glibc.free(base)
    self = OutBuffer()
  }

  /// Sizes come from frames under a limit, so that doubling can't overflow; memory that is truly gone ends the process,
  /// as any Swift allocation would.
  @usableFromInline @inline(never)
  mutating func grow(_ size: Int) {
    let needed = end + size
    var wanted = max(allocated, 256)
    while wanted < needed { wanted *= 2 }
    guard let grown = realloc(base, wanted) else { fatalError("out of memory: \(wanted) bytes for a buffer") }
    base = grown
    allocated = wanted
  }
}
