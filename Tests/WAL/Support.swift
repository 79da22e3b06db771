import Foundation
import Testing

@testable import NeedletailWAL

struct Entry: Equatable, CustomStringConvertible {
  var index: UInt64
  var term: UInt64
  var payload: [UInt8]
  var description: String { "(\(index), \(term), \(payload.count) B)" }
}

extension WAL {
  @discardableResult
  func append(_ entry: Entry) throws(WALError) -> UInt64 {
    let result: Result<UInt64, WALError> = entry.payload.withUnsafeBytes { bytes in
      do throws(WALError) {
        return .success(try append(index: entry.index, term: entry.term, payload: bytes))
      } catch { return .failure(error) }
    }
    return try result.get()
  }
}

/// Bytes that tell which entry they belong to.
func payload(_ index: UInt64, _ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: index &* 31 &+ UInt64($0) &* 7) }
}

func smallOptions() -> WALOptions {
  var options = WALOptions()
  options.segmentSize = 64 << 10
  options.groupSize = 8 << 10
  options.background = false
  options.storeID = StoreID(high: 0x1122_3344, low: 0x5566_7788)
  return options
}

/// Collects what a log replays, resolving superseded entries as a caller must.
struct Collected {
  var entries: [Entry] = []
  var snapshots: [LogMark] = []
  var hardStates: [HardState] = []

  mutating func take(_ record: RecoveredRecord) {
    switch record {
    case .entry(let index, let term, let payload):
      while let last = entries.last, last.index >= index { entries.removeLast() }
      entries.append(Entry(index: index, term: term, payload: Array(payload)))
    case .hardState(let hardState): hardStates.append(hardState)
    case .snapshot(let mark):
      snapshots.append(mark)
      if let at = entries.firstIndex(where: { $0.index == mark.index }), entries[at].term != mark.term {
        entries.removeSubrange(at...)
      }
    case .metadata: break
    }
  }
}

func replay(_ directory: String, _ options: WALOptions) throws -> (entries: [Entry], report: RecoveryReport) {
  var collected = Collected()
  let wal = try WAL.open(directory: directory, options: options) { collected.take($0) }
  defer { wal.close() }
  return (collected.entries, wal.recovery)
}

func withDirectory(_ body: (String) throws -> Void) throws {
  let path = NSTemporaryDirectory() + "wal-tests-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: path) }
  try body(path)
}
