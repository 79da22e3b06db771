// What clients ask of the hub: watchers come and go, and want to know how far they are.
import NeedletailMVCC
import NeedletailRPC

/// etcd's words.
private enum Refusal {
  static let emptyRange = "mvcc: watcher range is empty"
  static let duplicateID = "mvcc: duplicate watch ID provided on the WatchStream"
  static let compacted = "etcdserver: mvcc: required revision has been compacted"
  static let tooMany = "etcdserver: too many requests"
}

extension WatchHub {
  /// `revision`: what the client's reactor saw when the request came.
  func create(_ request: WatchCreate, on stream: WatchStream, seen revision: UInt64) {
    var answer = WatchResponse()
    answer.created = true
    let id: Int64
    do {
      id = try admit(request, on: stream)
    } catch {
      answer.header = header(isActive ? max(through, revision) : revision)
      answer.watchID = -1
      answer.canceled = true
      answer.cancelReason = error.reason
      return send(answer, on: stream)
    }
    activate()
    let now = max(through, revision)
    answer.header = header(now)
    answer.watchID = id
    send(answer, on: stream)
    // A start in the past is a position below `through`; one ahead of it just keeps earlier events away.
    let position = request.startRevision == 0 ? now : UInt64(request.startRevision) - 1
    add(Watcher(stream, id: id, request, position: position))
  }

  private struct Refused: Error { let reason: String }

  /// The id that the watcher gets.
  private func admit(_ request: WatchCreate, on stream: WatchStream) throws(Refused) -> Int64 {
    if request.startRevision < 0 { throw Refused(reason: Refusal.compacted) }
    if request.interest.keys.isEmpty { throw Refused(reason: Refusal.emptyRange) }
    guard watcherCount < options.watchersMax, keyBytes < options.keyBytesMax else {
      throw Refused(reason: Refusal.tooMany)
    }
    if request.watchID != 0 {
      guard stream.watchers[request.watchID] == nil else { throw Refused(reason: Refusal.duplicateID) }
      return request.watchID
    }
    while stream.watchers[stream.nextID] != nil { stream.nextID += 1 }
    defer { stream.nextID += 1 }
    return stream.nextID
  }

  private func add(_ watcher: Watcher) {
    let stream = watcher.stream
    stream.watchers[watcher.id] = watcher
    watcherCount += 1
    keyBytes += watcher.interest.keys.byteCount
    figures.watchers.wrappingAdd(1, ordering: .relaxed)
    if watcher.wantsProgress {
      if stream.notifiedCount == 0 {
        notifiedStreams[ObjectIdentifier(stream.face)] = stream
        setNotifyTime(stream)
      }
      stream.notifiedCount += 1
    }
    if watcher.position >= through {
      watcher.state = .synced
      index.insert(watcher)
    } else {
      lag(watcher)
      queueOrPark(watcher)
      // The ring may still have it; what is compacted is not to be had all the same. One who was here before and lags
      // may be served from the ring: it was promised everything.
      let compacted = compactedRevision
      if watcher.position + 1 < compacted { endCompacted(watcher, at: compacted) }
    }
  }

  func cancel(_ id: Int64, on stream: WatchStream) {
    // etcd is silent about ids that are not there.
    guard let watcher = stream.watchers[id] else { return }
    remove(watcher)
    var answer = WatchResponse()
    answer.header = header(through)
    answer.watchID = id
    answer.canceled = true
    send(answer, on: stream)
    deactivateIfIdle()
  }

  func close(_ face: ResponseStream) {
    let id = ObjectIdentifier(face)
    guard let stream = streams.removeValue(forKey: id) else { return }
    // Looking for each of many in there would take long.
    stream.parked = []
    for watcher in stream.watchers.values { forget(watcher) }
    stream.watchers = [:]
    if stream.isPaused { figures.pausedStreams.wrappingSubtract(1, ordering: .relaxed) }
    progressStreams[id] = nil
    notifiedStreams[id] = nil
    figures.streams.wrappingSubtract(1, ordering: .relaxed)
    deactivateIfIdle()
  }

  /// Takes a watcher off its stream.
  func remove(_ watcher: Watcher) {
    watcher.stream.watchers[watcher.id] = nil
    forget(watcher)
  }

  private func forget(_ watcher: Watcher) {
    let stream = watcher.stream
    switch watcher.state {
    case .synced: index.remove(watcher)
    case .queued, .reading, .parked: unlag(watcher)
    case .gone: return
    }
    if watcher.state == .parked { stream.parked.removeAll { $0 === watcher } }
    watcher.state = .gone
    watcherCount -= 1
    keyBytes -= watcher.interest.keys.byteCount
    figures.watchers.wrappingSubtract(1, ordering: .relaxed)
    guard watcher.wantsProgress else { return }
    stream.notifiedCount -= 1
    if stream.notifiedCount == 0 { notifiedStreams[ObjectIdentifier(stream.face)] = nil }
  }

  /// The watcher has been told: its revision is gone.
  func endCompacted(_ watcher: Watcher, at compacted: UInt64) {
    let stream = watcher.stream
    remove(watcher)
    var answer = WatchResponse()
    answer.header = header(0)
    answer.watchID = watcher.id
    answer.canceled = true
    answer.compactRevision = Int64(clamping: compacted)
    send(answer, on: stream)
  }

  /// The watcher can't be served.
  func end(_ watcher: Watcher, _ reason: String) {
    let stream = watcher.stream
    remove(watcher)
    var answer = WatchResponse()
    answer.header = header(through)
    answer.watchID = watcher.id
    answer.canceled = true
    answer.cancelReason = reason
    send(answer, on: stream)
  }

  // MARK: Progress

  /// Answers those requests for progress that can be answered: every watcher of the stream has been sent everything up to
  /// the revision that the store had when the request came. The others wait.
  func answerProgress() {
    guard !progressStreams.isEmpty else { return }
    for (id, stream) in progressStreams {
      guard let wanted = stream.progressWanted else { continue }
      let hasWatchers = !stream.watchers.isEmpty
      if hasWatchers {
        guard stream.laggingCount == 0, through >= wanted else { continue }
        // A watcher that starts ahead of here must not be told to be here.
        guard stream.watchers.values.allSatisfy({ $0.position <= through }) else { continue }
      }
      var answer = WatchResponse()
      answer.header = header(hasWatchers ? through : wanted)
      answer.watchID = -1
      send(answer, on: stream)
      stream.progressWanted = nil
      progressStreams[id] = nil
    }
  }

  func setNotifyTime(_ stream: WatchStream) {
    let jitter = UInt64.random(in: 0...options.progress_ms / 10)
    stream.notify_ns = monotonicNanoseconds() + (options.progress_ms + jitter) * 1_000_000
  }

  /// Tells watchers that asked for it, and were sent nothing since the last time, how far they are.
  func notifyProgress() {
    guard !notifiedStreams.isEmpty else { return }
    let now = monotonicNanoseconds()
    for stream in notifiedStreams.values where stream.notify_ns <= now {
      setNotifyTime(stream)
      for watcher in stream.watchers.values where watcher.wantsProgress {
        let isQuiet = !watcher.wasSentEvents
        watcher.wasSentEvents = false
        guard isQuiet, watcher.state == .synced, watcher.position <= through else { continue }
        var answer = WatchResponse()
        answer.header = header(through)
        answer.watchID = watcher.id
        send(answer, on: stream)
      }
    }
  }
}
