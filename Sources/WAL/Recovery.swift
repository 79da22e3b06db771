/// Opening a log: sync, read, judge the tail, cut, begin a new segment.
///
/// A bad place in the last segment is a torn tail unless a later group knows it to have been durable, or no torn write
/// can have left it; a bad place in a segment that has a successor is corruption, because the successor was made when all
/// of it was durable, or by a recovery that found it sound up to the end it names.
struct Recovery {
  let device: any LogDevice
  let options: WALOptions
  var state = LogState()
  private(set) var sealed: [SealedSegment] = []
  private var records: UInt64 = 0
  /// Names of segments that a repair put aside.
  private var lost: [String] = []

  init(_ device: any LogDevice, _ options: WALOptions) {
    self.device = device
    self.options = options
  }

  /// What is left to do after reading: the place where the new segment takes up, and what was found.
  struct Outcome {
    var store: StoreID
    var predecessor: LogPosition
    var chain: UInt32
    var spares: [String]
    var nextSpare: UInt64
    var report: RecoveryReport
  }

  mutating func run(
    _ replay: (RecoveredRecord) throws(WALError) -> Void
  ) throws(WALError) -> Outcome {
    // A crash of the process alone leaves names and bytes that are visible but not durable.
    if options.mutant != .trustWithoutSync, !mutant(.directoryNotSynced) { try device.syncDirectory() }
    let names = try device.list().sorted()
    let (spares, nextSpare) = try collectSpares(names)
    try removeOldCopies(names)
    let generations = names.compactMap(segmentGeneration).sorted()
    let headers = try readHeaders(generations)
    guard let store = headers.first?.store else { return try begin(spares, nextSpare) }
    let start = firstNeeded(headers)
    let floor = headers[start].floor
    state.terms = TermRuns(floor: floor)
    var place = LogPosition(generation: 0, offset: 0)
    var chain: UInt32 = 0
    var torn: TornTail?
    for i in headers.indices where lost.isEmpty {
      if i < start {
        sealed.append(try applied(headers[i]))
      } else {
        (place.offset, chain, torn) = try readSegment(headers[i], headers[(i + 1)...], isFirst: i == start, replay)
        place.generation = headers[i].generation
      }
    }
    let report = RecoveryReport(
      storeID: store, created: false, hardState: state.hardState, snapshot: state.snapshot, metadata: state.metadata,
      floor: floor, last: state.terms.last, segments: headers.count, records: records, torn: torn,
      lost: lost)
    return Outcome(
      store: store, predecessor: place, chain: chain, spares: spares, nextSpare: nextSpare, report: report)
  }

  /// A log that does not exist yet.
  private func begin(_ spares: [String], _ nextSpare: UInt64) throws(WALError) -> Outcome {
    let store: StoreID
    if let given = options.storeID { store = given } else { store = try StoreID.random() }
    let report = RecoveryReport(
      storeID: store, created: true, hardState: nil, snapshot: nil, metadata: [], floor: LogMark(), last: LogMark(),
      segments: 0, records: 0, torn: nil, lost: [])
    return Outcome(
      store: store, predecessor: LogPosition(generation: 0, offset: 0), chain: 0, spares: spares,
      nextSpare: nextSpare, report: report)
  }

  /// Spares of the right size stay; half-filled files and spares too many go.
  private func collectSpares(_ names: [String]) throws(WALError) -> ([String], UInt64) {
    var spares: [String] = []
    var next: UInt64 = 1
    for name in names {
      if let number = fillNumber(name) {
        next = max(next, number &+ 1)
        try device.remove(name)
      } else if let number = spareNumber(name) {
        next = max(next, number &+ 1)
        let file = try device.open(name)
        let size: UInt64
        do {
          defer { device.close(file) }
          size = try device.size(file)
        }
        if spares.count < options.spareSegments, size == UInt64(options.segmentSize) {
          spares.append(name)
        } else {
          try device.remove(name)
        }
      }
    }
    return (spares, next)
  }

  /// Copies of torn tails are for a look soon after the crash: the newest few stay.
  private func removeOldCopies(_ names: [String]) throws(WALError) {
    for name in names.filter({ $0.hasPrefix("torn-") }).dropLast(8) { try device.remove(name) }
  }

