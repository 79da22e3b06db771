import CNeedletail

/// Bytes of the log, little-endian; docs/format-wal.md draws them.
///
///   segment = block 0: the header group | groups, each starting at a multiple of 4096 | never written space
///   group   = group header | records | zeros up to a multiple of 4096
///   record  = record header | payload | zeros up to a multiple of 8
///
/// Every header checksum starts from the segment's salt, so bytes of an earlier life of the file never validate.
let blockSize = 4096
/// The last block of a segment is kept for the closing mark.
let closingReserve = blockSize

/// A place in the log. Generations rise, so places compare.
package struct LogPosition: Comparable, Sendable {
  package var generation: UInt64
  package var offset: UInt64

  package static func < (a: LogPosition, b: LogPosition) -> Bool {
    (a.generation, a.offset) < (b.generation, b.offset)
  }
}

/// The initial value of all header checksums in a segment.
func segmentSalt(_ store: StoreID, _ generation: UInt64) -> UInt32 {
  var words = (store.high.littleEndian, store.low.littleEndian, generation.littleEndian)
  return withUnsafeBytes(of: &words) { checksum(0, $0) }
}

/// CRC-32C of `bytes`, continuing from `start`.
func checksum(_ start: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
  guard let base = bytes.baseAddress, bytes.count > 0 else { return start }
  return nt_crc32c(start, base, bytes.count)
}

func roundUp(_ value: Int, _ unit: Int) -> Int { (value + unit - 1) / unit * unit }

extension UnsafeRawPointer {
  func u32(_ offset: Int) -> UInt32 { UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
  func u64(_ offset: Int) -> UInt64 { UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
}

extension UnsafeMutableRawPointer {
  func put(_ value: UInt32, _ offset: Int) { storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self) }
  func put(_ value: UInt64, _ offset: Int) { storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self) }
}
