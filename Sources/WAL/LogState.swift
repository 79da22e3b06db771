/// The log's meaning so far, apart from the entries themselves.
struct LogState {
  var hardState: HardState?
  var snapshot: LogMark?
  var metadata: [UInt8] = []
  var terms = TermRuns(floor: LogMark())
}

/// The segment that groups go to.
struct ActiveSegment {
  var generation: UInt64
  var file: LogFile
  var size: UInt64
  /// Where the next group starts.
  var end: UInt64
  /// Chain after the last submitted record.
  var chain: UInt32
  var salt: UInt32
  /// Highest index of any entry in the segment, superseded ones included.
  var maximumIndex: UInt64
  var isFilled: Bool

  /// Bytes a group may take.
  var room: UInt64 { size - UInt64(closingReserve) - end }
}

/// A segment that is complete.
struct SealedSegment {
  var generation: UInt64
  var maximumIndex: UInt64
  var isReusable: Bool
}

extension ActiveSegment {
  /// Makes a spare the segment `generation`: header durable, then named, then the name durable. Nothing is appended
  /// before that. Before a file is at hand a full disk is harmless (`noSpace`, nothing changed); after, `begun` is true
  /// and any error must be latched.
  static func make(
    _ device: any LogDevice, _ pool: SegmentPool, _ header: SegmentHeader, _ state: LogState, mutant: WALMutant?,
    begun: inout Bool
  ) throws(WALError) -> ActiveSegment {
    let spare = try pool.take()
    begun = true
    var header = header
    header.filled = spare.isFilled
    var file = try device.openForGroups(spare.name)
    do {
      let buffer = GroupBuffer(slot: 0, capacity: blockSize)
      append(header, state, to: buffer)
      let place = LogPosition(generation: header.generation, offset: 0)
      let salt = ScanRules(header.store, header.generation, mutant: mutant).salt
      let sealed = buffer.seal(at: place, durable: place, last: header.floor, chain: 0, salt: salt)
      try device.writeDurable(file, sealed.bytes, at: 0)
      let name = segmentName(header.generation)
      try device.rename(spare.name, to: name)
      if !NeedletailWAL.mutant(.directoryNotSynced) { try device.syncDirectory() }
      file.name = name
      return ActiveSegment(
        generation: header.generation, file: file, size: header.segmentSize, end: UInt64(blockSize),
        chain: sealed.chain, salt: salt, maximumIndex: 0, isFilled: spare.isFilled)
    } catch {
      device.close(file)
      throw error
    }
  }

  /// The header group: whatever a reader must know once the segments before are gone.
  private static func append(_ header: SegmentHeader, _ state: LogState, to buffer: GroupBuffer) {
    func record(_ kind: RecordHeader.Kind, _ mark: LogMark, _ payload: [UInt8]) {
      payload.withUnsafeBytes { buffer.append(kind: kind, index: mark.index, term: mark.term, payload: $0) }
    }
    record(.segmentHeader, LogMark(), header.bytes())
    if !state.metadata.isEmpty { record(.metadata, LogMark(), state.metadata) }
    if let hardState = state.hardState { record(.hardState, LogMark(), hardState.bytes()) }
    if let snapshot = state.snapshot { record(.snapshot, snapshot, []) }
  }
}