  /// Reads every segment's header first: a segment's true end stands in its successor.
  private func readHeaders(_ generations: [UInt64]) throws(WALError) -> [SegmentHeader] {
    var headers: [SegmentHeader] = []
    for generation in generations {
      let name = segmentName(generation)
      let header = try SegmentReader(
        device, name: name, generation: generation, syncs: true, mutant: options.mutant
      ).header
      if header.store != (options.storeID ?? headers.first?.store ?? header.store) {
        throw .foreignSegment(file: name)
      }
      if let previous = headers.last, header.predecessor.generation != previous.generation {
        throw .missingSegment(generation: header.predecessor.generation, successor: generation)
      }
      headers.append(header)
    }
    return headers
  }

  /// The last segment that begins at or before the entry after the applied one. The floor in its header is the log's last
  /// entry when it was begun, so whatever the segments before it hold beyond that was superseded by then; block 0 repeats what
  /// else they say. To read from here on is what recovery does when they have been recycled.
  private func firstNeeded(_ headers: [SegmentHeader]) -> Int {
    headers.lastIndex { $0.floor.index <= options.appliedIndex } ?? 0
  }

  /// A segment that is not read. It goes with the next checkpoint.
  private func applied(_ header: SegmentHeader) throws(WALError) -> SealedSegment {
    let file = try device.open(segmentName(header.generation))
    defer { device.close(file) }
    let isWhole = try device.size(file) >= header.segmentSize
    return SealedSegment(
      generation: header.generation, maximumIndex: options.appliedIndex,
      isReusable: header.filled && isWhole && header.segmentSize == UInt64(options.segmentSize))
  }

  private mutating func readSegment(
    _ header: SegmentHeader, _ successors: ArraySlice<SegmentHeader>, isFirst: Bool,
    _ replay: (RecoveredRecord) throws(WALError) -> Void
  ) throws(WALError) -> (end: UInt64, chain: UInt32, torn: TornTail?) {
    let name = segmentName(header.generation)
    var reader = try SegmentReader(
      device, name: name, generation: header.generation, syncs: false, mutant: options.mutant)
    var segment = SealedSegment(
      generation: header.generation, maximumIndex: 0,
      isReusable: header.filled && reader.isWhole && header.segmentSize == UInt64(options.segmentSize))
    let successor = successors.first
    var chain: UInt32 = 0
    let (end, bad) = try reader.scan(from: 0, limit: successor?.predecessor.offset, chain: &chain) {
      record, payload, place throws(WALError) in
      // Block 0 repeats what the segments before said: news only when they are gone.
      guard isFirst || place >= UInt64(blockSize) else { return }
      try apply(record, payload, place, name, isRepeated: place < UInt64(blockSize), replay)
      if record.kind == .entry { segment.maximumIndex = max(segment.maximumIndex, record.index) }
    }
    sealed.append(segment)
    var problem = bad
    if let successor, bad == nil, end != successor.predecessor.offset || chain != successor.predecessorChain {
      problem = SegmentReader.Bad(
        group: end, offset: end, end: end, mark: nil, reason: "the next segment does not follow this one")
    } else if successor == nil, bad == nil || bad?.nature == .unwritten, !reader.isWhole {
      problem = SegmentReader.Bad(
        group: end, offset: end, end: end, mark: nil, reason: "the file is shorter than it was made")
    }
    guard let problem else { return (end, chain, nil) }
    return (end, chain, try judge(&reader, name, problem, end, successors))
  }

  /// Corruption, a torn tail, or just the end of the log.
  private mutating func judge(
    _ reader: inout SegmentReader, _ name: String, _ bad: SegmentReader.Bad, _ end: UInt64,
    _ successors: ArraySlice<SegmentHeader>
  ) throws(WALError) -> TornTail? {
    let evidence = try reader.evidence(after: bad)
    var isCorrupt =
      switch options.mutant {
      case .naiveCorruptionRule: evidence.found
      case .noCorruptionRule: false
      default: evidence.durable > bad.group || bad.nature == .impossible
      }
    if !successors.isEmpty || bad.offset < UInt64(blockSize) || !reader.isWhole { isCorrupt = true }
    if isCorrupt {
      let known = successors.isEmpty ? evidence.last : try lastKnown(successors)
      guard options.repairs, bad.offset >= UInt64(blockSize) else { throw corruption(name, bad, known) }
      try putAside(successors)
    }
    guard isCorrupt || bad.nature != .unwritten || evidence.found else { return nil }
    let furthest = max(bad.end, evidence.end)
    let copy = tornName(reader.generation, bad.group)
    var tail = TornTail(
      file: name, offset: end, length: furthest - end, first: bad.mark ?? LogMark(index: state.terms.lastIndex &+ 1),
      copy: copy, reason: bad.reason)
    do {
      try copyAside(reader.file, bad.group, furthest - bad.group, copy)
    } catch WALError.noSpace where !isCorrupt {
      // A full disk must not keep a sound log from opening for the sake of bytes that were never acknowledged.
      try device.remove(copy)
      tail.copy = ""
    }
    return tail
  }

