/// The write-ahead log: the only point where a write becomes durable.
///
/// Records are gathered in an open group; `submit` closes the group and starts one durable write; up to
/// `groupsInFlight` such writes run at once, and `reap` acknowledges the contiguous prefix of them that is done. What is
/// queued while writes are in flight becomes the next group: there is no timer.
///
/// The first failed or short write is latched: every later call throws that same error.
///
/// `@unchecked Sendable`: a log belongs to one thread at a time. It may be opened on one thread and handed to another
/// before the first `submit`; from then on all calls come from that thread, `close` included.
package final class WAL: @unchecked Sendable {
  /// Payload bytes that metadata may have: it is repeated in every segment's first block.
  package static let maximumMetadata = 2048

  /// What opening found.
  package let recovery: RecoveryReport
  let device: any LogDevice
  let options: WALOptions
  let pool: SegmentPool
  var active: ActiveSegment
  var sealed: [SealedSegment]
  /// The state with everything appended.
  var state: LogState
  /// The state with everything submitted: what the header of the next segment repeats.
  var submittedState: LogState
  /// The group being gathered, and the buffers at rest.
  var open: GroupBuffer
  var openMaximumIndex: UInt64 = 0
  var free: [GroupBuffer]
  /// Submitted groups that are not acknowledged, oldest first.
  var inFlight: [GroupInFlight] = []
  var lastGroup: UInt64 = 0
  /// Everything before this place is durable.
  var durablePosition: LogPosition
  /// Invariant: `durableIndex` ≤ the index of every group in flight's log end ≤ `state.terms.lastIndex`.
  var durableIndex: UInt64
  var durableGroup: UInt64 = 0
  /// Whether the last thing written is a closing mark.
  var isMarked = false
  var failure: WALError?
  var isClosed = false

  /// One write in flight.
  struct GroupInFlight {
    var number: UInt64
    var buffer: GroupBuffer
    var offset: UInt64
    var length: Int
    /// The last entry of the log after this group, lowered when later records supersede it.
    var lastIndex: UInt64
    var isDone = false
  }

  init(
    _ device: any LogDevice, _ options: WALOptions, _ pool: SegmentPool, _ active: ActiveSegment,
    _ sealed: [SealedSegment], _ state: LogState, _ recovery: RecoveryReport
  ) {
    self.device = device
    self.options = options
    self.pool = pool
    self.active = active
    self.sealed = sealed
    self.state = state
    self.recovery = recovery
    submittedState = state
    durablePosition = LogPosition(generation: active.generation, offset: active.end)
    durableIndex = state.terms.lastIndex
    let buffers = (0...min(options.groupsInFlight, device.maximumInFlight)).map {
      GroupBuffer(slot: $0, capacity: options.groupSize)
    }
    device.adopt(buffers: buffers.map(\.memory))
    open = buffers[0]
    free = Array(buffers.dropFirst())
  }

  deinit { release() }

  /// Opens the log in `directory`, which is made when missing, and replays what it holds, in log order. On return all
  /// of it is durable and a new segment has begun.
  ///
  /// Errors: `corrupt` or `missingSegment` when acknowledged records are damaged; a torn tail is no error but reported
  /// in `recovery`. An error thrown by `replay` becomes `replayRefused` unless it is a `WALError`.
  package static func open(
    directory: String, options: WALOptions = WALOptions(), replay: (RecoveredRecord) throws -> Void
  ) throws(WALError) -> WAL {
    try options.validate()
    return try open(
      device: try FileLogDevice(directory: directory, options: options), options: options, replay: replay)
  }

  /// The same over any device.
  package static func open(
    device: any LogDevice, options: WALOptions, replay: (RecoveredRecord) throws -> Void
  ) throws(WALError) -> WAL {
    try options.validate()
    var recovery = Recovery(device, options)
    let found = try recovery.run { record throws(WALError) in
      do {
        try replay(record)
      } catch let error as WALError {
        throw error
      } catch {
        throw .replayRefused(String(describing: error))
      }
    }
    let pool = SegmentPool(
      device, segmentSize: options.segmentSize, target: options.spareSegments, background: options.background,
      spares: found.spares, nextNumber: found.nextSpare)
    var begun = false
    let header = SegmentHeader(
      store: found.store, generation: found.predecessor.generation + 1, segmentSize: UInt64(options.segmentSize),
      predecessor: found.predecessor, predecessorChain: found.chain, floor: recovery.state.terms.last, filled: false)
    let active = try ActiveSegment.make(
      device, pool, header, recovery.state, mutant: options.mutant, begun: &begun)
    do { try recovery.cut(at: found.predecessor) } catch {
      device.close(active.file)
      throw error
    }
    let wal = WAL(device, options, pool, active, recovery.sealed, recovery.state, found.report)
    try pool.start()
    return wal
  }

  // MARK: What the log knows

  /// How groups reach the disk, in words for the log line.
  package var summary: String { device.summary }
  /// Becomes readable when a group write completes; `reap` clears it.
  package var completionDescriptor: Int32 { device.completionDescriptor }
  /// The last appended entry.
  package var last: LogMark { state.terms.last }
  /// The term of an entry of the present log, appended ones included; nil outside, 0 when unknown.
  package func term(at index: UInt64) -> UInt64? { state.terms.term(at: index) }
  /// Groups submitted and not yet acknowledged.
  package var groupsInFlight: Int { inFlight.count }
  /// Whether `submit` would start its write without waiting for an earlier one.
  package var canSubmit: Bool { !free.isEmpty }
  /// Whether records wait for `submit`.
  package var hasOpenGroup: Bool { !open.isEmpty }
  /// Bytes gathered for the next group.
  package var openBytes: Int { open.isEmpty ? 0 : open.used }
  /// Where the durable prefix of the log ends. A group that is submitted now knows it, so that once that group is durable
  /// too, damage before this place is told from a torn tail.
  package var durableEnd: LogPosition { durablePosition }
  /// The largest payload an entry may have.
  package var maximumPayload: Int {
    options.segmentSize - blockSize - closingReserve - GroupHeader.size - RecordHeader.size - 8
  }
  /// Segments of the log, the active one included.
  package var segmentCount: Int { sealed.count + 1 }

  // MARK: Appending

  /// Adds an entry to the open group, copying the bytes; all entries at or above `index` are superseded. Returns the
  /// number of the group it goes with. When the group is full it is submitted first, which may wait.
  @discardableResult
  package func append(index: UInt64, term: UInt64, payload: UnsafeRawBufferPointer) throws(WALError) -> UInt64 {
    try check()
    guard state.terms.accepts(index) else { throw .indexGap(last: state.terms.lastIndex, index: index) }
    guard payload.count <= maximumPayload else {
      throw .recordTooLarge(length: payload.count, limit: maximumPayload)
    }
    let group = try add(.entry, LogMark(index: index, term: term), payload)
    state.terms.append(LogMark(index: index, term: term))
    openMaximumIndex = max(openMaximumIndex, index)
    supersede(from: index)
    return group
  }

  /// Adds Raft's hard state. Whether it must be durable before going on is the caller's to know: a change of term or
  /// vote must, a commit index alone rides with the next group.
  @discardableResult
  package func append(_ hardState: HardState) throws(WALError) -> UInt64 {
    try check()
    let group = try hardState.bytes().withBytes { payload throws(WALError) in
      try add(.hardState, LogMark(), payload)
    }
    state.hardState = hardState
    return group
  }

  /// Adds the mark of a durable snapshot. If the log does not hold that very entry, it restarts after it.
  @discardableResult
  package func append(snapshot mark: LogMark) throws(WALError) -> UInt64 {
    try check()
    let group = try add(.snapshot, mark, UnsafeRawBufferPointer(start: nil, count: 0))
    state.snapshot = mark
    if state.terms.snapshot(mark) { supersede(from: mark.index) }
    return group
  }

  /// Adds the caller's metadata (ids), at most `maximumMetadata` bytes; it replaces what was there.
  @discardableResult
  package func append(metadata: [UInt8]) throws(WALError) -> UInt64 {
    try check()
    guard metadata.count <= Self.maximumMetadata else {
      throw .recordTooLarge(length: metadata.count, limit: Self.maximumMetadata)
    }
    let group = try metadata.withBytes { payload throws(WALError) in try add(.metadata, LogMark(), payload) }
    state.metadata = metadata
    return group
  }

  private func add(
    _ kind: RecordHeader.Kind, _ mark: LogMark, _ payload: UnsafeRawBufferPointer
  ) throws(WALError) -> UInt64 {
    if !open.isEmpty, !open.hasRoom(RecordHeader.recordSize(payload.count)) { try submit() }
    open.append(kind: kind, index: mark.index, term: mark.term, payload: payload)
    return lastGroup + 1
  }

  /// Entries from `index` on are no longer what earlier groups made durable.
  private func supersede(from index: UInt64) {
    let kept = index - min(index, 1)
    durableIndex = min(durableIndex, kept)
    for i in inFlight.indices { inFlight[i].lastIndex = min(inFlight[i].lastIndex, kept) }
  }

  // MARK: Failing and closing

  /// Throws the latched error, if any.
  package func check() throws(WALError) {
    if let failure { throw failure }
    if isClosed { throw .closed }
    do { try pool.check() } catch { throw latch(error) }
  }

  /// Remembers the first error for good.
  func latch(_ error: WALError) -> WALError {
    if let failure { return failure }
    failure = error
    return error
  }

  /// Submits what is open, waits for everything in flight and writes a mark that says so. Errors are latched as ever;
  /// `failure` tells. After it every call throws.
  package func close() {
    guard !isClosed else { return }
    if failure == nil { try? finish() }
    release()
    isClosed = true
  }

  private func finish() throws(WALError) {
    try submit()
    try drain()
    try writeClosingMark()
  }

  private func release() {
    guard !isClosed else { return }
    isClosed = true
    pool.stop()
    // The kernel still reads from the buffers of writes in flight.
    do {
      while !inFlight.allSatisfy(\.isDone) {
        guard let completion = try device.takeCompletion(wait: true) else { break }
        for i in inFlight.indices where inFlight[i].buffer.slot == completion.slot { inFlight[i].isDone = true }
      }
    } catch {
      for group in inFlight where !group.isDone { _ = Unmanaged.passRetained(group.buffer) }
    }
    device.close(active.file)
    device.shutdown()
  }
}

extension [UInt8] {
  /// `withUnsafeBytes` with a typed error.
  fileprivate func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(WALError) -> R) throws(WALError) -> R {
    let result: Result<R, WALError> = withUnsafeBytes { bytes in
      do { return .success(try body(bytes)) } catch let error as WALError { return .failure(error) } catch {
        return .failure(.replayRefused(String(describing: error)))
      }
    }
    return try result.get()
  }
}
