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
  [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
    for i in 0..<count { buffer[i] = UInt8(truncatingIfNeeded: index &* 31 &+ UInt64(i) &* 7) }
    filled = count
  }
}

func smallOptions() -> WALOptions {
  var options = WALOptions()
  options.segmentSize = 32 << 10
  options.groupSize = 8 << 10
  options.background = false
  options.storeID = StoreID(high: 0x1122_3344, low: 0x5566_7788)
  return options
}

/// Collects what a log replays, resolving superseded entries as a caller must.
struct Collected: Equatable {
  var entries: [Entry] = []
  var hardState: HardState?
  var snapshot: LogMark?
  var metadata: [UInt8] = []

  mutating func take(_ record: RecoveredRecord) {
    switch record {
    case .entry(let index, let term, let payload):
      take(Entry(index: index, term: term, payload: Array(payload)))
    case .hardState(let hardState): self.hardState = hardState
    case .snapshot(let mark): take(mark)
    case .metadata(let bytes): metadata = Array(bytes)
    }
  }

  mutating func take(_ entry: Entry) {
    while let last = entries.last, last.index >= entry.index { entries.removeLast() }
    entries.append(entry)
  }

  mutating func take(_ mark: LogMark) {
    snapshot = mark
    guard let first = entries.first, mark.index >= first.index else { return }
    if !entries.contains(where: { $0.index == mark.index && $0.term == mark.term }) { entries = [] }
  }
}

func replay(_ directory: String, _ options: WALOptions) throws -> (log: Collected, report: RecoveryReport) {
  try replay(try FileLogDevice(directory: directory, options: options), options)
}

func replay(_ device: any LogDevice, _ options: WALOptions) throws -> (log: Collected, report: RecoveryReport) {
  var collected = Collected()
  let wal = try WAL.open(device: device, options: options) { collected.take($0) }
  defer { wal.close() }
  return (collected, wal.recovery)
}

func withDirectory(in parent: String = NSTemporaryDirectory(), _ body: (String) throws -> Void) throws {
  let path = parent + "/wal-tests-\(UUID().uuidString)"
  defer { try? FileManager.default.removeItem(atPath: path) }
  try body(path)
}

/// SplitMix64: the same numbers from the same seed on every machine.
struct Random: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

/// A generator that closures can share.
final class SharedRandom {
  var random: Random
  init(_ seed: UInt64) { random = Random(state: seed) }
  func below(_ bound: Int) -> Int { random.below(bound) }
  func chance(_ percent: Int) -> Bool { random.chance(percent) }
}

/// NEEDLETAIL_WAL_SEED=n replays one seed.
func seedFromEnvironment() -> UInt64? {
  ProcessInfo.processInfo.environment["NEEDLETAIL_WAL_SEED"].flatMap { UInt64($0) }
}

/// The seeds of a test; NEEDLETAIL_WAL_SOAK=n gives n of them.
func seeds(_ usual: ClosedRange<UInt64>) -> [UInt64] {
  guard let count = ProcessInfo.processInfo.environment["NEEDLETAIL_WAL_SOAK"].flatMap({ UInt64($0) }) else {
    return Array(usual)
  }
  return Array(usual.lowerBound..<usual.lowerBound + max(count, 1))
}
