/// The payload of a segment's first record. It names the predecessor's end, which is the only end that counts: what
/// lies after it there was cut and can never come back.
///
///   0 version u32   4 flags u32: bit 0 = zero-filled when made   8 store id 16 bytes   24 generation u64
///   32 segment size u64   40 predecessor generation u64 (0 = none)   48 predecessor end offset u64
///   56 predecessor chain u32   60 zero u32   64 floor index u64   72 floor term u64: the log's last entry before
///
/// The records after it in block 0 repeat metadata, hard state and snapshot marker.
struct SegmentHeader {
  static let size = 80
  static let version: UInt32 = 1

  var store: StoreID
  var generation: UInt64
  var segmentSize: UInt64
  var predecessor: LogPosition
  var predecessorChain: UInt32
  var floor: LogMark
  var filled: Bool

  func bytes() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.size)
    bytes.withUnsafeMutableBytes { buffer in
      guard let p = buffer.baseAddress else { return }
      p.put(Self.version, 0)
      p.put(UInt32(filled ? 1 : 0), 4)
      p.put(store.high, 8)
      p.put(store.low, 16)
      p.put(generation, 24)
      p.put(segmentSize, 32)
      p.put(predecessor.generation, 40)
      p.put(predecessor.offset, 48)
      p.put(predecessorChain, 56)
      p.put(floor.index, 64)
      p.put(floor.term, 72)
    }
    return bytes
  }

  /// Where the version stands in a segment file; it never moves.
  static let versionOffset = GroupHeader.size + RecordHeader.size

  /// Reads the payload at `p` (`size` readable bytes), whose checksum was verified or is about to be.
  init(_ p: UnsafeRawPointer) {
    filled = p.u32(4) & 1 != 0
    store = StoreID(high: p.u64(8), low: p.u64(16))
    generation = p.u64(24)
    segmentSize = p.u64(32)
    predecessor = LogPosition(generation: p.u64(40), offset: p.u64(48))
    predecessorChain = p.u32(56)
    floor = LogMark(index: p.u64(64), term: p.u64(72))
  }

  init(
    store: StoreID, generation: UInt64, segmentSize: UInt64, predecessor: LogPosition, predecessorChain: UInt32,
    floor: LogMark, filled: Bool
  ) {
    self.store = store
    self.generation = generation
    self.segmentSize = segmentSize
    self.predecessor = predecessor
    self.predecessorChain = predecessorChain
    self.floor = floor
    self.filled = filled
  }
}

extension HardState {
  static let size = 24

  func bytes() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.size)
    bytes.withUnsafeMutableBytes { buffer in
      guard let p = buffer.baseAddress else { return }
      p.put(term, 0)
      p.put(vote, 8)
      p.put(commit, 16)
    }
    return bytes
  }

  init?(_ payload: UnsafeRawBufferPointer) {
    guard payload.count == Self.size, let p = payload.baseAddress else { return nil }
    self.init(term: p.u64(0), vote: p.u64(8), commit: p.u64(16))
  }
}
