import Testing

@testable import NeedletailWAL

/// Rotation, recycling, superseding, and the limits.
@Suite struct SegmentTests {
  private func write(_ wal: WAL, _ range: ClosedRange<UInt64>, term: UInt64 = 1, size: Int = 700) throws {
    for index in range {
      try wal.append(Entry(index: index, term: term, payload: payload(index, size)))
      try wal.submit()
    }
    while wal.groupsInFlight > 0 { try wal.reap(wait: true) }
  }

  /// Only a prefix goes, superseded records count, and the newest hard state, marker and ids outlive their segments.
  @Test func recycling() throws {
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    try wal.append(metadata: [1, 2, 3])
    try wal.append(HardState(term: 1, vote: 2, commit: 0))
    try write(wal, 1...10)
    try wal.append(snapshot: LogMark(index: 8, term: 1))
    // Supersedes 9 and 10, so the first segments still hold index 10.
    try write(wal, 9...40, term: 2)
    #expect(wal.segmentCount == 7)
    try wal.recycle(through: 5)
    #expect(wal.segmentCount == 7, "the first segment holds 6")
    try wal.recycle(through: 9)
    #expect(wal.segmentCount == 6, "the second holds 10, superseded")
    try wal.recycle(through: 30)
    #expect(wal.segmentCount == 2)
    try write(wal, 41...60, term: 2)
    wal.close()
    let found = try replay(device, smallOptions())
    #expect(found.log.metadata == [1, 2, 3] && found.report.metadata == [1, 2, 3])
    #expect(found.log.hardState == HardState(term: 1, vote: 2, commit: 0))
    #expect(found.log.snapshot == LogMark(index: 8, term: 1))
    #expect(found.log.entries.map(\.index) == Array(found.report.floor.index + 1...60))
    #expect(found.report.floor.index <= 30 && found.report.floor.index > 20 && found.report.floor.term == 2)
    #expect(found.report.last == LogMark(index: 60, term: 2))
  }

  /// Bytes of a segment's earlier life never come back; without the salt they would.
  @Test(arguments: [nil, .unsalted] as [WALMutant?])
  func staleBytesStayDead(_ mutant: WALMutant?) throws {
    var options = smallOptions()
    options.mutant = mutant
    var refused = 0
    for count in 1...6 as ClosedRange<UInt64> {
      let device = SimulatedLogDevice()
      let wal = try WAL.open(device: device, options: options) { _ in }
      try write(wal, 1...12)
      try wal.recycle(through: 12)
      let spare = try #require(device.fileNames.first { $0.hasPrefix("spare-") })
      let old = try #require(device.contents(spare))
      // The log goes on in that very file, with groups of the same shape.
      try write(wal, 13...12 + count)
      #expect(!device.fileNames.contains(spare))
      device.killProcess()
      let image = device.crashImage { _ in true }
      let active = try #require(image.fileNames.last { $0.hasSuffix(".wal") })
      let rest = try #require(image.contents(active)).suffix(old.count - 4096 * Int(count + 1))
      #expect(Array(rest) == Array(old.suffix(rest.count)), "the rest of the file is as it was")
      guard let found = try? replay(image, options), found.report.last.index == 12 + count, found.report.torn == nil
      else {
        refused += 1
        continue
      }
      #expect(found.log.entries.last == Entry(index: 12 + count, term: 1, payload: payload(12 + count, 700)))
    }
    #expect(mutant == nil ? refused == 0 : refused > 0)
  }

  /// A completion for (i, t1) never acknowledges (i, t2).
  @Test func supersedingTakesAcknowledgementBack() throws {
    let device = SimulatedLogDevice()
    device.isEager = { false }
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    for index in 1...7 as ClosedRange<UInt64> { try wal.append(Entry(index: index, term: 1, payload: [1])) }
    let first = try wal.submit()
    try wal.append(Entry(index: 5, term: 2, payload: [2]))
    let second = try wal.submit()
    #expect(try wal.reap(wait: true) == DurablePoint(group: first, index: 4, term: 1))
    #expect(try wal.reap(wait: true) == DurablePoint(group: second, index: 5, term: 2))
    // Superseding what is durable already takes it back at once.
    try wal.append(Entry(index: 3, term: 3, payload: [3]))
    #expect(wal.durable == DurablePoint(group: second, index: 2, term: 1))
    #expect(wal.last == LogMark(index: 3, term: 3) && wal.term(at: 4) == nil && wal.term(at: 2) == 1)
    let third = try wal.submit()
    #expect(try wal.reap(wait: true) == DurablePoint(group: third, index: 3, term: 3))
  }

  /// Completions out of order acknowledge nothing before the prefix is whole.
  @Test func prefixOnly() throws {
    let device = SimulatedLogDevice()
    device.chooseCompletion = { $0 - 1 }
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    device.isEager = { false }
    for index in 1...4 as ClosedRange<UInt64> {
      try wal.append(Entry(index: index, term: 1, payload: [1]))
      try wal.submit()
    }
    #expect(wal.groupsInFlight == 4 && !wal.canSubmit && device.inFlight == 4)
    var left = 3
    device.isEager = {
      left -= 1
      return left >= 0
    }
    #expect(try wal.reap(wait: false).index == 0)
    #expect(device.inFlight == 1, "three of four are done")
    #expect(try wal.reap(wait: true).index == 4)
  }

