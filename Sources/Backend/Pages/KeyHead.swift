// A key's head: its first 8 bytes after the page's prefix, as a big-endian integer, zero-padded. Comparing two heads
// as integers compares 8 bytes of the keys; equal heads say nothing about lengths, so ties look at the rest.

import Glibc

@inline(__always) func keyHead(_ key: UnsafeRawPointer, _ offset: Int, _ length: Int) -> UInt64 {
  if offset &+ 8 <= length { return key.u64(offset).bigEndian }
  return shortHead(key, offset, length)
}

@inline(__always) private func shortHead(_ key: UnsafeRawPointer, _ offset: Int, _ length: Int) -> UInt64 {
  let rest = length &- offset
  if rest <= 0 { return 0 }
  // The last 8 bytes of a long enough key, shifted so that the bytes before `offset` fall out.
  if length >= 8 { return key.u64(length &- 8).bigEndian &<< UInt64(truncatingIfNeeded: (8 &- rest) &* 8) }
  var head: UInt64 = 0
  var i = 0
  while i < rest {
    head |= UInt64(key.byte(offset &+ i)) &<< UInt64(truncatingIfNeeded: 56 &- 8 &* i)
    i &+= 1
  }
  return head
}

/// Compares what follows the prefix of two keys whose heads are equal. Negative: `a` is smaller.
///
/// When either rest has at most 8 bytes, the heads hold all of it, zero-padded; equal heads then make the shorter one
/// a prefix of the longer (the longer one's extra head bytes are zeros too), so the lengths decide.
@inline(__always) func compareTails(
  _ a: UnsafeRawPointer, _ aRest: Int, _ b: UnsafeRawPointer, _ bRest: Int
) -> Int {
  if aRest <= 8 || bRest <= 8 { return aRest &- bRest }
  let order = memcmp(a, b, (aRest < bRest ? aRest : bRest) &- 8)
  return order != 0 ? Int(order) : aRest &- bRest
}

@inline(__always) func equalBytes(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Bool {
  if count >= 8 {
    var i = 0
    while i &+ 8 <= count {
      if a.u64(i) != b.u64(i) { return false }
      i &+= 8
    }
    return a.u64(count &- 8) == b.u64(count &- 8)
  }
  if count >= 4 { return a.u32(0) == b.u32(0) && a.u32(count &- 4) == b.u32(count &- 4) }
  if count >= 2 { return a.u16(0) == b.u16(0) && a.u16(count &- 2) == b.u16(count &- 2) }
  return count == 0 || a.byte(0) == b.byte(0)
}

/// Copies a few bytes without a call: whole words, the last of which may overlap the one before.
@inline(__always) func copyShort(_ from: UnsafeRawPointer, to: UnsafeMutableRawPointer, _ count: Int) {
  if count > 64 { return to.copyMemory(from: from, byteCount: count) }
  if count >= 8 {
    var i = 0
    while i &+ 8 <= count {
      to.setU64(i, from.u64(i))
      i &+= 8
    }
    return to.setU64(count &- 8, from.u64(count &- 8))
  }
  if count >= 4 {
    to.setU32(0, from.u32(0))
    return to.setU32(count &- 4, from.u32(count &- 4))
  }
  var i = 0
  while i < count {
    to.storeBytes(of: from.byte(i), toByteOffset: i, as: UInt8.self)
    i &+= 1
  }
}

/// Length of the longest common prefix.
func commonPrefix(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let limit = min(a.count, b.count)
  guard limit > 0, let p = a.baseAddress, let q = b.baseAddress else { return 0 }
  var i = 0
  while i &+ 8 <= limit {
    let difference = p.u64(i) ^ q.u64(i)
    if difference != 0 { return i &+ difference.trailingZeroBitCount >> 3 }
    i &+= 8
  }
  while i < limit, p.byte(i) == q.byte(i) { i &+= 1 }
  return i
}

/// Bytes in unsigned lexicographic order, a prefix before what it prefixes: the order of all keys.
package func compareKeys(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let limit = min(a.count, b.count)
  if limit > 0, let p = a.baseAddress, let q = b.baseAddress {
    let order = memcmp(p, q, limit)
    if order != 0 { return Int(order) }
  }
  return a.count - b.count
}

func systemMessage(_ errno: Int32) -> String { String(cString: strerror(errno)) }
