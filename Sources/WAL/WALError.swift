/// What can go wrong in the log. A failed write, sync or segment switch is latched: every later call throws the very
/// same error, because after one failed sync nobody knows what the disk holds.
package enum WALError: Error, Sendable, Equatable {
  /// A system call failed; `code` is errno.
  case system(operation: String, file: String, code: Int32)
  /// The file system is full (ENOSPC, EDQUOT).
  case noSpace(operation: String, file: String)
  /// A write wrote less than asked: not durable.
  case shortWrite(file: String, offset: UInt64, wanted: Int, written: Int)
  /// A record that was acknowledged cannot be read any more.
  case corrupt(WALCorruption)
  /// Segment `generation` is absent although segment `successor` follows it.
  case missingSegment(generation: UInt64, successor: UInt64)
  /// A segment written by another version of the format.
  case unsupportedVersion(file: String, version: UInt32)
  /// A segment of another store.
  case foreignSegment(file: String)
  /// The record fits no segment.
  case recordTooLarge(length: Int, limit: Int)
  /// Entry indexes must follow each other or go back (which supersedes).
  case indexGap(last: UInt64, index: UInt64)
  case invalidOptions(String)
  /// The path asked for is refused here.
  case unavailable(path: String, code: Int32)
  /// The caller's replay refused a recovered record.
  case replayRefused(String)
  case closed
}

/// Where a log is corrupt, and what is known of the entries concerned.
package struct WALCorruption: Sendable, Equatable {
  package var file: String
  package var offset: UInt64
  /// The entry at the bad place: from its own header where that survived, else the one expected there.
  package var index: UInt64
  /// 0 when the record's header did not survive.
  package var term: UInt64
  /// The last entry the log is known to have held: in a cluster the member must not act as if it held less.
  package var lastIndex: UInt64
  package var lastTerm: UInt64
  package var reason: String
}

extension WALError {
  /// The error of a failed system call; `code` is errno, positive.
  static func failed(_ operation: String, _ file: String, _ code: Int32) -> WALError {
    code == noSpaceCode || code == quotaCode
      ? .noSpace(operation: operation, file: file) : .system(operation: operation, file: file, code: code)
  }

  private static var noSpaceCode: Int32 { 28 }  // ENOSPC
  private static var quotaCode: Int32 { 122 }  // EDQUOT
}

extension WALError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .system(let operation, let file, let code):
      "write-ahead log: \(operation) of \(file) failed: \(systemMessage(code))"
    case .noSpace(let operation, let file):
      "write-ahead log: \(operation) of \(file) failed: no space left on device"
    case .shortWrite(let file, let offset, let wanted, let written):
      "write-ahead log: short write to \(file) at offset \(offset): \(written) of \(wanted) bytes"
    case .corrupt(let place):
      "write-ahead log: corrupt at \(place.file) offset \(place.offset), index \(place.index), term "
        + "\(place.term == 0 ? "unknown" : String(place.term)): \(place.reason); the log held entries up to index "
        + "\(place.lastIndex), term \(place.lastTerm)"
    case .missingSegment(let generation, let successor):
      "write-ahead log: segment \(segmentName(generation)) is missing before \(segmentName(successor))"
    case .unsupportedVersion(let file, let version):
      "write-ahead log: \(file) has format version \(version), this program reads \(SegmentHeader.version)"
    case .foreignSegment(let file):
      "write-ahead log: \(file) belongs to another store"
    case .recordTooLarge(let length, let limit):
      "write-ahead log: a record of \(length) bytes is over the limit of \(limit)"
    case .indexGap(let last, let index):
      "write-ahead log: entry \(index) does not follow entry \(last)"
    case .invalidOptions(let why):
      "write-ahead log: \(why)"
    case .unavailable(let path, let code):
      "write-ahead log: \(path) is not available: \(systemMessage(code))"
    case .replayRefused(let why):
      "write-ahead log: replay stopped: \(why)"
    case .closed:
      "write-ahead log: closed"
    }
  }
}
