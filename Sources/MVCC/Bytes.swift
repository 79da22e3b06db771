// Comparing and hashing byte strings that lie in pages.
import Glibc

/// Unsigned bytes, shorter first: the trees' order.
@inline(__always)
func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let common = min(a.count, b.count)
  if common > 0, let x = a.baseAddress, let y = b.baseAddress {
    let difference = memcmp(x, y, common)
    if difference != 0 { return Int(difference) }
  }
  return a.count &- b.count
}

/// A key in a pinned page as a dictionary key: equal by content.
struct PinnedKey: Hashable {
  var bytes: UnsafeRawBufferPointer

  static func == (a: PinnedKey, b: PinnedKey) -> Bool { compareBytes(a.bytes, b.bytes) == 0 }

  func hash(into hasher: inout Hasher) { hasher.combine(bytes: bytes) }
}
