import Testing

@testable import NeedletailWAL

/// Opening a log whose first entries are durable elsewhere.
@Suite struct AppliedTests {
  /// However much was applied: what is replayed is the end of the log, holds all that is wanted, and means the same.
  @Test func restOfALog() throws {
    var (skipped, logs) = (0, 0)
    for seed in seedFromEnvironment().map({ [$0] }) ?? seeds(1...30) {
      let device = SimulatedLogDevice()
      let driver = Driver(device, smallOptions(), seed: seed, eagerness: 100)
      try driver.open()
      for _ in 0..<200 { try driver.step() }
      driver.close()
      let image = { device.crashImage { _ in true } }
      let whole = try replay(image(), smallOptions())
      logs += 1
      for applied in 0...whole.report.last.index {
        var options = smallOptions()
        options.appliedIndex = applied
        let rest = try replay(image(), options)
        let context = Comment("seed \(seed), applied \(applied): NEEDLETAIL_WAL_SEED=\(seed)")
        #expect(rest.report.last == whole.report.last, context)
        #expect(rest.log.hardState == whole.log.hardState && rest.log.snapshot == whole.log.snapshot, context)
        #expect(Array(whole.log.entries.suffix(rest.log.entries.count)) == rest.log.entries, context)
        #expect(
          rest.log.entries.filter { $0.index > applied } == whole.log.entries.filter { $0.index > applied }, context)
        if rest.report.records < whole.report.records { skipped += 1 }
      }
    }
    #expect(skipped > logs, "segments were skipped \(skipped) times in \(logs) logs")
  }

  /// A segment that is not read may hold anything; it is given back with the first checkpoint. One that is read may not.
  @Test func damageBelowTheAppliedEntry() throws {
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    for index in 1...40 as ClosedRange<UInt64> {
      try wal.append(Entry(index: index, term: 1, payload: payload(index, 700)))
      try wal.submit()
    }
    wal.close()
    let first = try #require(device.fileNames.first { $0.hasSuffix(".wal") })
    var bytes = try #require(device.contents(first))
    bytes[3 * 4096 + 200] ^= 1
    device.overwrite(first, bytes)
    var options = smallOptions()
    #expect(throws: WALError.self) { try WAL.open(device: device.crashImage { _ in true }, options: options) { _ in } }
    options.appliedIndex = 20
    let image = device.crashImage { _ in true }
    var indexes: [UInt64] = []
    let rest = try WAL.open(device: image, options: options) { record in
      if case .entry(let index, _, _) = record { indexes.append(index) }
    }
    #expect(indexes.last == 40 && indexes.first.map { $0 > 1 && $0 <= 21 } == true)
    #expect(image.fileNames.contains(first))
    try rest.recycle(through: 20)
    #expect(!image.fileNames.contains(first))
    rest.close()
  }

  /// A log to which nothing was added says so, and the next start need not look for more.
  @Test func closedWithoutAWrite() throws {
    let device = SimulatedLogDevice()
    for _ in 0..<3 { try WAL.open(device: device, options: smallOptions()) { _ in }.close() }
    let last = try #require(device.fileNames.last { $0.hasSuffix(".wal") })
    let block = try #require(device.contents(last)).dropFirst(blockSize).prefix(blockSize)
    let mark = try block.withUnsafeBytes {
      GroupHeader.resembles(try #require($0.baseAddress), at: LogPosition(generation: 3, offset: 4096))
    }
    #expect(mark)
  }

  /// The search for groups behind a bad place jumps over holes, and never over a group.
  @Test func aHoleHidesNothing() throws {
    var options = smallOptions()
    options.segmentSize = 8 << 20
    for length in [1 << 20, 3 << 20] {
      let device = SimulatedLogDevice()
      let wal = try WAL.open(device: device, options: options) { _ in }
      for (index, count) in [(1, 100), (2, length), (3, 100)] as [(UInt64, Int)] {
        try wal.append(Entry(index: index, term: 1, payload: payload(index, count)))
        try wal.submit()
        while wal.groupsInFlight > 0 { try wal.reap(wait: true) }
      }
      device.killProcess()
      let image = device.crashImage { _ in true }
      let segment = try #require(image.fileNames.first { $0.hasSuffix(".wal") })
      var bytes = try #require(image.contents(segment))
      // The second group is lost with all its blocks; the third knows that it was durable.
      let spans = 2 * blockSize..<2 * blockSize + roundUp(length, blockSize)
      bytes.replaceSubrange(spans, with: repeatElement(0, count: spans.count))
      image.overwrite(segment, bytes)
      #expect(image.nextData(try image.open(segment), from: UInt64(spans.lowerBound)) >= UInt64(spans.upperBound))
      #expect("length \(length)") {
        _ = try WAL.open(device: image, options: options) { _ in }
      } throws: { error in
        if case .corrupt? = error as? WALError { true } else { false }
      }
    }
  }
}
