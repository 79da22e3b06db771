/// Reads one segment front to back, believing nothing: every length is checked against the file before it is used, and
/// memory grows only for a group whose header checksum holds.
struct SegmentReader: ~Copyable {
  /// The first place that does not read as it should.
  struct Bad {
    /// Start of the group it is in.
    var group: UInt64
    var offset: UInt64
    /// End of that group as far as known: where the search for later groups begins.
    var end: UInt64
    /// From the record's own header where that survived.
    var mark: LogMark?
    var reason: String
    var nature = Nature.torn
  }

  enum Nature {
    /// A block that holds nothing of ours: where the log ends.
    case unwritten
    /// What a write that was cut off can leave.
    case torn
    /// Sound checksums over parts that don't fit together. They were written so in one piece, or bytes of another place
    /// of this very segment were written here: no crash does either, since a place is written once in a segment's life.
    case impossible
  }

  /// What later groups tell about a bad one.
  struct Evidence {
    var found = false
    /// The furthest position a later group knew to be durable.
    var durable: UInt64 = 0
    var last = LogMark()
    /// End of the last such group.
    var end: UInt64 = 0
  }

  let device: any LogDevice
  let file: LogFile
  let generation: UInt64
  let size: UInt64
  let rules: ScanRules
  let header: SegmentHeader
  /// Whether the file is as long as it was made. Recovery cuts segments to their end once they have a successor.
  var isWhole: Bool { size >= header.segmentSize }
  private var window: UnsafeMutableRawBufferPointer
  private var windowOffset: UInt64 = 0
  private var windowCount = 0

  private static let readAhead = 1 << 20

