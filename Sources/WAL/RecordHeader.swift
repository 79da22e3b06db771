/// The 40 bytes before a record's payload, with a checksum of their own: a torn or rotten payload still tells which
/// entry it was.
///
///   0 header checksum u32   4 payload checksum u32   8 payload length u32   12 type u8, 3 zeros
///   16 index u64   24 term u64   32 chain u32: the previous record's header checksum   36 zero u32
struct RecordHeader {
  static let size = 40

  enum Kind: UInt8 {
    case entry = 1
    case hardState = 2
    case snapshot = 3
    case segmentHeader = 4
    case metadata = 5
  }

  var checksum: UInt32
  var payloadChecksum: UInt32
  var length: Int
  var kind: Kind
  var index: UInt64
  var term: UInt64
  var chain: UInt32

  /// Bytes of a record with that payload.
  static func recordSize(_ payload: Int) -> Int { roundUp(size + payload, 8) }

  /// Writes all but the chain and the header checksum, which `seal` adds when the record's place is known.
  static func put(
    _ p: UnsafeMutableRawPointer, kind: Kind, index: UInt64, term: UInt64, payload: UnsafeRawBufferPointer
  ) {
    p.put(UInt32(0), 0)
    p.put(NeedletailWAL.checksum(0, payload), 4)
    p.put(UInt32(payload.count), 8)
    p.put(UInt32(kind.rawValue), 12)
    p.put(index, 16)
    p.put(term, 24)
    p.put(UInt64(0), 32)
  }

  /// Chains the record to its predecessor; returns its own link of the chain.
  static func seal(_ p: UnsafeMutableRawPointer, chain: UInt32, salt: UInt32) -> UInt32 {
    p.put(chain, 32)
    let sum = NeedletailWAL.checksum(salt, UnsafeRawBufferPointer(start: p + 4, count: size - 4))
    p.put(sum, 0)
    return sum
  }

  /// The header at `p` (`size` readable bytes), nil unless its checksum and its fields hold.
  static func read(_ p: UnsafeRawPointer, salt: UInt32) -> RecordHeader? {
    let sum = NeedletailWAL.checksum(salt, UnsafeRawBufferPointer(start: p + 4, count: size - 4))
    let type = p.u32(12)
    guard sum == p.u32(0), type <= UInt8.max, let kind = Kind(rawValue: UInt8(type)), p.u32(36) == 0 else { return nil }
    return RecordHeader(
      checksum: sum, payloadChecksum: p.u32(4), length: Int(p.u32(8)), kind: kind, index: p.u64(16), term: p.u64(24),
      chain: p.u32(32))
  }
}
