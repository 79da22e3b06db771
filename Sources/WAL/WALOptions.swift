import CNeedletail

/// How a log is laid out and written.
package struct WALOptions: Sendable {
  /// The way group writes reach the disk.
  package enum Path: String, Sendable, CaseIterable {
    /// io_uring where the kernel allows it, else pwritev2.
    case auto
    case ioUring = "io_uring"
    case pwritev2
  }

  package var path: Path = .auto
  /// O_DIRECT where the file system takes it; else (and with false) through the page cache.
  package var direct = true
  /// Bytes of a segment; a multiple of 4096 from 16 KiB to 1 GiB. Existing segments keep theirs.
  package var segmentSize = 64 << 20
  /// A group is closed when it holds this many bytes; one larger record is allowed. A multiple of 4096.
  package var groupSize = 1 << 20
  /// Group writes in flight at most, 1…64. The pwritev2 path has one.
  package var groupsInFlight = 4
  /// Segments kept ready ahead of need, 0…16.
  package var spareSegments = 1
  /// Fill and retire segments on a helper thread. Without it both happen in the calls that need them.
  package var background = true
  /// Identity of the store whose log this is; drawn at random for a new log when nil, compared when given.
  package var storeID: StoreID?
  /// Entries up to this one are durable elsewhere: whole segments of them are neither read nor replayed on opening, so that a
  /// start takes as long as the rest. Damage in them does not matter any more. 0: everything is read.
  package var appliedIndex: UInt64 = 0
  /// Where a log is corrupt, cut it there instead of refusing to open: acknowledged records are lost. What follows the
  /// place is kept under other names. For a repair that an operator asked for, never by default.
  package var repairs = false
  /// Breaks one rule on purpose: tests prove with it that they would notice. Never set elsewhere.
  package var mutant: WALMutant?

  package init() {}

  static let segmentSizeMax: UInt64 = 1 << 30

  func validate() throws(WALError) {
    guard segmentSize % blockSize == 0, (16 << 10...Int(Self.segmentSizeMax)).contains(segmentSize) else {
      throw .invalidOptions("segment size \(segmentSize) is not a multiple of 4096 from 16 KiB to 1 GiB")
    }
    guard groupSize % blockSize == 0, groupSize >= blockSize, groupSize <= segmentSize - 2 * blockSize else {
      throw .invalidOptions("group size \(groupSize) does not fit a segment of \(segmentSize)")
    }
    guard (1...64).contains(groupsInFlight) else {
      throw .invalidOptions("groups in flight \(groupsInFlight) is not in 1...64")
    }
    guard (0...16).contains(spareSegments) else {
      throw .invalidOptions("spare segments \(spareSegments) is not in 0...16")
    }
  }
}

/// Identity of a store: two random words, part of every checksum's salt.
package struct StoreID: Sendable, Equatable {
  package var high: UInt64
  package var low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  static func random() throws(WALError) -> StoreID {
    var words: (UInt64, UInt64) = (0, 0)
    let code = withUnsafeMutableBytes(of: &words) { buffer in
      buffer.baseAddress.map { nt_random($0, buffer.count) } ?? 0
    }
    if code < 0 { throw .failed("getrandom for", "the store id", -code) }
    return StoreID(high: words.0, low: words.1)
  }
}

/// A rule left out on purpose, so that tests can show they catch its absence.
package enum WALMutant: Sendable, CaseIterable {
  /// Any valid group after a bad one means corruption.
  case naiveCorruptionRule
  /// A bad group is always a torn tail.
  case noCorruptionRule
  /// Checksums without salt, generations not compared.
  case unsalted
  /// Acknowledge a group that is durable although an earlier one is not.
  case acknowledgeOutOfOrder
  /// Take a short write for a whole one.
  case ignoreShortWrites
  /// Trust what is read without syncing it first.
  case trustWithoutSync
}
