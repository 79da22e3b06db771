// Snapshots for clients: one thread makes them from pinned readers, as fast as they are asked for and no faster.
//
// A client pulls: each request names the snapshot and the bytes it wants, each answer holds just these. So a slow client
// costs what it has asked for and not taken, never more; a client that lost its connection asks again where it stopped
// (the stream can go back to any byte, see `SnapshotStream`); and nothing is ever written to disk here. What a snapshot
// costs while it lasts is a pinned reader: pages that writers replace are kept. One that nobody asks for a while is let
// go, and so is one whose client says that it has all.
//
// Reads and writes of the store never wait for this thread, which also runs at a lower priority than theirs.
import Glibc
import Logging
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailSnapshot

package struct SnapshotOptions: Sendable {
  /// Snapshots under way at a time: each pins a reader and takes about 3 MiB.
  package var sessionsMax = 4
  /// A snapshot that nobody asked for so long is let go.
  package var idle_ms = 60_000
  /// When there is no room for another, one that nobody asked for so long makes room.
  package var crowdedIdle_ms = 10_000
  /// Requests that wait, of all clients together.
  package var requestsMax = 64

  package init() {}

  /// Bytes of an answer at most.
  package static let chunkMax = 256 << 10
  /// How far ahead of what was given a request may begin: many requests on their way at a time.
  static let readAheadMax: UInt64 = 64 << 20
}

