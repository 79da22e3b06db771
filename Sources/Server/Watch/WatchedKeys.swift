// A set of keys that lie side by side, as a watcher names them, with memory of its own.
import Glibc
import NeedletailMVCC

/// [begin, end), one key, or everything from `begin` on. Immutable.
final class WatchedKeys: @unchecked Sendable {
  // Sendable: nothing changes after init.
  let begin: UnsafeRawBufferPointer
  /// Exclusive; nil: there is none. Of a single key it is the key itself.
  let end: UnsafeRawBufferPointer?
  let isSingle: Bool
  private let memory: UnsafeMutableRawPointer

  /// etcd's conventions: no `rangeEnd` is the key alone, a zero byte is no end. An empty key is a zero byte.
  init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer) {
    let keyCount = max(key.count, 1)
    let isUnbounded = rangeEnd.count == 1 && rangeEnd[0] == 0
    let memory = UnsafeMutableRawPointer.allocate(byteCount: keyCount + rangeEnd.count, alignment: 1)
    memory.storeBytes(of: 0, as: UInt8.self)
    if let source = key.baseAddress { memcpy(memory, source, key.count) }
    if let source = rangeEnd.baseAddress { memcpy(memory + keyCount, source, rangeEnd.count) }
    self.memory = memory
    begin = UnsafeRawBufferPointer(start: memory, count: keyCount)
    isSingle = rangeEnd.count == 0
    end =
      isUnbounded ? nil : isSingle ? begin : UnsafeRawBufferPointer(start: memory + keyCount, count: rangeEnd.count)
  }

  deinit { memory.deallocate() }

  var byteCount: Int { begin.count + (isSingle ? 0 : end?.count ?? 1) }

  /// No key can lie in it.
  var isEmpty: Bool {
    guard !isSingle, let end else { return false }
    return WatchedKeys.compare(begin, end) >= 0
  }

  /// Unsigned bytes, shorter first.
  static func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    let common = min(a.count, b.count)
    if common > 0, let x = a.baseAddress, let y = b.baseAddress {
      let difference = memcmp(x, y, common)
      if difference != 0 { return Int(difference) }
    }
    return a.count - b.count
  }

  /// By where they begin, then by where they end.
  static func order(_ a: WatchedKeys, _ b: WatchedKeys) -> Int {
    let order = compare(a.begin, b.begin)
    if order != 0 { return order }
    switch (a.end, b.end) {
    case (nil, nil): return 0
    case (nil, _): return 1
    case (_, nil): return -1
    case (let x?, let y?): return compare(x, y)
    }
  }
}

/// A key as a dictionary key, equal by content. Whoever stores it keeps the bytes alive.
struct WatchedKey: Hashable {
  let bytes: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  static func == (a: WatchedKey, b: WatchedKey) -> Bool { WatchedKeys.compare(a.bytes, b.bytes) == 0 }

  func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
}
