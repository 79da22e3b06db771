// Workload W: the records, the order they are loaded in, and the random choices of every test. Identical for every engine.
// Record `id` has the key "/registry/pods/%09d" of 2·id (24 bytes) and 256 bytes of value: 32 words mix64(id·32 + j).
// The key of 2·id + 1 is never stored, which gives misses that end between two neighbours.
import Glibc

/// The finaliser of splitmix64.
@inline(__always)
func mix64(_ input: UInt64) -> UInt64 {
  var z = input &+ 0x9E37_79B9_7F4A_7C15
  z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
  return z ^ (z &>> 31)
}

/// splitmix64 as a generator.
struct Rng {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  @inline(__always)
  mutating func next() -> UInt64 {
    let result = mix64(state)
    state = state &+ 0x9E37_79B9_7F4A_7C15
    return result
  }

  /// Uniform in 0 ..< bound: the high half of the product.
  @inline(__always)
  mutating func below(_ bound: UInt64) -> UInt64 { next().multipliedFullWidth(by: bound).high }
}

/// A bijection of 0 ..< count that mixes all bits: mixing steps that are each invertible modulo a power of two, walked until
/// the result is inside the range (less than two steps on average).
struct Permutation {
  let count: UInt64
  private let mask: UInt64
  private let shift: UInt64

  init(count: UInt64) {
    precondition(count > 0)
    self.count = count
    let bits = max(2, UInt64(64 - (count - 1).leadingZeroBitCount))
    mask = bits == 64 ? .max : (1 << bits) - 1
    shift = (bits + 1) / 2
  }

  func callAsFunction(_ index: UInt64) -> UInt64 {
    var x = index
    repeat {
      x = (x &* 0x9E37_79B9_7F4A_7C15) & mask
      x ^= x >> shift
      x = (x &* 0xD6E8_FEB8_6659_FD93) & mask
      x ^= x >> shift
    } while x >= count
    return x
  }
}

/// YCSB's Zipf distribution (Gray et al.): rank 0 is the most popular. Ranks are scattered over the ids by the permutation.
struct Zipf {
  private let count: Double
  private let zeta: Double
  private let alpha: Double
  private let eta: Double
  private let half: Double

  init(count: UInt64, theta: Double) {
    var sum = 0.0
    for i in 1...count { sum += 1 / pow(Double(i), theta) }
    self.count = Double(count)
    zeta = sum
    alpha = 1 / (1 - theta)
    let zeta2 = 1 + 1 / pow(2, theta)
    eta = (1 - pow(2 / Double(count), 1 - theta)) / (1 - zeta2 / sum)
    half = zeta2
  }

  func rank(_ rng: inout Rng) -> UInt64 {
    let u = Double(rng.next() >> 11) * 0x1p-53
    let scaled = u * zeta
    if scaled < 1 { return 0 }
    if scaled < half { return 1 }
    return min(UInt64(count * pow(eta * u - eta + 1, alpha)), UInt64(count) - 1)
  }
}

/// The bytes of keys and values.
enum Record {
  /// Chosen once, before any store is opened and any thread started. Hence unsafe: nothing guards it.
  nonisolated(unsafe) static var shape = RecordShape.pods {
    didSet {
      keyLength = shape.keyLength
      valueLength = shape.valueLength
      length = keyLength + valueLength
    }
  }
  nonisolated(unsafe) private(set) static var keyLength = 24
  nonisolated(unsafe) private(set) static var valueLength = 256
  nonisolated(unsafe) private(set) static var length = 24 + 256

  /// Writes the key of `number`: an even number is stored, an odd one is missing.
  @inline(__always)
  static func writeKey(number: UInt64, to destination: UnsafeMutableRawPointer) {
    shape.writeKey(number, destination)
  }

  static func writeValue(id: UInt64, to destination: UnsafeMutableRawPointer) {
    let words = valueLength / 8
    for j in 0..<words {
      let word = mix64(id &* UInt64(words) &+ UInt64(j)).littleEndian
      destination.storeBytes(of: word, toByteOffset: j * 8, as: UInt64.self)
    }
  }

  /// What a read contributes to the checksum. It touches both ends of the value, so that a value that was not delivered
  /// whole does not count, and leaves reading the middle to whoever wants the bytes.
  @inline(__always)
  static func digest(_ value: UnsafeRawPointer, _ length: Int) -> UInt64 {
    guard length >= 8 else { return UInt64(truncatingIfNeeded: length) }
    let first = value.loadUnaligned(as: UInt64.self)
    let last = value.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self)
    return first &+ (last &* 31) &+ UInt64(truncatingIfNeeded: length)
  }

  /// What a scanned record contributes: its value's digest and the key's last bytes, which differ between records.
  @inline(__always)
  static func digest(
    key: UnsafeRawPointer, _ keyLength: Int, value: UnsafeRawPointer, _ length: Int
  ) -> UInt64 {
    guard keyLength >= 8 else { return digest(value, length) }
    return digest(value, length) &+ key.loadUnaligned(fromByteOffset: keyLength &- 8, as: UInt64.self) &* 7
  }
}

/// Some keys in a row, made before the clock starts.
final class KeyBlock {
  let capacity: Int
  let bytes: UnsafeMutableRawPointer

  init(capacity: Int) {
    self.capacity = capacity
    bytes = .allocate(byteCount: capacity * Record.keyLength, alignment: 64)
  }

  deinit { bytes.deallocate() }

  @inline(__always)
  func key(_ i: Int) -> UnsafeRawPointer { UnsafeRawPointer(bytes + i &* Record.keyLength) }

  func set(_ i: Int, number: UInt64) { Record.writeKey(number: number, to: bytes + i * Record.keyLength) }
}

/// Some whole records in a row, made before the clock starts.
final class RecordBlock {
  private(set) var count = 0
  private let capacity: Int
  private let bytes: UnsafeMutableRawPointer

  init(capacity: Int) {
    self.capacity = capacity
    bytes = .allocate(byteCount: capacity * Record.length, alignment: 64)
  }

  deinit { bytes.deallocate() }

  func removeAll() { count = 0 }

  func append(id: UInt64) {
    precondition(count < capacity)
    let record = bytes + count * Record.length
    Record.writeKey(number: 2 * id, to: record)
    Record.writeValue(id: id, to: record + Record.keyLength)
    count += 1
  }

  @inline(__always)
  func key(_ i: Int) -> UnsafeRawPointer { UnsafeRawPointer(bytes + i &* Record.length) }

  @inline(__always)
  func value(_ i: Int) -> UnsafeRawPointer { UnsafeRawPointer(bytes + (i &* Record.length &+ Record.keyLength)) }
}
