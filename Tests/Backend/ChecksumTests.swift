// CRC-32C: the known value, and the three-lane loop against the bitwise one at all lengths around its lanes.

import CNeedletail
import Testing

struct ChecksumTests {
  @Test func knownValue() {
    let text = Array("123456789".utf8)
    #expect(text.withUnsafeBytes { nt_crc32c(0, $0.baseAddress!, $0.count) } == 0xE306_9283)
  }

  @Test func lanesAgreeWithBits() {
    var random = SeededGenerator(seed: 21)
    let bytes = (0..<9000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    let lengths = Array(0..<600) + Array(1000..<1030) + Array(4070..<4110) + Array(8150..<8180) + [8990]
    bytes.withUnsafeBytes { bytes in
      let start = bytes.baseAddress!
      for length in lengths {
        let offset = random.below(10)
        let seed = UInt32(truncatingIfNeeded: random.next())
        #expect(nt_crc32c(seed, start + offset, length) == nt_crc32c_soft(seed, start + offset, length), "\(length)")
      }
    }
  }
}
