// Other shapes of records, because a layout must not be tuned to one. All keys of a shape are of one length; `number` is even
// where the record is stored, and a key grows with its number, of 31 bits at most.
import Glibc

enum RecordShape: String, CaseIterable {
  /// Workload W's own: "/registry/pods/%09d" and 256 bytes.
  case pods
  /// Keys of 8 bytes, as random ones are when sorted: the number in front, then random bits.
  case random8
  /// Paths of 120 bytes: a long prefix that all share, then parts that many share, then 32 equal bytes, then what tells
  /// them apart. Heads of 8 bytes are equal on whole pages.
  case paths
  /// Text of 36 bytes with hex digits in groups, ascending.
  case uuid
  /// As `pods` with values of 16 bytes, 1 KiB and 16 KiB.
  case value16, value1k, value16k

  var keyLength: Int {
    switch self {
    case .pods, .value16, .value1k, .value16k: 24
    case .random8: 8
    case .paths: 120
    case .uuid: 36
    }
  }

  var valueLength: Int {
    switch self {
    case .value16: 16
    case .value1k: 1 << 10
    case .value16k: 16 << 10
    default: 256
    }
  }

  func writeKey(_ number: UInt64, _ destination: UnsafeMutableRawPointer) {
    switch self {
    case .pods, .value16, .value1k, .value16k: Self.writePod(number, destination)
    case .random8:
      destination.storeBytes(of: (number << 33 | mix64(number) >> 31).bigEndian, as: UInt64.self)
    case .paths: Self.writePath(number, destination)
    case .uuid: Self.writeUUID(number, destination)
    }
  }

  /// Fills `count` digits that end before `end`.
  private static func writeDigits(_ number: UInt64, base: UInt64, _ count: Int, before end: UnsafeMutableRawPointer) {
    var rest = number
    for i in 1...count {
      let digit = UInt8(truncatingIfNeeded: rest % base)
      (end - i).storeBytes(of: digit < 10 ? 48 + digit : 87 + digit, as: UInt8.self)
      rest /= base
    }
  }

  private static func copy(_ text: StaticString, to destination: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    destination.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
    return destination + text.utf8CodeUnitCount
  }

  private static func writePod(_ number: UInt64, _ destination: UnsafeMutableRawPointer) {
    _ = copy("/registry/pods/", to: destination)
    writeDigits(number, base: 10, 9, before: destination + 24)
  }

  private static func writePath(_ number: UInt64, _ destination: UnsafeMutableRawPointer) {
    var end = copy("/var/lib/cluster/production/region-west/namespaces/", to: destination)
    writeDigits(number >> 14, base: 16, 8, before: end + 8)
    end = copy("/deployments/", to: end + 8)
    end = copy("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", to: end)
    writeDigits(number, base: 10, 16, before: end + 16)
  }

  private static func writeUUID(_ number: UInt64, _ destination: UnsafeMutableRawPointer) {
    writeDigits(number, base: 16, 8, before: destination + 8)
    var random = mix64(number)
    for (start, count) in [(8, 4), (13, 4), (18, 4), (23, 12)] {
      (destination + start).storeBytes(of: 45, as: UInt8.self)
      writeDigits(random, base: 16, count, before: destination + start + 1 + count)
      random = mix64(random)
    }
  }
}
