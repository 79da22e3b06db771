/// The 72 bytes before the records of one write.
///
///   0 checksum u32   4 magic "NTLG"   8 generation u64   16 offset in the segment u64
///   24 length u32: bytes used, this header included   28 records u32
///   32 durable generation u64   40 durable offset u64: everything before was durable at submission
///   48 last index u64   56 last term u64: of the log after this group
///   64 chain u32 before the first record   68 zero u32
///
/// The durable position tells a crash from corruption: a bad group that a later group knows to have been durable has
/// rotted; any other was in flight.
struct GroupHeader {
  static let size = 72
  static let magic: UInt32 = 0x474C_544E

  var position: LogPosition
  var length: Int
  var records: Int
  var durable: LogPosition
  var last: LogMark
  var chain: UInt32

  /// Bytes the group takes in the segment.
  var span: UInt64 { UInt64(roundUp(length, blockSize)) }

  func put(_ p: UnsafeMutableRawPointer, salt: UInt32) {
    p.put(Self.magic, 4)
    p.put(position.generation, 8)
    p.put(position.offset, 16)
    p.put(UInt32(length), 24)
    p.put(UInt32(records), 28)
    p.put(durable.generation, 32)
    p.put(durable.offset, 40)
    p.put(last.index, 48)
    p.put(last.term, 56)
    p.put(chain, 64)
    p.put(UInt32(0), 68)
    p.put(checksum(salt, UnsafeRawBufferPointer(start: p + 4, count: Self.size - 4)), 0)
  }

  /// Whether a header that was written for this very place stands at `p`, whatever it says.
  static func isSealed(_ p: UnsafeRawPointer, at place: LogPosition, scan: ScanRules) -> Bool {
    p.u32(4) == magic && p.u64(16) == place.offset
      && checksum(scan.salt, UnsafeRawBufferPointer(start: p + 4, count: size - 4)) == p.u32(0)
      && (p.u64(8) == place.generation || !scan.comparesGenerations)
  }

  /// The header at `p`, nil unless it is sound and belongs to this very place of a segment of `segmentSize` bytes.
  static func read(_ p: UnsafeRawPointer, at place: LogPosition, segmentSize: UInt64, scan: ScanRules) -> GroupHeader? {
    guard isSealed(p, at: place, scan: scan) else { return nil }
    let header = GroupHeader(
      position: place, length: Int(p.u32(24)), records: Int(p.u32(28)),
      durable: LogPosition(generation: scan.comparesGenerations ? p.u64(32) : place.generation, offset: p.u64(40)),
      last: LogMark(index: p.u64(48), term: p.u64(56)), chain: p.u32(64))
    guard header.length >= size, UInt64(header.length) <= segmentSize,
      place.offset <= segmentSize - UInt64(header.length),
      header.records <= (header.length - size) / RecordHeader.size
    else { return nil }
    return header
  }

  /// Whether a bad block looks like one of ours all the same: two of the three fields that are known beforehand match.
  static func resembles(_ p: UnsafeRawPointer, at place: LogPosition) -> Bool {
    let matches = [p.u32(4) == magic, p.u64(8) == place.generation, p.u64(16) == place.offset]
    return matches.filter { $0 }.count >= 2
  }
}

/// What makes a checksum valid in a segment.
struct ScanRules {
  var salt: UInt32
  var comparesGenerations = true

  init(_ store: StoreID, _ generation: UInt64, mutant: WALMutant?) {
    salt = mutant == .unsalted ? 0 : segmentSalt(store, generation)
    comparesGenerations = mutant != .unsalted
  }
}