  /// Opens a segment and reads its header. What the page cache shows may not be on disk: the first to read it syncs it.
  init(_ device: any LogDevice, name: String, generation: UInt64, syncs: Bool, mutant: WALMutant?) throws(WALError) {
    let file = try device.open(name)
    do {
      if syncs, mutant != .trustWithoutSync { try device.sync(file) }
      let size = try device.size(file)
      let block = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: blockSize)
      defer { block.deallocate() }
      let count = try device.read(file, into: block, at: 0)
      let header = try Self.readHeader(block, count, size, name, generation)
      self.init(device, file, generation, size, ScanRules(header.store, generation, mutant: mutant), header)
    } catch {
      device.close(file)
      throw error
    }
  }

  private init(
    _ device: any LogDevice, _ file: LogFile, _ generation: UInt64, _ size: UInt64, _ rules: ScanRules,
    _ header: SegmentHeader
  ) {
    self.device = device
    self.file = file
    self.generation = generation
    self.size = size
    self.rules = rules
    self.header = header
    let count = max(UInt64(blockSize), min(UInt64(Self.readAhead), size))
    window = .allocate(byteCount: roundUp(Int(count), blockSize), alignment: blockSize)
  }

  deinit {
    window.deallocate()
    device.close(file)
  }

  /// A segment gets its name after its header is durable, so a bad header has rotted.
  private static func readHeader(
    _ block: UnsafeMutableRawBufferPointer, _ count: Int, _ size: UInt64, _ name: String, _ generation: UInt64
  ) throws(WALError) -> SegmentHeader {
    func corrupt(_ reason: String) -> WALError {
      .corrupt(
        WALCorruption(file: name, offset: 0, index: 0, term: 0, lastIndex: 0, lastTerm: 0, reason: reason))
    }
    guard count == blockSize, let base = block.baseAddress.map({ UnsafeRawPointer($0) }) else {
      throw corrupt("the file is shorter than a segment header")
    }
    let payload = base + SegmentHeader.versionOffset
    let header = SegmentHeader(payload)
    guard base.u32(4) == GroupHeader.magic else { throw corrupt("not a log segment") }
    // Another version may compute its checksums in another way, or keep ours: both are told from a version field that
    // has rotted, which leaves the group header sound and the record's checksum wrong.
    let version = payload.u32(0)
    let rules = ScanRules(header.store, generation, mutant: nil)
    let group = GroupHeader.read(
      base, at: LogPosition(generation: generation, offset: 0), segmentSize: UInt64(blockSize), scan: rules)
    if version != SegmentHeader.version, group == nil { throw .unsupportedVersion(file: name, version: version) }
    guard group != nil else { throw corrupt("the segment header is damaged") }
    guard let record = RecordHeader.read(base + GroupHeader.size, salt: rules.salt), record.kind == .segmentHeader,
      record.length == SegmentHeader.size,
      checksum(0, UnsafeRawBufferPointer(start: payload, count: SegmentHeader.size)) == record.payloadChecksum
    else { throw corrupt("the segment header is damaged") }
    if version != SegmentHeader.version { throw .unsupportedVersion(file: name, version: version) }
    guard header.generation == generation else {
      throw corrupt("the segment header names generation \(header.generation)")
    }
    guard header.segmentSize >= UInt64(2 * blockSize), header.segmentSize <= WALOptions.segmentSizeMax,
      generation < .max
    else {
      throw corrupt("the segment header names an impossible size or generation")
    }
    return header
  }

  /// Reads records from `offset` on, up to `limit` or the first bad place. Gives the end of what is sound, and the
  /// chain there. Records of block 0 and of groups are alike.
  mutating func scan(
    from start: UInt64, limit: UInt64?, chain: inout UInt32,
    visit: (RecordHeader, UnsafeRawBufferPointer, UInt64) throws(WALError) -> Void
  ) throws(WALError) -> (end: UInt64, bad: Bad?) {
    var at = start
    let end = min(limit ?? header.segmentSize, header.segmentSize)
    while at < end {
      // Only the block that a limit cuts through may be shorter than a group.
      guard let block = try view(at, blockSize), let group = readGroup(block, at: at) else {
        return (at, try badBlock(at))
      }
      guard group.chain == chain else {
        return (at, bad(at, at, at + group.span, nil, "the group does not follow the one before it", .impossible))
      }
      // A group that a cut went through may be there up to the cut only.
      let needed = limit.map { Int(min(UInt64(group.length), $0 - at)) } ?? group.length
      guard let bytes = try view(at, max(needed, blockSize)) else {
        return (at, bad(at, at, header.segmentSize, nil, "the file ends within the group"))
      }
      var position = GroupHeader.size
      for _ in 0..<group.records {
        let place = at + UInt64(position)
        if let limit, place >= limit { break }
        if let problem = try record(bytes, needed, &position, group, at, &chain, visit) {
          // What precedes the bad record in its group is sound: keep it, it may have been acknowledged.
          return (place == at + UInt64(GroupHeader.size) ? at : place, problem)
        }
      }
      if let limit, at + group.span > limit {
        // The log was cut inside this group.
        return (at + UInt64(position), nil)
      }
      guard position == group.length else {
        // Its records were taken, so the end is behind them: a repair cuts nothing that was replayed.
        let end = at + UInt64(position)
        return (end, bad(at, end, at + group.span, nil, "the group is longer than its records", .impossible))
      }
      at += group.span
      // A closing mark: nothing was written after it. Not having to look for more is what makes a clean start fast.
      if group.records == 0 { break }
    }
    return (at, nil)
  }

  /// Checks and visits one record; returns what is wrong with it.
  private func record(
    _ bytes: UnsafeRawPointer, _ count: Int, _ position: inout Int, _ group: GroupHeader, _ start: UInt64,
    _ chain: inout UInt32,
    _ visit: (RecordHeader, UnsafeRawBufferPointer, UInt64) throws(WALError) -> Void
  ) throws(WALError) -> Bad? {
    let place = start + UInt64(position)
    let end = start + group.span
    guard position + RecordHeader.size <= count else {
      return bad(start, place, end, nil, "the group is shorter than its records", .impossible)
    }
    guard let record = RecordHeader.read(bytes + position, salt: rules.salt) else {
      return bad(start, place, end, nil, "the record's header fails its checksum")
    }
    let mark = LogMark(index: record.index, term: record.term)
    guard record.chain == chain else {
      return bad(start, place, end, mark, "the record does not follow its predecessor", .impossible)
    }
    let size = RecordHeader.recordSize(record.length)
    guard position + size <= count else {
      return bad(start, place, end, mark, "the record is longer than its group", .impossible)
    }
    let payload = UnsafeRawBufferPointer(start: bytes + position + RecordHeader.size, count: record.length)
    guard checksum(0, payload) == record.payloadChecksum else {
      return bad(start, place, end, mark, "the record's payload fails its checksum")
    }
    try visit(record, payload, place)
    chain = record.checksum
    position += size
    return nil
  }

  private func readGroup(_ block: UnsafeRawPointer, at offset: UInt64) -> GroupHeader? {
    GroupHeader.read(
      block, at: LogPosition(generation: generation, offset: offset), segmentSize: header.segmentSize, scan: rules)
  }

  private func bad(
    _ group: UInt64, _ offset: UInt64, _ end: UInt64, _ mark: LogMark?, _ reason: String, _ nature: Nature = .torn
  ) -> Bad {
    Bad(group: group, offset: offset, end: min(end, header.segmentSize), mark: mark, reason: reason, nature: nature)
  }

  private mutating func badBlock(_ offset: UInt64) throws(WALError) -> Bad {
    var bad = bad(offset, offset, offset + UInt64(blockSize), nil, "the group's header fails its checksum")
    guard let block = try view(offset, blockSize) else {
      bad.reason = "the file ends"
      bad.nature = .unwritten
      return bad
    }
    let place = LogPosition(generation: generation, offset: offset)
    if GroupHeader.isSealed(block, at: place, scan: rules) {
      bad.reason = "the group's length and count are impossible"
      bad.nature = .impossible
    } else if !GroupHeader.resembles(block, at: place) || isSoundInEarlierLife(block, offset) {
      bad.nature = .unwritten
    }
    return bad
  }

  /// Whether the block starts a group of an earlier life of the file: what follows the end in a recycled segment.
  private func isSoundInEarlierLife(_ block: UnsafeRawPointer, _ offset: UInt64) -> Bool {
    let earlier = block.u64(8)
    guard earlier < generation else { return false }
    return GroupHeader.read(
      block, at: LogPosition(generation: earlier, offset: offset), segmentSize: size,
      scan: ScanRules(header.store, earlier, mutant: nil)) != nil
  }

  /// Looks for sound group headers of this segment after a bad place. They are found by salted checksum and offset,
  /// not by the chain, which is broken there.
  mutating func evidence(after bad: Bad) throws(WALError) -> Evidence {
    var evidence = Evidence()
    var at = bad.end
    while at + UInt64(blockSize) <= header.segmentSize {
      guard let block = try view(at, blockSize) else { break }
      guard let group = readGroup(block, at: at) else {
        at = next(at + UInt64(blockSize))
        continue
      }
      evidence.found = true
      evidence.end = at + group.span
      evidence.last = group.last
      if group.durable.generation == generation { evidence.durable = max(evidence.durable, group.durable.offset) }
      at += group.span
    }
    return evidence
  }

  /// The block to look at next: a segment that was only reserved has no bytes on disk where nothing was written, and reading
  /// those zeros took most of a start after a crash. Asked once a window, and only when the bytes are not at hand.
  private func next(_ offset: UInt64) -> UInt64 {
    if offset < windowOffset + UInt64(windowCount) { return offset }
    let data = min(device.nextData(file, from: offset), header.segmentSize)
    return data <= offset ? offset : data / UInt64(blockSize) * UInt64(blockSize)
  }

  /// `count` bytes at `offset`, nil when the file ends before. Valid until the next call.
  private mutating func view(_ offset: UInt64, _ count: Int) throws(WALError) -> UnsafeRawPointer? {
    let end = offset + UInt64(count)
    if offset >= windowOffset, end <= windowOffset + UInt64(windowCount), let base = window.baseAddress {
      return UnsafeRawPointer(base + Int(offset - windowOffset))
    }
    guard end <= size else { return nil }
    if count > window.count {
      window.deallocate()
      window = .allocate(byteCount: roundUp(count, blockSize), alignment: blockSize)
    }
    windowCount = 0
    windowOffset = offset
    windowCount = try device.read(
      file, into: UnsafeMutableRawBufferPointer(rebasing: window.prefix(Int(min(UInt64(window.count), size - offset)))),
      at: offset)
    guard windowCount >= count, let base = window.baseAddress else { return nil }
    return UnsafeRawPointer(base)
  }
}
