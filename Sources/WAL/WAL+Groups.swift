/// Groups: from the open one to the acknowledged prefix, and over the border of a segment.
extension WAL {
  /// Closes the open group and starts its write; with nothing open it does nothing. Waits for the oldest write when as
  /// many as allowed are in flight, and for all of them when the segment is full. Returns the number of the last group
  /// submitted.
  ///
  /// `noSpace` from the making of a segment is not latched: the group stays open, a later call tries again.
  @discardableResult
  package func submit() throws(WALError) -> UInt64 {
    try check()
    guard !open.isEmpty else { return lastGroup }
    if UInt64(open.span) > active.room { try rotate() }
    while free.isEmpty { try takeCompletions(wait: true) }
    try start(open, last: state.terms.last)
    open = free.removeLast()
    openMaximumIndex = 0
    submittedState = state
    return lastGroup
  }

  /// Seals a group at the segment's end and starts its write.
  private func start(_ group: GroupBuffer, last: LogMark) throws(WALError) {
    let place = LogPosition(generation: active.generation, offset: active.end)
    assert(durablePosition <= place && UInt64(group.span) <= active.size - active.end)
    let sealed = group.seal(at: place, durable: durablePosition, last: last, chain: active.chain, salt: active.salt)
    do {
      try device.beginWrite(active.file, sealed.bytes, at: active.end, slot: group.slot)
    } catch {
      throw latch(error)
    }
    lastGroup += 1
    inFlight.append(
      GroupInFlight(
        number: lastGroup, buffer: group, offset: active.end, length: sealed.bytes.count, lastIndex: last.index))
    active.end += UInt64(sealed.bytes.count)
    active.chain = sealed.chain
    active.maximumIndex = max(active.maximumIndex, openMaximumIndex)
    isMarked = false
  }

  /// Tells what is durable. With `wait`, and writes in flight, returns only when the durable prefix has grown.
  @discardableResult
  package func reap(wait: Bool) throws(WALError) -> DurablePoint {
    try check()
    device.clearSignal()
    let before = durableGroup
    try takeCompletions(wait: false)
    while wait, durableGroup == before, !inFlight.isEmpty { try takeCompletions(wait: true) }
    return durable
  }

  /// What is known to be durable without asking the device.
  package var durable: DurablePoint {
    if mutant(.acknowledgesAtSubmission) {
      let last = submittedState.terms.last
      return DurablePoint(group: lastGroup, index: last.index, term: last.term)
    }
    return DurablePoint(group: durableGroup, index: durableIndex, term: state.terms.term(at: durableIndex) ?? 0)
  }

  /// Takes all completions that are there, with `wait` at least one.
  private func takeCompletions(wait: Bool) throws(WALError) {
    guard !inFlight.isEmpty else { return }
    var wait = wait
    do {
      while inFlight.contains(where: { !$0.isDone }), let completion = try device.takeCompletion(wait: wait) {
        wait = false
        try complete(completion)
      }
    } catch {
      throw latch(error)
    }
  }

  private func complete(_ completion: WriteCompletion) throws(WALError) {
    guard let i = inFlight.firstIndex(where: { $0.buffer.slot == completion.slot && !$0.isDone }) else {
      throw .system(operation: "completion of an unknown write", file: active.file.name, code: 5)
    }
    // Whatever the outcome, the device is done with the buffer.
    inFlight[i].isDone = true
    let group = inFlight[i]
    if completion.result < 0, !mutant(.goesOnAfterFailedWrite) {
      throw .failed("write", active.file.name, Int32(clamping: -completion.result))
    }
    guard
      completion.result == group.length || options.mutant == .ignoreShortWrites
        || mutant(.goesOnAfterFailedWrite)
    else {
      throw .shortWrite(
        file: active.file.name, offset: group.offset, wanted: group.length, written: completion.result)
    }
    if options.mutant == .acknowledgeOutOfOrder {
      durableIndex = max(durableIndex, group.lastIndex)
      durableGroup = max(durableGroup, group.number)
    }
    advance()
  }

  /// Acknowledges the contiguous prefix: a group behind one that is still in flight may be lost with it.
  private func advance() {
    while let group = inFlight.first, group.isDone {
      durableIndex = group.lastIndex
      durableGroup = group.number
      durablePosition = LogPosition(generation: active.generation, offset: group.offset + UInt64(group.length))
      group.buffer.reset()
      free.append(group.buffer)
      inFlight.removeFirst()
    }
  }

  /// Waits until nothing is in flight.
  func drain() throws(WALError) {
    while !inFlight.isEmpty { try takeCompletions(wait: true) }
  }

  /// Goes on in a new segment. All of the old one is durable then, so a segment with a successor has no torn tail.
  private func rotate() throws(WALError) {
    try drain()
    assert(durablePosition == LogPosition(generation: active.generation, offset: active.end))
    var begun = false
    do {
      let header = SegmentHeader(
        store: recovery.storeID, generation: active.generation + 1, segmentSize: UInt64(options.segmentSize),
        predecessor: durablePosition, predecessorChain: active.chain, floor: submittedState.terms.last, filled: false)
      let next = try ActiveSegment.make(
        device, pool, header, submittedState, mutant: options.mutant, begun: &begun)
      device.close(active.file)
      sealed.append(
        SealedSegment(
          generation: active.generation, maximumIndex: active.maximumIndex, isReusable: active.isFilled))
      active = next
      durablePosition = LogPosition(generation: next.generation, offset: next.end)
    } catch {
      if case .noSpace = error, !begun { throw error }
      throw latch(error)
    }
  }

  /// Gives back the oldest segments that hold no entry above `index`, superseded entries included. To be called when a
  /// checkpoint that contains everything up to `index` is durable.
  package func recycle(through index: UInt64) throws(WALError) {
    try check()
    let count = mutant(.recyclesTooMuch) ? sealed.count : sealed.prefix { $0.maximumIndex <= index }.count
    guard count > 0 else { return }
    let segments = sealed.prefix(count).map { (name: segmentName($0.generation), isReusable: $0.isReusable) }
    sealed.removeFirst(count)
    do { try pool.retire(segments) } catch { throw latch(error) }
  }

  /// An empty group that knows all before it to be durable: after a clean stop no damage passes for a torn tail.
  func writeClosingMark() throws(WALError) {
    guard !isMarked, inFlight.isEmpty, active.end + UInt64(blockSize) <= active.size else { return }
    let place = LogPosition(generation: active.generation, offset: active.end)
    let sealed = open.seal(
      at: place, durable: durablePosition, last: state.terms.last, chain: active.chain, salt: active.salt)
    do {
      try device.writeDurable(active.file, sealed.bytes, at: active.end)
    } catch {
      throw latch(error)
    }
    active.end += UInt64(sealed.bytes.count)
    isMarked = true
  }
}
