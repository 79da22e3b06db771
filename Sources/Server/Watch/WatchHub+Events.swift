// Events on their way: to synced watchers as they happen, to lagging ones as they are read.
import NeedletailMVCC
import NeedletailRPC

extension WatchHub {
  // MARK: What happens

  /// Gives a block's changes to those who watch them.
  func take(_ block: EventBlock) {
    guard block.through > through else { return }
    if block.after > through { skip(to: block.after) }
    let before = through
    through = block.through
    ring.append(block, bytesMax: options.ringBytes)
    guard index.count > 0 else { return }
    var touched: [WatchGroup] = []
    block.forEach(after: before) { event in
      index.forEachGroup(watching: event.key) { group in
        if group.take(event) { touched.append(group) }
      }
    }
    var laggards: [(Watcher, UInt64)] = []
    for group in touched {
      guard let run = group.run else { continue }
      group.run = nil
      for member in group.members {
        // The hub's index holds watchers alone.
        let watcher = unsafeDowncast(member, to: Watcher.self)
        let after = max(before, watcher.position)
        if let stop = send(run, to: watcher, after: after, through: through) { laggards.append((watcher, stop)) }
      }
    }
    for (watcher, position) in laggards { fallBehind(watcher, at: position) }
  }

  /// Something up to `revision` may have happened that the hub was not told.
  func skip(to revision: UInt64) {
    guard revision > through else { return }
    figures.gaps.wrappingAdd(1, ordering: .relaxed)
    var behind: [(Watcher, UInt64)] = []
    index.forEachMember { member in
      let watcher = unsafeDowncast(member, to: Watcher.self)
      let position = max(through, watcher.position)
      if position < revision { behind.append((watcher, position)) }
    }
    through = revision
    ring.removeAll(floor: revision)
    for (watcher, position) in behind { fallBehind(watcher, at: position) }
  }

  /// Sends the run's events above `after`; everything wanted up to `through` is among them. Where the stream's budget ends
  /// first, the revision up to which everything was sent; else nil.
  func send(_ run: EventRun, to watcher: Watcher, after: UInt64, through: UInt64) -> UInt64? {
    let stream = watcher.stream
    var first = run.first(after: after)
    var position = after
    while first < run.marks.count {
      if isOverBudget(stream) { return position }
      // No more than its budget has left, so that a stream nobody reads costs that and one revision.
      let room = budget(stream) - stream.outstandingBytes
      let end = run.pieceEnd(from: first, bytesMax: min(options.responseBytes, room))
      position = end == run.marks.count ? through : run.marks[end - 1].revision
      if watcher.wantsFragments {
        sendFragments(run, first, end, to: watcher, revision: position)
      } else {
        send(run, first, end, to: watcher, revision: position, isFragment: false)
      }
      first = end
    }
    return nil
  }

  private func sendFragments(_ run: EventRun, _ first: Int, _ end: Int, to watcher: Watcher, revision: UInt64) {
    var first = first
    while first < end {
      var next = first + 1
      let limit = run.start(first) + options.fragmentBytes
      while next < end, run.marks[next].end <= limit { next += 1 }
      send(run, first, next, to: watcher, revision: revision, isFragment: next < end)
      first = next
    }
  }

  private func send(
    _ run: EventRun, _ first: Int, _ end: Int, to watcher: Watcher, revision: UInt64, isFragment: Bool
  ) {
    var head = WatchResponse()
    head.header = header(revision)
    head.watchID = watcher.id
    head.fragment = isFragment
    let stream = watcher.stream
    let size = delivery(for: stream).add(
      stream.face, run: run, from: run.start(first), to: run.start(end), events: end - first
    ) { head.encode(to: &$0) }
    count(size, on: stream)
    watcher.wasSentEvents = true
    figures.events.wrappingAdd(UInt64(end - first), ordering: .relaxed)
    figures.pendingEvents.wrappingAdd(end - first, ordering: .relaxed)
  }

  // MARK: Budgets

