import Testing

@testable import NeedletailWAL

/// Damage to acknowledged bytes: found and named, or told to be a torn tail where nothing can tell; never a trap, never
/// a silent loss.
@Suite struct CorruptionTests {
  /// A log of three segments; with `clean` it was closed.
  private func build(
    clean: Bool, segments: Int = 3, mutant: WALMutant? = nil
  ) throws -> (SimulatedLogDevice, [Entry], WALOptions) {
    var options = smallOptions()
    options.segmentSize = 16 << 10
    options.spareSegments = 0
    options.mutant = mutant
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: options) { _ in }
    var entries: [Entry] = []
    repeat {
      let index = UInt64(entries.count + 1)
      let entry = Entry(index: index, term: 4, payload: payload(index, 40 + Int(index)))
      entries.append(entry)
      try wal.append(entry)
      if entries.count % 3 == 0 {
        try wal.append(HardState(term: 4, vote: 1, commit: index))
        try wal.submit()
        try wal.reap(wait: true)
      }
    } while wal.segmentCount < segments || entries.count % 6 != 0
    if clean { wal.close() } else { device.killProcess() }
    return (device.crashImage { _ in true }, entries, options)
  }

  /// Offsets of a file that hold something.
  private func usedBytes(_ bytes: [UInt8]) -> [Int] {
    var used: [Int] = []
    for block in stride(from: 0, to: bytes.count, by: 4096) {
      let end = bytes[block..<min(block + 4096, bytes.count)].lastIndex { $0 != 0 }
      guard let end else { continue }
      used += block...min(end + 8, block + 4095)
    }
    return used
  }

  /// One bit of every byte in use, in every segment, flipped.
  @Test(arguments: [true, false])
  func everyByte(_ clean: Bool) throws {
    let (device, entries, options) = try build(clean: clean)
    let names = device.fileNames.filter { $0.hasSuffix(".wal") }
    var random = Random(state: 7)
    var corrupt = 0
    var torn = 0
    for name in names {
      let bytes = try #require(device.contents(name))
      for offset in usedBytes(bytes) {
        let image = device.crashImage { _ in true }
        var damaged = bytes
        damaged[offset] ^= 1 << UInt8(random.below(8))
        image.overwrite(name, damaged)
        do {
          let found = try replay(image, options)
          let kept = found.log.entries
          if kept == entries {
            // Padding, or the closing mark, or a hard state at the very end.
            if found.report.torn != nil { torn += 1 }
            continue
          }
          torn += 1
          let lost = entries.count - kept.count
          guard !clean, name == names.last, found.report.torn != nil, lost <= 3,
            kept == Array(entries.prefix(kept.count))
          else {
            Issue.record("\(name) byte \(offset): lost \(lost) entries, torn \(String(describing: found.report.torn))")
            return
          }
        } catch WALError.corrupt(let place) {
          corrupt += 1
          #expect(place.file == name || name == names.last, "\(place)")
          #expect(place.lastIndex <= UInt64(entries.count))
        } catch WALError.unsupportedVersion(let file, _) {
          corrupt += 1
          #expect(file == name)
        } catch WALError.foreignSegment(let file) {
          corrupt += 1
          #expect(file == name)
        }
      }
    }
    #expect(corrupt > 1000)
    #expect(torn > 50)
  }

  /// The error names file, offset, index and term of a record in the middle, and how far the log had come.
  @Test func middleRecordIsNamed() throws {
    let (device, entries, options) = try build(clean: false)
    let name = segmentName(1)
    var bytes = try #require(device.contents(name))
    // Second record of the first group: its payload, then its header.
    let second = 4096 + GroupHeader.size + RecordHeader.recordSize(41)
    bytes[second + RecordHeader.size + 5] ^= 0x40
    device.overwrite(name, bytes)
    let error = #expect(throws: WALError.self) { try replay(device, options) }
    guard case .corrupt(let place) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(place.file == name && place.offset == UInt64(second) && place.index == 2 && place.term == 4)
    #expect(place.lastIndex == UInt64(entries.count) && place.lastTerm == 4)
    #expect(place.reason.contains("payload"))
    #expect("\(WALError.corrupt(place))".contains("\(name) offset \(second), index 2, term 4"))

    bytes[second + 20] ^= 0x40
    device.overwrite(name, bytes)
    guard case .corrupt(let place) = #expect(throws: WALError.self, performing: { try replay(device, options) }) else {
      return
    }
    #expect(place.index == 2 && place.term == 0 && place.reason.contains("header"))
  }

  /// The same damage within the last segment, told by the durable position alone; and not told without that rule.
  @Test func durablePositionTells() throws {
    for mutant in [nil, WALMutant.noCorruptionRule] {
      let (device, entries, options) = try build(clean: true, segments: 1, mutant: mutant)
      let name = segmentName(1)
      var bytes = try #require(device.contents(name))
      bytes[4096 + GroupHeader.size + RecordHeader.size] ^= 1
      device.overwrite(name, bytes)
      let found = try? replay(device, options)
      #expect(mutant == nil ? found == nil : (found?.log.entries.count ?? 0) < entries.count)
    }
  }

  /// The torn tail is kept aside, cut for good, and reported.
  @Test func tornTailIsKeptAside() throws {
    let (device, entries, options) = try build(clean: false, segments: 1)
    let name = segmentName(1)
    let bytes = try #require(device.contents(name))
    let last = try #require(usedBytes(bytes).last.map { $0 / 4096 * 4096 })
    var damaged = bytes
    damaged[last + GroupHeader.size + RecordHeader.size] ^= 1
    device.overwrite(name, damaged)
    let found = try replay(device, options)
    let torn = try #require(found.report.torn)
    #expect(torn.file == name && torn.offset == UInt64(last) && torn.length == 4096)
    #expect(torn.first == LogMark(index: UInt64(entries.count - 2), term: 4))
    #expect(torn.copy == "torn-0000000000000001-\(last)")
    #expect(device.contents(torn.copy) == Array(damaged[last..<last + 4096]))
    #expect(found.log.entries == Array(entries.dropLast(3)))
    // On a full disk there is a spare to go on in, and no room for the copy.
    let full = device.crashImage { _ in true }
    full.lose(torn.copy)
    full.lose(segmentName(2))
    full.overwrite(name, damaged)
    let spare = try full.create("spare-00000000000000ff")
    try full.reserve(spare, UInt64(options.segmentSize))
    full.capacity = 2 * options.segmentSize
    var keepsSpare = options
    keepsSpare.spareSegments = 1
    let tight = try replay(full, keepsSpare)
    #expect(tight.log == found.log && tight.report.torn?.copy == "")
    // The same bytes become whole again (a late write, a copy put back): they stay cut.
    device.overwrite(name, bytes)
    let again = try replay(device, options)
    #expect(again.log.entries == found.log.entries && again.report.torn == nil)
  }

  /// After a clean stop the empty rest of the last segment needs no look; after a crash it does, unless it is a hole.
  @Test func cleanStartReadsLittle() throws {
    var options = smallOptions()
    options.segmentSize = 8 << 20
    options.groupSize = 8 << 10
    for (clean, holes) in [(true, false), (false, true), (false, false)] {
      let device = SimulatedLogDevice()
      device.tellsHoles = holes
      let wal = try WAL.open(device: device, options: options) { _ in }
      try wal.append(Entry(index: 1, term: 1, payload: [1]))
      try wal.submit()
      try wal.reap(wait: true)
      if clean { wal.close() } else { device.killProcess() }
      let before = device.bytesRead
      #expect(try replay(device, options).report.last.index == 1)
      let read = device.bytesRead - before
      #expect(clean || holes ? read < 2 << 20 : read > 7 << 20, "clean \(clean), holes \(holes): \(read) bytes")
    }
  }

  @Test func wholeSegmentsGone() throws {
    let (device, _, options) = try build(clean: true)
    device.lose(segmentName(2))
    #expect(throws: WALError.missingSegment(generation: 2, successor: 3)) { try replay(device, options) }

    let (shorter, _, _) = try build(clean: true)
    shorter.overwrite(segmentName(2), Array(try #require(shorter.contents(segmentName(2))).prefix(5000)))
    #expect(throws: WALError.self) { try replay(shorter, options) }
    shorter.overwrite(segmentName(2), [])
    #expect(throws: WALError.self) { try replay(shorter, options) }
  }

  @Test func anotherStoreAndAnotherVersion() throws {
    var (device, _, options) = try build(clean: true)
    options.storeID = StoreID(high: 1, low: 2)
    #expect(throws: WALError.foreignSegment(file: segmentName(1))) { try replay(device, options) }
    let own = try build(clean: true)
    let other = SimulatedLogDevice()
    let wal = try WAL.open(device: other, options: options) { _ in }
    wal.close()
    // Generation 2 of another store among ours.
    let reopened = try replay(other, options)
    #expect(reopened.report.segments == 1)
    own.0.overwrite(segmentName(2), try #require(other.contents(segmentName(2))))
    var anyStore = own.2
    anyStore.storeID = nil
    #expect(throws: WALError.foreignSegment(file: segmentName(2))) { try replay(own.0, anyStore) }

    device = own.0
    // A version that keeps the framing, and one that does not.
    var bytes = try #require(device.contents(segmentName(1)))
    bytes[SegmentHeader.versionOffset] = 9
    let sound = resealed(bytes)
    device.overwrite(segmentName(1), sound)
    #expect(throws: WALError.unsupportedVersion(file: segmentName(1), version: 9)) { try replay(device, own.2) }
    bytes[24] ^= 3
    device.overwrite(segmentName(1), bytes)
    #expect(throws: WALError.unsupportedVersion(file: segmentName(1), version: 9)) { try replay(device, own.2) }
  }

  /// Sizes that no log is made with, though every checksum holds: nothing is computed with them.
  @Test func impossibleSizes() throws {
    for size in [0, 4096, 1 << 30 + 4096, UInt64.max - 4095, .max] {
      let (device, _, options) = try build(clean: false)
      var bytes = try #require(device.contents(segmentName(1)))
      for i in 0..<8 { bytes[SegmentHeader.versionOffset + 32 + i] = UInt8(truncatingIfNeeded: size >> (8 * i)) }
      device.overwrite(segmentName(1), resealed(bytes))
      do {
        _ = try replay(device, options)
        Issue.record("a segment of \(size) bytes was read")
      } catch WALError.corrupt(let place) {
        #expect(place.reason.contains("impossible size"))
      }
    }
  }

  /// The first record with its checksums made right again.
  private func resealed(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    bytes.withUnsafeMutableBytes { buffer in
      guard let record = buffer.baseAddress.map({ $0 + GroupHeader.size }) else { return }
      record.put(
        checksum(0, UnsafeRawBufferPointer(start: record + RecordHeader.size, count: SegmentHeader.size)), 4)
      _ = RecordHeader.seal(record, chain: 0, salt: segmentSalt(StoreID(high: 0x1122_3344, low: 0x5566_7788), 1))
    }
    return bytes
  }

  /// A repair cuts a corrupt log at the bad place, keeps the rest under other names, and the log goes on; a crash at any
  /// point of the repair leaves a log that can be repaired to the same end.
  @Test func repair() throws {
    let (device, entries, plain) = try build(clean: true)
    var options = plain
    options.repairs = true
    var bytes = try #require(device.contents(segmentName(1)))
    bytes[4096 + GroupHeader.size + RecordHeader.recordSize(41) + 50] ^= 1
    device.overwrite(segmentName(1), bytes)
    #expect(throws: WALError.self) { try replay(device, plain) }
    var point = 0
    while true {
      point += 1
      let image = device.crashImage { _ in true }
      image.faults = [point: .powerCut]
      let first = try? replay(image, options)
      let random = SharedRandom(UInt64(point))
      let after = image.crashImage { _ in random.chance(50) }
      let found = try replay(after, options)
      #expect(found.log.entries == [entries[0]], "cut at \(point)")
      #expect(try replay(after, plain).log.entries == [entries[0]])
      guard let first else { continue }
      #expect(first.report.lost == ["lost-" + segmentName(3), "lost-" + segmentName(2)])
      #expect(first.report.torn?.first == LogMark(index: 2, term: 4))
      break
    }
    #expect(point > 15)
  }

  /// Many lives between two checkpoints take little room.
  @Test func reopeningTakesLittleRoom() throws {
    let (device, entries, options) = try build(clean: true)
    for _ in 0..<20 { #expect(try replay(device, options).log.entries == entries) }
    let total = device.fileNames.reduce(0) { $0 + (device.contents($1)?.count ?? 0) }
    #expect(total < 4 * options.segmentSize + 20 * 2 * 4096)
    // A file that lost its end by other hands is not taken for one of those.
    let last = try #require(device.fileNames.last { $0.hasSuffix(".wal") })
    device.overwrite(last, Array(try #require(device.contents(last)).prefix(8192)))
    #expect(throws: WALError.self) { try replay(device, options) }
  }

  /// Garbage of every kind in place of a segment: typed errors, bounded memory.
  @Test func garbage() throws {
    let (device, entries, options) = try build(clean: true)
    var random = Random(state: 99)
    let names = device.fileNames.filter { $0.hasSuffix(".wal") }
    for round in 0..<300 {
      let image = device.crashImage { _ in true }
      let name = names[random.below(names.count)]
      var bytes = try #require(image.contents(name))
      switch round % 4 {
      case 0: for i in bytes.indices where random.chance(2) { bytes[i] = UInt8(random.below(256)) }
      case 1:
        let start = random.below(bytes.count)
        for i in start..<min(start + random.below(5000), bytes.count) { bytes[i] = UInt8(random.below(256)) }
      case 2:
        // Lengths and counts, with checksums made right again: fields that lie.
        let block = 4096 * (1 + random.below(2))
        relabel(&bytes, block, [24, 28][random.below(2)], UInt32(truncatingIfNeeded: random.next()), name, options)
      default: bytes.removeLast(random.below(bytes.count))
      }
      image.overwrite(name, bytes)
      if let found = try? replay(image, options) {
        #expect(found.log.entries == Array(entries.prefix(found.log.entries.count)))
      }
    }
  }

  /// Fields of the last group that lie under sound checksums: no torn write makes those, so they are no torn tail, though no
  /// later group vouches for the place. A repair cuts nothing that it replays.
  @Test(arguments: zip([24, 24, 24, 28, 28, 64], [98, 240, 4000, 1, 9, 77] as [UInt32]))
  func partsThatDoNotFit(_ field: Int, _ value: UInt32) throws {
    let (device, entries, plain) = try build(clean: false, segments: 1)
    let name = segmentName(1)
    var bytes = try #require(device.contents(name))
    let last = try #require(usedBytes(bytes).last.map { $0 / 4096 * 4096 })
    relabel(&bytes, last, field, value, name, plain)
    device.overwrite(name, bytes)
    #expect(throws: WALError.self) { try replay(device, plain) }
    var options = plain
    options.repairs = true
    let repaired = try replay(device, options)
    let kept = repaired.log.entries
    #expect(kept == Array(entries.prefix(kept.count)) && kept.count >= entries.count - 3)
    #expect(try replay(device, plain).log.entries == kept)
  }

  /// Metadata that no segment's first block has room for: refused before a next segment is made.
  @Test func metadataTooLarge() throws {
    var options = smallOptions()
    options.segmentSize = 16 << 10
    let device = SimulatedLogDevice()
    let wal = try WAL.open(device: device, options: options) { _ in }
    try wal.append(Entry(index: 1, term: 1, payload: payload(1, 3900)))
    try wal.submit()
    try wal.reap(wait: true)
    device.killProcess()
    var bytes = try #require(device.contents(segmentName(1)))
    bytes.withUnsafeMutableBytes { buffer in
      guard let record = buffer.baseAddress.map({ $0 + 4096 + GroupHeader.size }) else { return }
      let salt = segmentSalt(StoreID(high: 0x1122_3344, low: 0x5566_7788), 1)
      record.put(UInt32(RecordHeader.Kind.metadata.rawValue), 12)
      _ = RecordHeader.seal(record, chain: UnsafeRawPointer(record).u32(32), salt: salt)
    }
    device.overwrite(segmentName(1), bytes)
    do {
      _ = try replay(device, options)
      Issue.record("metadata of 3900 bytes were taken")
    } catch WALError.corrupt(let place) { #expect(place.reason.contains("metadata")) }
  }

  private func relabel(
    _ bytes: inout [UInt8], _ block: Int, _ field: Int, _ value: UInt32, _ name: String, _ options: WALOptions
  ) {
    guard let generation = segmentGeneration(name), let store = options.storeID else { return }
    bytes.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress.map({ $0 + block }) else { return }
      base.put(value, field)
      let sum = checksum(
        segmentSalt(store, generation), UnsafeRawBufferPointer(start: base + 4, count: GroupHeader.size - 4))
      base.put(sum, 0)
    }
  }
}
