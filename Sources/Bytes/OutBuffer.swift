// A raw growable byte buffer: the one place where answers and requests are gathered before they are sent.
//
// A trivial struct over malloc'd memory, so that it lives in connection records without reference counts. Whoever
// holds it owns the memory and must call `free()` exactly once; a copy of the struct is an alias, never a second owner.
//
// Memory may be refused. Then a buffer that was made `refusable` keeps what it has and goes on counting: what is appended from
// there on goes nowhere, so that nobody who writes an answer needs to ask at every step. Whoever takes the answer asks once,
// by `isRefused`, and cuts back to a place before it, which makes the buffer whole again; what lies behind that place was never
// written and is never read. Any other buffer ends the process, as Swift's own allocations do.

import Glibc
import Synchronization

/// Bytes [0, count) are written, [count, capacity) are room. Invariant: 0 ≤ count ≤ capacity, and `base` is nil
/// only when capacity is 0. Refused: `allocated` is below 0, -1 less what was written before, which lies at `kept`; `base` is
/// such that `base + end` is the memory that nobody reads.

@usableFromInline
package struct OutBuffer {
  @usableFromInline var base: UnsafeMutableRawPointer?
  @usableFromInline var end: Int
  @usableFromInline var allocated: Int
  /// Nil: the buffer is not refusable. `untouched`: it is, and has not been refused, or had no memory before.
  @usableFromInline var kept: UnsafeMutableRawPointer?

  /// An empty buffer that holds no memory yet.
  @inlinable package init() {
    base = nil
    end = 0
    allocated = 0
    kept = nil
  }

  /// An empty buffer whose owner asks whether it `isRefused`.
  @inlinable package static var refusable: OutBuffer {
    var buffer = OutBuffer()
    buffer.kept = untouched
    return buffer
  }

  @usableFromInline static var untouched: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }

  /// An empty buffer with room for `capacity` bytes.
  package init(capacity: Int) {
    self.init()
    if capacity > 0 { grow(capacity) }
  }

  /// Bytes written.
  @inlinable package var count: Int { end }

  /// Bytes allocated.
  @inlinable package var capacity: Int { max(0, allocated) }

  /// Memory was refused, and what was appended since is lost. `truncate` to a place before that, or further, ends it.
  @inlinable @inline(__always)
  package var isRefused: Bool { allocated < 0 }

  /// Bytes that were written before memory was refused.
  private var keptCount: Int { -1 - allocated }

  @inlinable package var isEmpty: Bool { end == 0 }

  /// What is written so far; valid until the next mutation. Nothing of a refused one.
  @inlinable package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: isRefused ? 0 : end)
  }

  /// Start of the memory, for patching what is already written; nil while nothing was ever reserved, or it was refused.
  @inlinable package var start: UnsafeMutableRawPointer? { isRefused ? nil : base }

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
    assert(size >= 0 && (isRefused || size <= allocated &- end))
    end = end &+ size
  }

  /// Copies `size` bytes to the end.
  @inlinable @inline(__always)
  package mutating func append(_ source: UnsafeRawPointer, _ size: Int) {
    if _slowPath(base == nil || allocated &- end < size), !makeRoom(size) { return }
    (base.unsafelyUnwrapped + end).copyMemory(from: source, byteCount: size)
    end = end &+ size
  }

  /// False where the bytes go nowhere: then they are counted.
  @usableFromInline @inline(never)
  mutating func makeRoom(_ size: Int) -> Bool {
    if !isRefused { grow(size) }
    guard isRefused else { return true }
    end += size
    return false
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
    if _slowPath(isRefused) { return recover(count) }
    end = count
  }

  @usableFromInline @inline(never)
  mutating func recover(_ count: Int) {
    guard count <= keptCount else {
      end = count
      return
    }
    let memory = kept == OutBuffer.untouched ? nil : kept
    // There is room for that much at least; growing asks for no more than was had.
    allocated = memory == nil ? 0 : keptCount
    base = memory
    end = count
    kept = OutBuffer.untouched
  }

  /// Drops the first `size` bytes and moves the rest to the front. O(count - size).
  package mutating func removeFirst(_ size: Int) {
    precondition(size >= 0 && size <= end, "remove beyond the written bytes")
    if _slowPath(isRefused) { return truncate(to: end - size) }
    guard size > 0, let base else { return }
    memmove(base, base + size, end - size)
    end -= size
  }

  /// Drops `size` bytes at `at` and moves what is behind them there.
  package mutating func remove(_ size: Int, at: Int) {
    precondition(at >= 0 && size >= 0 && at + size <= end, "remove beyond the written bytes")
    if let start { memmove(start + at, start + at + size, end - at - size) }
    truncate(to: isRefused ? min(at, end - size) : end - size)
  }

  /// Forgets everything written; memory stays.
  @inlinable package mutating func removeAll() { truncate(to: 0) }

  /// Gives the memory back and leaves an empty buffer. Safe to call again.
  package mutating func free() {
    truncate(to: 0)
    Glibc.free(base)
    self = kept == nil ? OutBuffer() : .refusable
  }

  /// Sizes come from frames under a limit, so that doubling can't overflow.
  @usableFromInline @inline(never)
  mutating func grow(_ size: Int) {
    if isRefused { return losing(size) }
    let needed = end + size
    var wanted = max(allocated, 256)
    while wanted < needed { wanted *= 2 }
    let mayRefuse = kept != nil
    let limit = mayRefuse ? OutBuffer.refusedBeyond.load(ordering: .relaxed) : .max
    // Where there is not twice as much, there may be enough.
    for wanted in [wanted, needed] where wanted <= limit {
      guard let grown = realloc(base, wanted) else { continue }
      base = grown
      allocated = wanted
      return
    }
    guard mayRefuse else { fatalError("out of memory: \(wanted) bytes for a buffer") }
    if let base { kept = base }
    allocated = -1 - end
    losing(size)
  }

  // MARK: Refusal

  /// Where a test has memory refused: to refusable buffers that would be larger.
  package static let refusedBeyond = Atomic<Int>(.max)

  /// The most that is reserved at a time of refused buffers: a pair, whose size a request's bounds.
  private static let nowhereSize = 16 << 20
  /// Memory that is written and never read, by any thread. None is used before that.
  private nonisolated(unsafe) static let nowhere: UnsafeMutableRawPointer? = {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    let memory = mmap(nil, nowhereSize, PROT_READ | PROT_WRITE, flags, -1, 0)
    return memory == MAP_FAILED ? nil : memory
  }()

  /// Once, while there is memory: whoever has refusable buffers.
  package static func prepareForRefusal() { _ = nowhere }

  private mutating func losing(_ size: Int) {
    guard let nowhere = OutBuffer.nowhere, size <= OutBuffer.nowhereSize else {
      fatalError("out of memory: \(size) bytes for a buffer")
    }
    base = nowhere - end
  }
}
