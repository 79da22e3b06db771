// The timed loops of the reading tests. Keys are made a block at a time before the clock starts, so a loop holds nothing but
// the engine's own work and one addition. One block in sixteen times each operation by itself, for the latencies; those blocks
// do not count towards the throughput, because reading the clock would.
import Histogram

/// What one thread did.
struct Measurement {
  var operations: UInt64 = 0
  var nanoseconds: UInt64 = 0
  var checksum: UInt64 = 0
  var latencies = makeLatencies()

  /// Operations per second while the clock ran.
  var rate: Double { nanoseconds == 0 ? .nan : Double(operations) * 1e9 / Double(nanoseconds) }
}

/// What a run of a test depends on besides the engine.
struct ReadPlan {
  var n: UInt64
  var rounds: Int
  var seed: UInt64
  var zipf: Zipf?
}

enum ReadTest: String, CaseIterable {
  case get, getfresh, multiget, zipf, miss, scan100, full, count

  static let transactionLength = 1_000
  static let group = 16
  static let scanLength = 100
  private static let samplePeriod = 16

  /// Operations of one thread: what the rate counts (keys, or records for the scans).
  func rounds(_ n: UInt64) -> Int {
    switch self {
    case .get, .getfresh, .multiget, .zipf, .miss: Int(min(max(n, 64_000), 1_000_000)) / Self.transactionLength
    case .scan100: Int(min(max(n / 50, 640), 20_000)) / Self.transactionBlock
    case .full: 3
    case .count: 64
    }
  }

  private static let transactionBlock = 10

  var unit: String {
    switch self {
    case .get, .getfresh, .multiget, .zipf, .miss: "keys"
    case .scan100, .full: "records"
    case .count: "counts"
    }
  }

  /// Runs the test on one reader, with choices that depend on the plan alone.
  func run<Reader: EngineReader>(_ reader: inout Reader, _ plan: ReadPlan) throws -> Measurement {
    let (n, rounds) = (plan.n, plan.rounds)
    var rng = Rng(seed: plan.seed)
    let scatter = Permutation(count: n)
    let length = Self.transactionLength
    switch self {
    case .get:
      return try Self.gets(&reader, rounds) { keys in
        for i in 0..<length { keys.set(i, number: 2 * rng.below(n)) }
      }
    case .zipf:
      guard let zipf = plan.zipf else { throw BenchError("zipf has no distribution") }
      return try Self.gets(&reader, rounds) { keys in
        for i in 0..<length { keys.set(i, number: 2 * scatter(zipf.rank(&rng))) }
      }
    case .miss:
      return try Self.gets(&reader, rounds) { keys in
        for i in 0..<length { keys.set(i, number: 2 * rng.below(n) + 1) }
      }
    case .getfresh:
      return try Self.freshGets(&reader, rounds) { keys in
        for i in 0..<length { keys.set(i, number: 2 * rng.below(n)) }
      }
    case .multiget:
      return try Self.groups(&reader, rounds) { keys in
        for i in 0..<length { keys.set(i, number: 2 * rng.below(n)) }
      }
    case .scan100:
      return try Self.scans(&reader, rounds) { keys in
        for i in 0..<Self.transactionBlock { keys.set(i, number: 2 * rng.below(n)) }
      }
    case .full: return try Self.fullScans(&reader, rounds)
    case .count: return try Self.counts(&reader, rounds, n: n, &rng)
    }
  }

  /// What a missing key adds to the checksum.
  private static let missing: UInt64 = 0x6D69_7373

  @inline(__always)
  private static func gets<Reader: EngineReader>(
    _ reader: inout Reader, _ rounds: Int, _ prepare: (KeyBlock) -> Void
  ) throws -> Measurement {
    let keys = KeyBlock(capacity: transactionLength)
    var result = Measurement()
    for round in 0..<rounds {
      prepare(keys)
      var sum: UInt64 = 0
      if round % samplePeriod == 1 {
        try reader.begin()
        for i in 0..<transactionLength {
          let before = nanoseconds()
          sum &+= try reader.get(keys.key(i)) ?? missing
          _ = result.latencies.record(nanoseconds() &- before)
        }
        reader.end()
      } else {
        let bytes = keys.key(0)
        let before = nanoseconds()
        try reader.begin()
        var offset = 0
        while offset < transactionLength &* Record.keyLength {
          sum &+= try reader.get(bytes + offset) ?? missing
          offset &+= Record.keyLength
        }
        reader.end()
        result.nanoseconds &+= nanoseconds() &- before
        result.operations &+= UInt64(transactionLength)
      }
      result.checksum &+= sum
    }
    return result
  }