  /// Repair: what follows a corrupt place can't be used. Newest first, so that a crash in between leaves a log that is
  /// corrupt at the same place.
  private mutating func putAside(_ successors: ArraySlice<SegmentHeader>) throws(WALError) {
    for header in successors.reversed() {
      let name = segmentName(header.generation)
      try device.rename(name, to: "lost-" + name)
      try device.syncDirectory()
      lost.append("lost-" + name)
    }
  }

  /// Cuts the last segment read to its end, which its durable successor names now: a log that is reopened many times
  /// between checkpoints doesn't take a whole segment for each.
  mutating func cut(at end: LogPosition) throws(WALError) {
    guard let last = sealed.last, last.generation == end.generation else { return }
    sealed[sealed.count - 1].isReusable = false
    let file = try device.open(segmentName(end.generation))
    defer { device.close(file) }
    try device.truncate(file, to: (end.offset + UInt64(blockSize) - 1) / UInt64(blockSize) * UInt64(blockSize))
  }

  /// The last entry that the segments after a bad one prove the log held.
  private func lastKnown(_ successors: ArraySlice<SegmentHeader>) throws(WALError) -> LogMark {
    guard let last = successors.last else { return LogMark() }
    var reader = try SegmentReader(
      device, name: segmentName(last.generation), generation: last.generation, syncs: false,
      mutant: options.mutant)
    let start = SegmentReader.Bad(
      group: 0, offset: 0, end: UInt64(blockSize), mark: nil, reason: "", nature: .unwritten)
    let evidence = try reader.evidence(after: start)
    return evidence.found ? evidence.last : last.floor
  }

  private func corruption(_ name: String, _ bad: SegmentReader.Bad, _ last: LogMark) -> WALError {
    let expected = LogMark(index: state.terms.lastIndex &+ 1)
    let known = last.index >= state.terms.lastIndex ? last : state.terms.last
    let mark = bad.mark ?? expected
    return .corrupt(
      WALCorruption(
        file: name, offset: bad.offset, index: mark.index, term: mark.term, lastIndex: known.index,
        lastTerm: known.term, reason: bad.reason))
  }

  /// Keeps what is about to be cut, for whoever wants to look at it.
  private func copyAside(_ file: LogFile, _ start: UInt64, _ length: UInt64, _ name: String) throws(WALError) {
    if try device.list().contains(name) { try device.remove(name) }
    let copy = try device.create(name)
    defer { device.close(copy) }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: blockSize)
    defer { buffer.deallocate() }
    var at: UInt64 = 0
    while at < length {
      let piece = UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(Int(min(length - at, UInt64(buffer.count)))))
      let count = try device.read(file, into: piece, at: start + at)
      guard count > 0 else { break }
      try device.write(copy, UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(piece).prefix(count)), at: at)
      at += UInt64(count)
    }
    try device.sync(copy)
  }

  /// Takes one sound record into the state and hands it on.
  private mutating func apply(
    _ record: RecordHeader, _ payload: UnsafeRawBufferPointer, _ place: UInt64, _ name: String, isRepeated: Bool,
    _ replay: (RecoveredRecord) throws(WALError) -> Void
  ) throws(WALError) {
    func refuse(_ reason: String) -> WALError {
      let bad = SegmentReader.Bad(
        group: place, offset: place, end: place, mark: LogMark(index: record.index, term: record.term),
        reason: reason)
      return corruption(name, bad, state.terms.last)
    }
    let mark = LogMark(index: record.index, term: record.term)
    switch record.kind {
    case .segmentHeader:
      guard isRepeated else { throw refuse("a segment header amid the records") }
      return
    case .entry:
      guard state.terms.accepts(mark.index) else { throw refuse("the entry leaves a gap") }
      state.terms.append(mark)
      try replay(.entry(index: mark.index, term: mark.term, payload: payload))
    case .hardState:
      guard let hardState = HardState(payload) else { throw refuse("a hard state of the wrong length") }
      state.hardState = hardState
      try replay(.hardState(hardState))
    case .snapshot:
      state.snapshot = mark
      if !isRepeated { _ = state.terms.snapshot(mark) }
      try replay(.snapshot(mark))
    case .metadata:
      // The next segment's first block repeats it.
      guard payload.count <= WAL.maximumMetadata else { throw refuse("metadata of \(payload.count) bytes") }
      state.metadata = Array(payload)
      try replay(.metadata(payload))
    }
    records += 1
  }
}
