// The watch hub: one thread that knows all watchers and gives each commit's changes to those who want them.
//
// The rules that make it right:
//   - `through` is the last revision that the hub has seen. A synced watcher has been sent everything up to it; the hub gets
//     blocks of changes (after, through], and a block that does not join on makes every synced watcher a lagging one.
//   - A lagging watcher has a position, up to which everything was sent, and gets the rest from the ring of recent blocks or
//     from the log, read by another thread. It becomes synced again when its position has reached `through`.
//   - A stream has a budget of bytes on their way. Beyond it nothing is sent: its watchers lag, parked, until its client
//     has taken half of it. So a slow client costs its budget and nothing more, and nobody waits for it.
// Positions only ever move on with what was sent, and only to ends of revisions: no gap, no duplicate, no reordering.
//
// Everything about a stream comes through the inbox, in order; all answers of a turn leave together, one mail for each
// reactor. The hub reads no storage but two words, and takes no lock.
import Logging
import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC

/// Sendable: the inbox is made for it; the rest belongs to the thread.
package final class WatchHub: @unchecked Sendable {
  enum Message: Sendable {
    case feed(FeedItem)
    case create(ResponseStream, WatchCreate, revision: UInt64)
    case cancel(ResponseStream, watchID: Int64)
    case progress(ResponseStream, revision: UInt64)
    /// A request that asks for nothing.
    case nothing(ResponseStream)
    case closed(ResponseStream)
    case drained(ResponseStream)
    case caughtUp(CatchUpResult)
    case stop
  }

  /// Where the apply thread brings changes.
  package let feed: EventFeed
  package let figures = WatchFigures()
  let options: WatchOptions
  let store: Store
  let status: NodeStatus
  let logger: Logger
  private let sink: any ReplySink
  private let latch: Latch
  private let inbox: Inbox<Message>
  private let catchUp: CatchUpThread
  private var thread: Thread?
  private var isStopping = false

  // The thread's own.
  var streams: [ObjectIdentifier: WatchStream] = [:]
  var index = WatchIndex()
  /// Changes are captured, and the state below holds. False while nobody watches.
  var isActive = false
  var watcherCount = 0
  var keyBytes = 0
  /// The last revision seen.
  var through: UInt64 = 0
  var ring = EventRing()
  /// Lagging watchers that wait for a reading, first come, first served.
  var queue: [Watcher] = []
  private var isReading = false
  /// Streams with something to do at the end of the turn.
  var progressStreams: [ObjectIdentifier: WatchStream] = [:]
  var notifiedStreams: [ObjectIdentifier: WatchStream] = [:]
  private var requestedStreams: [WatchStream] = []
  private var outbox: [UInt16: StreamDelivery] = [:]
  /// Bytes on their way on all streams, as of the last look.
  var outstandingBytes = 0
  private var counted_ns: UInt64 = 0
  private var reader: ReaderHandle?

  package init(
    _ store: Store, status: NodeStatus, sink: any ReplySink, latch: Latch, options: WatchOptions, logger: Logger
  ) throws(ServerError) {
    self.store = store
    self.status = status
    self.sink = sink
    self.latch = latch
    self.options = options
    self.logger = logger
    let inbox = try Inbox<Message>()
    self.inbox = inbox
    feed = EventFeed(waitingBytesMax: options.ringBytes, captureBytesMax: options.ringBytes) { inbox.post(.feed($0)) }
    catchUp = try CatchUpThread(store, options: options, figures: figures) { inbox.post(.caughtUp($0)) }
  }

  package func start() throws(ServerError) {
    try catchUp.start()
    thread = try Thread("watch") { self.run() }
  }

  package func stop() {
    inbox.post(.stop)
    thread?.join()
    catchUp.stop()
  }

  /// Any thread; never blocks.
  func post(_ message: Message) { inbox.post(message) }

  private func run() {
    do { reader = try store.database.makeReader() } catch { return latch.fail("watch: \(error)") }
    defer { reader?.free() }
    while !isStopping {
      inbox.wait(atMost_ms: timeout)
      for message in inbox.takeAll() { handle(message) }
      if outstandingBytes >= options.allStreamsBytes { countOutstanding() }
      answerProgress()
      notifyProgress()
      startReading()
      tellRequestsTaken()
      flush()
    }
  }

  /// Waits no longer than until some stream is to hear of progress.
  private var timeout: Int32 {
    guard let next = notifiedStreams.values.map(\.notify_ns).min() else { return -1 }
    let now = monotonicNanoseconds()
    return next <= now ? 0 : Int32(clamping: (next - now) / 1_000_000 + 1)
  }

  private func handle(_ message: Message) {
    switch message {
    case .feed(.block(let block)):
      feed.taken(block)
      if isActive { take(block) }
    case .feed(.gap(let revision)): if isActive { skip(to: revision) }
    case .create(let face, let request, let revision): create(request, on: requested(face), seen: revision)
    case .cancel(let face, let watchID): cancel(watchID, on: requested(face))
    case .progress(let face, let revision):
      let stream = requested(face)
      stream.progressWanted = max(stream.progressWanted ?? 0, revision)
      progressStreams[ObjectIdentifier(face)] = stream
    case .nothing(let face): _ = requested(face)
    case .closed(let face): close(face)
    case .drained(let face): drained(face)
    case .caughtUp(let result):
      isReading = false
      take(result)
    case .stop: isStopping = true
    }
  }

  /// The stream that a request came on; the first makes it.
  private func requested(_ face: ResponseStream) -> WatchStream {
    let id = ObjectIdentifier(face)
    let stream: WatchStream
    if let found = streams[id] {
      stream = found
    } else {
      stream = WatchStream(face)
      streams[id] = stream
      figures.streams.wrappingAdd(1, ordering: .relaxed)
    }
    if stream.requestsTaken == 0 { requestedStreams.append(stream) }
    stream.requestsTaken += 1
    return stream
  }

  private func tellRequestsTaken() {
    for stream in requestedStreams where stream.requestsTaken > 0 {
      delivery(for: stream).addTaken(stream.face, requests: stream.requestsTaken)
      stream.requestsTaken = 0
    }
    requestedStreams.removeAll(keepingCapacity: true)
  }

  // MARK: The first watcher and the last

  /// From here on nothing passes unseen: see `EventFeed`.
  func activate() {
    guard !isActive, let reader else { return }
    feed.turnOn()
    isActive = true
    through = reader.pin().word(StoreWord.revision)
    reader.unpin()
    ring.removeAll(floor: through)
  }

  /// The oldest revision that can be read.
  var compactedRevision: UInt64 {
    guard let reader else { return 0 }
    defer { reader.unpin() }
    return reader.pin().word(StoreWord.compactedRevision)
  }

  func deactivateIfIdle() {
    guard isActive, watcherCount == 0 else { return }
    feed.turnOff()
    isActive = false
    ring.removeAll(floor: 0)
  }

  // MARK: Sending

  func header(_ revision: UInt64) -> ResponseHeader {
    ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID, revision: Int64(clamping: revision),
      raftTerm: status.term.load(ordering: .relaxed))
  }

  /// What the stream's reactor is sent at the end of the turn.
  func delivery(for stream: WatchStream) -> StreamDelivery {
    let reactor = stream.face.address.reactor
    if let open = outbox[reactor] {
      // A long turn's first answers must not wait for its last.
      if open.items.count < 4096 { return open }
      sink.deliver(open, to: reactor)
    }
    let made = StreamDelivery()
    outbox[reactor] = made
    return made
  }

  private func flush() {
    guard !outbox.isEmpty else { return }
    for (reactor, delivery) in outbox { sink.deliver(delivery, to: reactor) }
    outbox.removeAll(keepingCapacity: true)
  }

  /// Sends a message without events.
  func send(_ response: WatchResponse, on stream: WatchStream) {
    let size = delivery(for: stream).add(stream.face) { response.encode(to: &$0) }
    count(size, on: stream)
  }

  func count(_ size: Int, on stream: WatchStream) {
    stream.postedBytes += size
    outstandingBytes += size
  }

  /// Postings are added as they are made; what clients have taken is looked up when it seems too much.
  private func countOutstanding() {
    let now = monotonicNanoseconds()
    guard now - counted_ns > 10_000_000 else { return }
    counted_ns = now
    outstandingBytes = streams.values.reduce(0) { $0 + $1.outstandingBytes }
  }

  // MARK: Reading the past

  private func startReading() {
    guard !isReading, !queue.isEmpty else { return }
    // The first one decides where it begins; all who wait at or behind that place come along.
    let start = queue.first(where: { $0.state == .queued })?.position
    guard let start else { return queue.removeAll() }
    var members: [CatchUpMember] = []
    var rest: [Watcher] = []
    for watcher in queue where watcher.state == .queued {
      if watcher.position >= start, members.count < options.membersPerRead {
        watcher.state = .reading
        members.append(CatchUpMember(watcher))
      } else {
        rest.append(watcher)
      }
    }
    queue = rest
    isReading = true
    catchUp.read(CatchUpJob(members: members, start: start, ring: ring, compacted: compactedRevision))
  }
}