  @Test func largeRecordsAndLimits() throws {
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    let limit = wal.maximumPayload
    var entries: [Entry] = []
    for size in [0, 1, 8 << 10, limit, 3, limit - 1, 20_000, 7] {
      entries.append(Entry(index: UInt64(entries.count + 1), term: 1, payload: payload(9, size)))
      try wal.append(entries[entries.count - 1])
    }
    #expect(throws: WALError.recordTooLarge(length: limit + 1, limit: limit)) {
      try wal.append(Entry(index: 9, term: 1, payload: payload(9, limit + 1)))
    }
    #expect(throws: WALError.indexGap(last: 8, index: 10)) { try wal.append(Entry(index: 10, term: 1, payload: [])) }
    #expect(throws: WALError.indexGap(last: 8, index: 0)) { try wal.append(Entry(index: 0, term: 1, payload: [])) }
    #expect(throws: WALError.self) { try wal.append(metadata: payload(1, 2049)) }
    #expect(wal.failure == nil, "a refused call is no failure")
    wal.close()
    #expect(!device.sawChangedBuffer)
    #expect(try replay(device, smallOptions()).log.entries == entries)
  }

  @Test func options() throws {
    func options(_ change: (inout WALOptions) -> Void) -> WALOptions {
      var options = smallOptions()
      change(&options)
      return options
    }
    let bad = [
      options { $0.segmentSize = 5000 }, options { $0.segmentSize = 8192 }, options { $0.segmentSize = 2 << 30 },
      options { $0.groupSize = 1000 }, options { $0.groupSize = 32 << 10 }, options { $0.groupsInFlight = 0 },
      options { $0.groupsInFlight = 65 }, options { $0.spareSegments = -1 },
    ]
    for options in bad {
      #expect(throws: WALError.self) { try WAL.open(device: SimulatedLogDevice(), options: options) { _ in } }
    }
  }

  /// A segment size changed between lives; segments keep theirs.
  @Test func otherSegmentSize() throws {
    let device = SimulatedLogDevice()
    var options = smallOptions()
    var index: UInt64 = 0
    for size in [32 << 10, 64 << 10, 16 << 10, 32 << 10] {
      options.segmentSize = size
      let wal = try WAL.open(device: device, options: options) { _ in }
      #expect(wal.last.index == index)
      try write(wal, index + 1...index + 20)
      index += 20
      try wal.recycle(through: index - 15)
      wal.close()
    }
    #expect(try replay(device, options).report.last.index == index)
  }

  @Test func errorsInWords() {
    #expect(
      "\(WALError.system(operation: "fsync", file: "a.wal", code: 5))".contains("fsync of a.wal failed: Input/output"))
    #expect("\(WALError.noSpace(operation: "reserve", file: "b"))".contains("no space"))
    #expect("\(WALError.shortWrite(file: "c", offset: 4096, wanted: 8, written: 4))".contains("4 of 8"))
    #expect("\(WALError.missingSegment(generation: 2, successor: 3))".contains("0000000000000002.wal is missing"))
  }

  @Test func replayMayRefuse() throws {
    struct Refusal: Error {}
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    try write(wal, 1...2)
    wal.close()
    #expect(throws: WALError.replayRefused("Refusal()")) {
      try WAL.open(device: device, options: smallOptions()) { _ in throw Refusal() }
    }
  }

  @Test func termRuns() {
    var runs = TermRuns(floor: LogMark(index: 10, term: 3))
    #expect(runs.last == LogMark(index: 10, term: 3) && runs.accepts(11) && !runs.accepts(12) && !runs.accepts(0))
    for index in 11...20 as ClosedRange<UInt64> { runs.append(LogMark(index: index, term: index < 15 ? 3 : 5)) }
    #expect(runs.term(at: 9) == nil && runs.term(at: 14) == 3 && runs.term(at: 15) == 5 && runs.term(at: 21) == nil)
    runs.append(LogMark(index: 13, term: 6))
    #expect(runs.lastIndex == 13 && runs.term(at: 12) == 3 && runs.term(at: 13) == 6 && runs.term(at: 14) == nil)
    #expect(!runs.snapshot(LogMark(index: 12, term: 3)) && runs.lastIndex == 13)
    #expect(!runs.snapshot(LogMark(index: 4, term: 1)) && runs.lastIndex == 13)
    #expect(runs.snapshot(LogMark(index: 12, term: 4)) && runs.last == LogMark(index: 12, term: 4))
    #expect(runs.snapshot(LogMark(index: 30, term: 7)) && runs.accepts(31) && !runs.accepts(32))
    runs.append(LogMark(index: 5, term: 8))
    #expect(runs.last == LogMark(index: 5, term: 8) && runs.term(at: 4) == 0)
  }
}