  @inline(__always)
  private static func freshGets<Reader: EngineReader>(
    _ reader: inout Reader, _ rounds: Int, _ prepare: (KeyBlock) -> Void
  ) throws -> Measurement {
    let keys = KeyBlock(capacity: transactionLength)
    var result = Measurement()
    for round in 0..<rounds {
      prepare(keys)
      var sum: UInt64 = 0
      if round % samplePeriod == 1 {
        for i in 0..<transactionLength {
          let before = nanoseconds()
          try reader.begin()
          sum &+= try reader.get(keys.key(i)) ?? missing
          reader.end()
          _ = result.latencies.record(nanoseconds() &- before)
        }
      } else {
        let bytes = keys.key(0)
        let before = nanoseconds()
        var offset = 0
        while offset < transactionLength &* Record.keyLength {
          try reader.begin()
          sum &+= try reader.get(bytes + offset) ?? missing
          reader.end()
          offset &+= Record.keyLength
        }
        result.nanoseconds &+= nanoseconds() &- before
        result.operations &+= UInt64(transactionLength)
      }
      result.checksum &+= sum
    }
    return result
  }

  /// Groups of sixteen; a latency is that of a whole group.
  @inline(__always)
  private static func groups<Reader: EngineReader>(
    _ reader: inout Reader, _ rounds: Int, _ prepare: (KeyBlock) -> Void
  ) throws -> Measurement {
    let keys = KeyBlock(capacity: transactionLength)
    let groupCount = transactionLength / group
    var result = Measurement()
    for round in 0..<rounds {
      prepare(keys)
      var sum: UInt64 = 0
      if round % samplePeriod == 1 {
        try reader.begin()
        for i in 0..<groupCount {
          let before = nanoseconds()
          sum &+= try reader.multiget(keys.key(i * group), count: group)
          _ = result.latencies.record(nanoseconds() &- before)
        }
        reader.end()
      } else {
        let before = nanoseconds()
        try reader.begin()
        for i in 0..<groupCount { sum &+= try reader.multiget(keys.key(i &* group), count: group) }
        reader.end()
        result.nanoseconds &+= nanoseconds() &- before
        result.operations &+= UInt64(groupCount * group)
      }
      result.checksum &+= sum
    }
    return result
  }

  /// Ten scans a transaction; the rate counts records, a latency is that of a whole scan.
  @inline(__always)
  private static func scans<Reader: EngineReader>(
    _ reader: inout Reader, _ rounds: Int, _ prepare: (KeyBlock) -> Void
  ) throws -> Measurement {
    let keys = KeyBlock(capacity: transactionBlock)
    var result = Measurement()
    for round in 0..<rounds {
      prepare(keys)
      let sampled = round % samplePeriod == 1
      try reader.begin()
      for i in 0..<transactionBlock {
        let before = nanoseconds()
        let (records, sum) = try reader.scan(from: keys.key(i), limit: scanLength)
        let elapsed = nanoseconds() &- before
        if sampled { _ = result.latencies.record(elapsed) }
        result.nanoseconds &+= elapsed
        result.operations &+= UInt64(records)
        result.checksum &+= sum
      }
      reader.end()
    }
    return result
  }

  @inline(__always)
  private static func fullScans<Reader: EngineReader>(_ reader: inout Reader, _ rounds: Int) throws -> Measurement {
    let key = KeyBlock(capacity: 1)
    key.set(0, number: 0)
    var result = Measurement()
    for _ in 0..<rounds {
      let before = nanoseconds()
      try reader.begin()
      let (records, sum) = try reader.scan(from: key.key(0), limit: .max)
      reader.end()
      let elapsed = nanoseconds() &- before
      result.nanoseconds &+= elapsed
      result.operations &+= UInt64(records)
      result.checksum &+= sum
      _ = result.latencies.record(elapsed)
    }
    return result
  }

  /// Counts a tenth of the records at random places.
  @inline(__always)
  private static func counts<Reader: EngineReader>(
    _ reader: inout Reader, _ rounds: Int, n: UInt64, _ rng: inout Rng
  ) throws -> Measurement {
    let keys = KeyBlock(capacity: 2)
    var result = Measurement()
    for _ in 0..<rounds {
      let first = rng.below(max(n - n / 10, 1))
      keys.set(0, number: 2 * first)
      keys.set(1, number: 2 * (first + n / 10))
      let before = nanoseconds()
      try reader.begin()
      let count = try reader.count(from: keys.key(0), to: keys.key(1))
      reader.end()
      let elapsed = nanoseconds() &- before
      result.nanoseconds &+= elapsed
      result.operations &+= 1
      result.checksum &+= count &* 31 &+ first
      _ = result.latencies.record(elapsed)
    }
    return result
  }
}