  /// Whether the stream may be sent nothing now. Then it is paused, and its face says when its client has taken some.
  private func isOverBudget(_ stream: WatchStream) -> Bool {
    if stream.isPaused { return true }
    if stream.outstandingBytes < budget(stream) { return false }
    stream.face.pause()
    // Taken between the look and the mark: nobody would tell.
    if stream.outstandingBytes < budget(stream) {
      stream.face.resume()
      return false
    }
    stream.isPaused = true
    figures.pausedStreams.wrappingAdd(1, ordering: .relaxed)
    return true
  }

  private func budget(_ stream: WatchStream) -> Int {
    outstandingBytes < options.allStreamsBytes ? options.streamBytes : options.crowdedStreamBytes
  }

  func drained(_ face: ResponseStream) {
    guard let stream = streams[ObjectIdentifier(face)], stream.isPaused,
      stream.outstandingBytes <= options.crowdedStreamBytes / 2
    else { return }
    stream.isPaused = false
    stream.face.resume()
    figures.pausedStreams.wrappingSubtract(1, ordering: .relaxed)
    let parked = stream.parked
    stream.parked = []
    for watcher in parked {
      watcher.state = .queued
      queue.append(watcher)
    }
  }

  // MARK: Lagging watchers

  /// A synced watcher no longer is.
  private func fallBehind(_ watcher: Watcher, at position: UInt64) {
    index.remove(watcher)
    watcher.position = position
    lag(watcher)
    queueOrPark(watcher)
  }

  func lag(_ watcher: Watcher) {
    watcher.stream.laggingCount += 1
    figures.slowWatchers.wrappingAdd(1, ordering: .relaxed)
  }

  func unlag(_ watcher: Watcher) {
    watcher.stream.laggingCount -= 1
    figures.slowWatchers.wrappingSubtract(1, ordering: .relaxed)
  }

  func queueOrPark(_ watcher: Watcher) {
    if watcher.stream.isPaused {
      watcher.state = .parked
      watcher.stream.parked.append(watcher)
    } else {
      watcher.state = .queued
      queue.append(watcher)
    }
  }

  /// What was read of the past.
  func take(_ result: CatchUpResult) {
    var joining: [Watcher] = []
    for member in result.members {
      let watcher = member.watcher
      guard watcher.state == .reading else { continue }
      switch result.outcome {
      case .compacted(let revision) where watcher.position + 1 < revision: endCompacted(watcher, at: revision)
      case .failed(let reason): end(watcher, reason)
      case .compacted: queueOrPark(watcher)
      case .read(let reached):
        guard reached > watcher.position else {
          queueOrPark(watcher)
          continue
        }
        if let run = member.run, let stop = send(run, to: watcher, after: watcher.position, through: reached) {
          watcher.position = stop
          queueOrPark(watcher)
        } else {
          watcher.position = reached
          if ring.bytes(after: reached, upTo: options.joinBytes) {
            joining.append(watcher)
          } else {
            queueOrPark(watcher)
          }
        }
      }
    }
    join(joining)
    deactivateIfIdle()
  }

  /// Brings watchers that lag behind by little up to `through`: from here on they are synced.
  private func join(_ watchers: [Watcher]) {
    guard let start = watchers.map(\.position).min() else { return }
    if start < through {
      var lagging = WatchIndex()
      for watcher in watchers { lagging.insert(watcher) }
      ring.read(after: start, compacted: compactedRevision) { event in
        lagging.forEachGroup(watching: event.key) { _ = $0.take(event) }
      }
      var behind: [Watcher] = []
      for watcher in watchers {
        if let run = watcher.group?.run,
          let stop = send(run, to: watcher, after: watcher.position, through: through)
        {
          watcher.position = stop
          behind.append(watcher)
        } else {
          watcher.position = max(watcher.position, through)
        }
      }
      for watcher in watchers { lagging.remove(watcher) }
      for watcher in behind { queueOrPark(watcher) }
    }
    for watcher in watchers where watcher.state == .reading {
      unlag(watcher)
      watcher.state = .synced
      index.insert(watcher)
    }
  }
}
