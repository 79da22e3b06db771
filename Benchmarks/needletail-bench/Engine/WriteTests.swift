// The timed loops of the writing tests. Records are made before the clock starts. The checksum of a writing test is what
// reading back gives: the whole store after a load, every overwritten record after the others. Overwriting stores the value
// that was there, so every repetition finds the same store.
import Histogram

enum WriteTest: String, CaseIterable {
  case load, bulk, ow1000, commit1, commit100

  var isLoad: Bool { self == .load || self == .bulk }

  /// Records of a batch.
  private var batch: Int {
    switch self {
    case .load, .ow1000: 1_000
    case .bulk: 10_000
    case .commit1: 1
    case .commit100: 100
    }
  }

  private func batches(_ n: UInt64) -> Int {
    switch self {
    case .load, .bulk: (Int(n) + batch - 1) / batch
    case .ow1000: 100
    case .commit1: 1_000
    case .commit100: 200
    }
  }

  /// What the rate counts.
  var unit: String { self == .commit1 || self == .commit100 ? "transactions" : "records" }

  func run<Store: Engine>(_ store: Store, n: UInt64, seed: UInt64) throws -> Measurement {
    switch self {
    case .load: return try load(store, n: n)
    case .bulk: return try bulk(store, n: n)
    case .ow1000: return try overwrite(store, n: n, seed: seed, durable: false)
    case .commit1, .commit100: return try overwrite(store, n: n, seed: seed, durable: true)
    }
  }

  /// Random order, a thousand a batch, one sync at the end, which is timed.
  private func load<Store: Engine>(_ store: Store, n: UInt64) throws -> Measurement {
    let order = Permutation(count: n)
    let records = RecordBlock(capacity: batch)
    var result = Measurement()
    var next: UInt64 = 0
    while next < n {
      records.removeAll()
      while records.count < batch, next < n {
        records.append(id: order(next))
        next += 1
      }
      let before = nanoseconds()
      try store.write(records, durable: false)
      let elapsed = nanoseconds() &- before
      result.nanoseconds += elapsed
      _ = result.latencies.record(elapsed)
    }
    let before = nanoseconds()
    try store.sync()
    result.nanoseconds += nanoseconds() &- before
    result.operations = n
    result.checksum = try Self.contents(store, n: n)
    return result
  }

  private func bulk<Store: Engine>(_ store: Store, n: UInt64) throws -> Measurement {
    let records = RecordBlock(capacity: batch)
    var result = Measurement()
    var before = nanoseconds()
    try store.beginBulk()
    result.nanoseconds += nanoseconds() &- before
    var next: UInt64 = 0
    while next < n {
      records.removeAll()
      while records.count < batch, next < n {
        records.append(id: next)
        next += 1
      }
      before = nanoseconds()
      try store.bulk(records)
      let elapsed = nanoseconds() &- before
      result.nanoseconds += elapsed
      _ = result.latencies.record(elapsed)
    }
    before = nanoseconds()
    try store.endBulk()
    result.nanoseconds += nanoseconds() &- before
    result.operations = n
    result.checksum = try Self.contents(store, n: n)
    return result
  }

  private func overwrite<Store: Engine>(
    _ store: Store, n: UInt64, seed: UInt64, durable: Bool
  ) throws -> Measurement {
    let records = RecordBlock(capacity: batch)
    var rng = Rng(seed: seed)
    var result = Measurement()
    for _ in 0..<batches(n) {
      records.removeAll()
      for _ in 0..<batch { records.append(id: rng.below(n)) }
      let before = nanoseconds()
      try store.write(records, durable: durable)
      let elapsed = nanoseconds() &- before
      result.nanoseconds += elapsed
      result.operations += durable ? 1 : UInt64(batch)
      _ = result.latencies.record(elapsed)
    }
    result.checksum = try Self.overwritten(store, n: n, seed: seed, count: batches(n) * batch)
    return result
  }

  /// The sum over the whole store; a load that lost a record is an error, whatever the others did.
  private static func contents<Store: Engine>(_ store: Store, n: UInt64) throws -> UInt64 {
    var reader = try store.makeReader()
    defer { reader.close() }
    let key = KeyBlock(capacity: 1)
    key.set(0, number: 0)
    try reader.begin()
    defer { reader.end() }
    let (records, sum) = try reader.scan(from: key.key(0), limit: .max)
    guard records == Int(n) else { throw BenchError("loaded \(n) records, found \(records)") }
    return sum
  }

  private static func overwritten<Store: Engine>(
    _ store: Store, n: UInt64, seed: UInt64, count: Int
  ) throws -> UInt64 {
    var reader = try store.makeReader()
    defer { reader.close() }
    let key = KeyBlock(capacity: 1)
    var rng = Rng(seed: seed)
    var sum: UInt64 = 0
    try reader.begin()
    defer { reader.end() }
    for _ in 0..<count {
      key.set(0, number: 2 * rng.below(n))
      guard let digest = try reader.get(key.key(0)) else { throw BenchError("an overwritten record is missing") }
      sum &+= digest
    }
    return sum
  }
}
