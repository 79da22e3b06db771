// Watches of one client, all on one stream that is opened again whenever it is lost. No threads here: whoever turns the
// dispatcher's wheel owns a session.
//
// What makes it right: a watch knows the first revision that it has not seen. After each reconnect it is created from there,
// so nothing is missed; events below it are dropped, so nothing comes twice. A response moves it to one behind the last
// event's revision: no response ends within a revision, unless the next one goes on with it.

import NeedletailRPC

package final class WatchSession {
  /// One watch. Its closures are called until `ended` was.
  package final class Watch {
    package let request: WatchRequest
    /// The first revision not seen; 0 = what comes after the watch is created.
    package fileprivate(set) var nextRevision: Int64
    fileprivate var id: Int64?
    fileprivate var isOver = false
    /// Its reader has enough for now: the server has no such watch until it is resumed.
    fileprivate var isPaused = false
    fileprivate var hasBegun = false
    /// Events of a response that came in pieces.
    fileprivate var pieces: [WatchEvent] = []
    fileprivate let received: (WatchResponse) -> Void
    fileprivate let ended: (ClientError) -> Void

    fileprivate init(
      _ request: WatchRequest, received: @escaping (WatchResponse) -> Void, ended: @escaping (ClientError) -> Void
    ) {
      self.request = request
      nextRevision = request.startRevision
      self.received = received
      self.ended = ended
    }
  }

  private let dispatcher: Dispatcher
  private var call: StreamCall?
  /// All that are not over, in the order they were begun.
  private var watches: [Watch] = []
  private var byID: [Int64: Watch] = [:]
  /// Created on the present stream, not answered yet: answers come in this order.
  private var creating: [Watch] = []
  private var hasBeenOpen = false

  package init(_ dispatcher: Dispatcher) { self.dispatcher = dispatcher }

  /// `received` gets a response with `created` once, then events and progress; `ended` is called at most once: by the
  /// server's refusal, by compaction (in both cases the response that says so comes first), when no server can be reached
  /// at first, or at the client's end.
  package func watch(
    _ request: WatchRequest, received: @escaping (WatchResponse) -> Void, ended: @escaping (ClientError) -> Void
  ) -> Watch {
    let watch = Watch(request, received: received, ended: ended)
    watches.append(watch)
    if let call {
      if dispatcher.send(request.encoded(from: watch.nextRevision), on: call) { creating.append(watch) }
    } else {
      open()
    }
    return watch
  }

  /// Ends a watch: none of its closures is called any more.
  package func cancel(_ watch: Watch) {
    guard !watch.isOver else { return }
    forget(watch)
    if let id = watch.id, let call {
      byID[id] = nil
      dispatcher.send(WatchRequestView.cancel(watchID: id).encoded(), on: call)
    }
    closeIfIdle()
  }

  /// Stops a watch where it is: what the server sends of it from here on is dropped, to be asked for again.
  package func pause(_ watch: Watch) {
    guard !watch.isOver, !watch.isPaused else { return }
    watch.isPaused = true
    watch.pieces = []
    guard let id = watch.id, let call else { return }
    watch.id = nil
    byID[id] = nil
    dispatcher.send(WatchRequestView.cancel(watchID: id).encoded(), on: call)
  }

  /// A paused watch goes on with the first revision that it has not seen.
  package func resume(_ watch: Watch) {
    guard !watch.isOver, watch.isPaused else { return }
    watch.isPaused = false
    guard let call else { return open() }
    if dispatcher.send(watch.request.encoded(from: watch.nextRevision), on: call) { creating.append(watch) }
  }

  /// Asks how far the server is; the answer goes to every watch, once each has all up to it.
  package func requestProgress() {
    if let call { dispatcher.send(WatchRequestView.progress.encoded(), on: call) }
  }

  private func forget(_ watch: Watch) {
    watch.isOver = true
    watches.removeAll { $0 === watch }
  }

  private func closeIfIdle() {
    guard watches.isEmpty, let call else { return }
    dispatcher.close(call)
    self.call = nil
    byID = [:]
    creating = []
  }

  private func open() {
    let call = StreamCall(
      .watch, opened: { [unowned self] in begin() }, received: { [unowned self] in take($0) },
      ended: { [unowned self] in lost($0) })
    self.call = call
    dispatcher.open(call)
  }

  /// A new stream: all watches go on where they are.
  private func begin() -> [[UInt8]] {
    byID = [:]
    creating = watches.filter { !$0.isPaused }
    for watch in watches {
      watch.id = nil
      watch.pieces = []
    }
    return creating.map { $0.request.encoded(from: $0.nextRevision) }
  }

  private func lost(_ error: ClientError) -> Bool {
    byID = [:]
    creating = []
    switch error {
    case .disconnected, .outcomeUnknown: return reopens
    case .unreachable where hasBeenOpen: return reopens
    case .server(let status) where status.code == .unavailable: return reopens
    default: break
    }
    let all = watches
    watches = []
    call = nil
    for watch in all {
      watch.isOver = true
      watch.ended(error)
    }
    return false
  }

  /// Whether a lost stream is wanted again now: a paused watch opens one when it goes on.
  private var reopens: Bool {
    if watches.contains(where: { !$0.isPaused }) { return true }
    call = nil
    return false
  }

  // MARK: Responses

  private func take(_ body: UnsafeRawBufferPointer) {
    let response: WatchResponse
    do { response = try WatchResponse(body) } catch {
      return endAll(.protocolViolation("broken watch response: \(error)"))
    }
    hasBeenOpen = true
    if response.created { return takeCreated(response) }
    if response.watchID == -1 {
      for watch in watches where watch.id != nil { takeProgress(response, watch) }
      return
    }
    // A watch that was cancelled here may still be spoken of.
    guard let watch = byID[response.watchID] else { return }
    if response.compactRevision != 0 {
      watch.received(response)
      end(watch, .compacted(response.compactRevision))
    } else if response.canceled {
      watch.received(response)
      end(watch, .server(StatusError(.cancelled, response.cancelReason)))
    } else if response.events.isEmpty, !response.fragment, watch.pieces.isEmpty {
      takeProgress(response, watch)
    } else {
      takeEvents(response, watch)
    }
  }

  private func takeCreated(_ response: WatchResponse) {
    guard !creating.isEmpty else { return }
    let watch = creating.removeFirst()
    if watch.isOver || watch.isPaused {
      // Cancelled, or paused, before its id was known.
      guard !response.canceled, let call else { return }
      dispatcher.send(WatchRequestView.cancel(watchID: response.watchID).encoded(), on: call)
      return
    }
    guard !response.canceled else {
      watch.received(response)
      return end(watch, .server(StatusError(.cancelled, response.cancelReason)))
    }
    watch.id = response.watchID
    byID[response.watchID] = watch
    if watch.nextRevision == 0 { watch.nextRevision = response.header.revision + 1 }
    guard !watch.hasBegun else { return }
    watch.hasBegun = true
    watch.received(response)
  }

  private func takeProgress(_ response: WatchResponse, _ watch: Watch) {
    watch.nextRevision = max(watch.nextRevision, response.header.revision + 1)
    watch.received(response)
  }

  private func takeEvents(_ response: WatchResponse, _ watch: Watch) {
    watch.pieces += response.events
    guard !response.fragment else { return }
    var whole = response
    whole.events = watch.pieces.filter { $0.kv.modRevision >= watch.nextRevision }
    watch.pieces = []
    guard let last = whole.events.last else { return }
    watch.nextRevision = last.kv.modRevision + 1
    watch.received(whole)
  }

  private func end(_ watch: Watch, _ error: ClientError) {
    if let id = watch.id { byID[id] = nil }
    forget(watch)
    watch.ended(error)
    closeIfIdle()
  }

  private func endAll(_ error: ClientError) {
    for watch in watches { end(watch, error) }
  }
}