/// Sendable: the queue is guarded by the monitor, all else belongs to the thread.
package final class SnapshotService: @unchecked Sendable {
  private struct Job {
    var request: SnapshotRequest
    var isSealed = false
    /// Nil: nobody waits.
    var reply: ReplyAddress?
  }

  /// A snapshot being read.
  private final class Session {
    let stream: SnapshotStream
    /// The bytes given last: those from `start` on.
    var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    var start: UInt64 = 0
    /// The furthest that the stream has come.
    var produced: UInt64 = 0
    /// Known when the stream has come to its end once.
    var fileBytes: UInt64 = 0
    var lastUse_ns: UInt64 = 0
    /// Of one in etcd's form: of all bytes given so far.
    var seal: Digest?

    init(_ stream: SnapshotStream) { self.stream = stream }
  }

  private let store: Store
  private let status: NodeStatus
  private let sink: any ReplySink
  private let logger: Logger
  private let options: SnapshotOptions
  private let monitor = Monitor()
  private var jobs: [Job] = []
  private var isStopping = false
  private var sessions: [UInt64: Session] = [:]
  private var answer = OutBuffer()
  private var blob = OutBuffer()
  private var thread: Thread?

  package init(_ store: Store, status: NodeStatus, sink: any ReplySink, options: SnapshotOptions, logger: Logger) {
    self.store = store
    self.status = status
    self.sink = sink
    self.options = options
    self.logger = logger
  }

  deinit {
    answer.free()
    blob.free()
  }

  package func start() throws(ServerError) {
    thread = try Thread("snapshot") { self.run() }
  }

  /// Lets all snapshots go. Requests that wait are told so.
  package func stop() {
    monitor.locked {
      isStopping = true
      monitor.signal()
    }
    thread?.join()
  }

  /// Any thread; never blocks. The answer comes through the reply sink.
  package func read(_ body: UnsafeRawBufferPointer, reply: ReplyAddress) throws(StatusError) {
    let request: SnapshotRequest
    do { request = try SnapshotRequest(body) } catch {
      throw StatusError(.invalidArgument, "needletail: malformed SnapshotRequest: \(error)")
    }
    try read(request, isSealed: false, reply: reply)
  }

  /// The same; `isSealed`: in etcd's form.
  package func read(
    _ request: SnapshotRequest, isSealed: Bool, reply: ReplyAddress
  ) throws(StatusError) {
    let refusal: StatusError? = monitor.locked {
      if isStopping { return .stopped }
      if jobs.count >= options.requestsMax { return .tooManyRequests }
      jobs.append(Job(request: request, isSealed: isSealed, reply: reply))
      monitor.signal()
      return nil
    }
    if let refusal { throw refusal }
  }

  /// Any thread: nothing more is wanted of the snapshot.
  package func letGo(_ request: SnapshotRequest) {
    var last = request
    last.isFinished = true
    monitor.locked {
      jobs.append(Job(request: last))
      monitor.signal()
    }
  }

  // MARK: The thread

  private func run() {
    // This thread alone: on Linux priorities are per thread.
    setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
    while true {
      let (batch, isOver) = monitor.locked {
        if jobs.isEmpty, !isStopping {
          if sessions.isEmpty { monitor.wait() } else { monitor.wait(atMost_ms: min(1000, options.idle_ms)) }
        }
        defer { jobs = [] }
        return (jobs, isStopping)
      }
      for job in batch { if isOver { refuse(job, .stopped) } else { serve(job) } }
      if isOver { break }
      letGoIdle()
    }
    sessions = [:]
  }

  private func letGoIdle() {
    let now = monotonicNanoseconds()
    for (id, session) in sessions where now - session.lastUse_ns > UInt64(options.idle_ms) * 1_000_000 {
      letGo(id, session)
    }
  }

  /// Room for one more: clients that were killed must not keep others waiting for long.
  private func makeRoom() {
    guard sessions.count >= options.sessionsMax,
      let (id, oldest) = sessions.min(by: { $0.value.lastUse_ns < $1.value.lastUse_ns }),
      monotonicNanoseconds() - oldest.lastUse_ns > UInt64(options.crowdedIdle_ms) * 1_000_000
    else { return }
    letGo(id, oldest)
  }

  private func letGo(_ id: UInt64, _ session: Session) {
    sessions[id] = nil
    logger.warning(
      "a snapshot was let go: its client asked for nothing more",
      metadata: ["snapshot": "\(String(id, radix: 16))", "bytes": "\(session.stream.position)"])
  }

  private func serve(_ job: Job) {
    do throws(StatusError) {
      let session = try session(job.request)
      session.lastUse_ns = monotonicNanoseconds()
      if job.request.isFinished {
        sessions[session.stream.header.snapshotID] = nil
        logger.info("snapshot taken", metadata: ["snapshot": "\(String(session.stream.header.snapshotID, radix: 16))"])
      } else {
        try fill(session, job.request)
        if job.isSealed { try seal(session, job.request) }
      }
      send(session, job)
    } catch {
      refuse(job, error)
    }
    blob.removeAll()
  }

  private func session(_ request: SnapshotRequest) throws(StatusError) -> Session {
    if request.snapshotID != 0 {
      guard let session = sessions[request.snapshotID] else {
        throw StatusError(
          .notFound, "needletail: this snapshot is no longer kept here: begin a new one")
      }
      return session
    }
    makeRoom()
    guard sessions.count < options.sessionsMax else {
      throw StatusError(.resourceExhausted, "needletail: \(options.sessionsMax) snapshots are being taken already")
    }
    let stream: SnapshotStream
    do { stream = try SnapshotStream(store.database, describe: StoreFields.describe) } catch { throw status(error) }
    let session = Session(stream)
    sessions[stream.header.snapshotID] = session
    logger.info(
      "snapshot begun",
      metadata: [
        "snapshot": "\(String(stream.header.snapshotID, radix: 16))", "revision": "\(stream.header.store.revision)",
        "entries": "\(stream.header.entries)",
      ])
    return session
  }

  /// Puts the bytes asked for into `blob`: as many as asked for, fewer only at the end of the file.
  private func fill(_ session: Session, _ request: SnapshotRequest) throws(StatusError) {
    let wanted = request.limit == 0 ? SnapshotOptions.chunkMax : min(Int(request.limit), SnapshotOptions.chunkMax)
    var offset = request.offset
    // A client reads on from what it has; one that asks for what lies far ahead would have all before it made for nothing.
    guard offset <= session.produced + SnapshotOptions.readAheadMax else {
      throw StatusError(.outOfRange, "needletail: the snapshot has come to byte \(session.produced) only")
    }
    do throws(SnapshotError) {
      if offset < session.start {
        try session.stream.seek(to: offset)
        session.piece = UnsafeRawBufferPointer(start: nil, count: 0)
        session.start = session.stream.position
      }
      while blob.count < wanted {
        let end = session.start + UInt64(session.piece.count)
        if offset >= session.start, offset < end {
          let rest = UnsafeRawBufferPointer(rebasing: session.piece[Int(offset - session.start)...])
          let part = UnsafeRawBufferPointer(rebasing: rest.prefix(wanted - blob.count))
          blob.append(part)
          offset += UInt64(part.count)
          continue
        }
        guard let next = try session.stream.next() else { break }
        session.piece = next
        session.start = end
      }
    } catch {
      sessions[session.stream.header.snapshotID] = nil
      throw status(error)
    }
    session.produced = max(session.produced, session.stream.position)
    if session.stream.isAtEnd { session.fileBytes = session.stream.position }
    guard blob.count > 0 || request.offset == session.fileBytes else {
      throw StatusError(.outOfRange, "needletail: the snapshot has \(session.fileBytes) bytes")
    }
  }

  /// Counts the bytes that are given, and puts padding and digest behind the last. etcd's clients look at the length.
  private func seal(_ session: Session, _ request: SnapshotRequest) throws(StatusError) {
    do throws(SnapshotError) {
      let digest: Digest
      if let begun = session.seal { digest = begun } else { digest = try Digest() }
      session.seal = digest
      let isLast = session.fileBytes != 0 && request.offset + UInt64(blob.count) == session.fileBytes
      if isLast {
        let size = SnapshotSeal.padding(session.fileBytes)
        blob.reserve(size).initializeMemory(as: UInt8.self, repeating: 0, count: size)
        blob.advance(size)
      }
      try digest.update(blob.bytes)
      guard isLast else { return }
      let value = try digest.value()
      value.withUnsafeBytes { blob.append($0) }
      session.fileBytes = request.offset + UInt64(blob.count)
      sessions[session.stream.header.snapshotID] = nil
      logger.info("snapshot taken", metadata: ["snapshot": "\(String(session.stream.header.snapshotID, radix: 16))"])
    } catch {
      throw status(error)
    }
  }

  private func status(_ error: SnapshotError) -> StatusError {
    logger.error("a snapshot failed", metadata: ["why": "\(error)"])
    switch error {
    case .database(.corrupt): return StatusError(.dataLoss, "needletail: snapshot: \(error)")
    case .database(.readersFull): return StatusError(.resourceExhausted, "needletail: snapshot: \(error)")
    default: return StatusError(.internal, "needletail: snapshot: \(error)")
    }
  }

  private func send(_ session: Session, _ job: Job) {
    let header = session.stream.header
    var response = SnapshotResponseView()
    response.header = ResponseHeader(
      clusterID: store.identity.clusterID, memberID: store.identity.memberID,
      revision: Int64(clamping: header.store.revision), raftTerm: status.term.load(ordering: .relaxed))
    response.snapshotID = header.snapshotID
    response.offset = job.request.offset
    response.blob = blob.bytes
    response.entries = session.stream.progress.entries
    response.entriesInAll = header.entries
    response.fileBytes = session.fileBytes
    response.encode(to: &answer)
    if let reply = job.reply { sink.reply(to: reply, status: 0, body: answer.bytes) }
    answer.removeAll()
  }

  private func refuse(_ job: Job, _ error: StatusError) {
    guard let reply = job.reply else { return }
    var text = error.message
    text.withUTF8 { sink.reply(to: reply, status: error.code.rawValue, body: UnsafeRawBufferPointer($0)) }
  }
}
