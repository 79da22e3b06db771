// Clients of the watch hub without sockets: streams whose consumers are as slow as the test wants, watches that go on where
// they were, and the list of everything that happened, to hold what they saw against.
import Foundation
import Glibc
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

/// One watch as its client sees it, over any number of streams and servers.
///
/// Sendable: guarded by the box it is in, or used by one thread.
final class SeenWatch: @unchecked Sendable {
  let key: Bytes
  let end: Bytes
  let skipsPuts: Bool
  let skipsDeletes: Bool
  let prevKV: Bool
  let fragment: Bool
  /// The first revision not seen; 0 = not known yet.
  var next: Int64
  /// The revision that its story begins with.
  var first: Int64
  var events: [WatchEvent] = []
  /// Stretches that compaction has taken: [from, to).
  var lost: [Range<Int64>] = []
  var id: Int64?
  var isCancelled = false
  /// What went wrong, first of all.
  var wrong: String?
  private var pieces: [WatchEvent] = []

  init(
    key: Bytes, end: Bytes = [], start: Int64 = 0, prevKV: Bool = false, skipsPuts: Bool = false,
    skipsDeletes: Bool = false, fragment: Bool = false
  ) {
    self.key = key
    self.end = end
    self.prevKV = prevKV
    self.skipsPuts = skipsPuts
    self.skipsDeletes = skipsDeletes
    self.fragment = fragment
    next = start
    first = start
  }

  var request: Bytes {
    key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        var view = WatchCreateView()
        view.key = key
        view.rangeEnd = end
        view.startRevision = next
        view.prevKV = prevKV
        view.skipsPuts = skipsPuts
        view.skipsDeletes = skipsDeletes
        view.fragment = fragment
        return WatchRequestView.create(view).encoded()
      }
    }
  }

  func wants(_ event: WatchEvent) -> Bool {
    if event.kind == .put ? skipsPuts : skipsDeletes { return false }
    if end.isEmpty { return event.kv.key == key }
    if event.kv.key.lexicographicallyPrecedes(key) { return false }
    return end == [0] || event.kv.key.lexicographicallyPrecedes(end)
  }

  func created(_ response: WatchResponse) {
    id = response.watchID
    pieces = []
    guard next == 0 else { return }
    next = response.header.revision + 1
    first = next
  }

  /// Events must go on behind those seen; a response must not end before its last event.
  func take(_ response: WatchResponse) {
    if response.compactRevision != 0 {
      if response.compactRevision <= next { note("compacted at \(response.compactRevision), was at \(next)") }
      lost.append(next..<max(next, response.compactRevision))
      next = max(next, response.compactRevision)
      id = nil
      return
    }
    // The answer to a cancellation says where the store is, not where the watch was.
    if response.canceled { return }
    for event in response.events where event.kv.modRevision < next { note("\(event.kv.modRevision) came again") }
    pieces += response.events
    if response.fragment { return }
    var last: Int64 = 0
    for event in pieces {
      if event.kv.modRevision < last { note("\(event.kv.modRevision) after \(last)") }
      last = event.kv.modRevision
    }
    if response.header.revision < last { note("a header of \(response.header.revision) with events to \(last)") }
    events += pieces
    pieces = []
    next = max(next, response.header.revision + 1)
  }

  private func note(_ text: String) { if wrong == nil { wrong = text } }

  /// What is wrong with what was seen up to `revision`, if all that happened is `story`. `compacted`: where previous pairs
  /// may be missing.
  func mistake(_ story: [WatchEvent], through revision: Int64, compacted: Set<Int64>) -> String? {
    if let wrong { return wrong }
    let wanted = story.filter { event in
      let at = event.kv.modRevision
      return at >= first && at <= revision && wants(event) && !lost.contains { $0.contains(at) }
    }
    let seen = events.filter { $0.kv.modRevision <= revision }
    if seen.count != wanted.count {
      let at = zip(seen, wanted).first { $0.kv.modRevision != $1.kv.modRevision || $0.kv.key != $1.kv.key }
      let place = at.map { "\($0.kv.modRevision) for \($1.kv.modRevision)" } ?? "at the end"
      return "\(seen.count) events of \(wanted.count), from \(first) to \(revision), lost \(lost): \(place)"
    }
    for (event, want) in zip(seen, wanted) {
      var want = want
      if !prevKV || (event.prevKV == nil && compacted.contains(event.kv.modRevision)) { want.prevKV = nil }
      if event != want { return "\(event) instead of \(want)" }
    }
    return nil
  }
}

/// A stream and its client.
final class SeenStream: @unchecked Sendable {
  let face: ResponseStream
  /// Bytes taken only when the test says so.
  let isSlow: Bool
  var watches: [Int64: SeenWatch] = [:]
  var creating: [SeenWatch] = []
  var waiting: [(message: Bytes, size: Int)] = []
  var progress: Int64 = 0
  var requestsTaken = 0
  var isClosed = false
  /// Most bytes that ever waited.
  var waitingMost = 0

  init(_ face: ResponseStream, isSlow: Bool) {
    self.face = face
    self.isSlow = isSlow
  }
}

/// All streams of a test. Plays the reactor: takes deliveries, and tells when clients have taken bytes.
final class WatchBox: @unchecked Sendable {
  private let monitor = Monitor()
  private var streams: [UInt32: SeenStream] = [:]
  private var lastStream: UInt32 = 0
  var onDrained: (@Sendable (ResponseStream) -> Void)?
  var onItem: (@Sendable (StreamDelivery.Item) -> Void)?

  func open(isSlow: Bool = false) -> SeenStream {
    monitor.locked {
      lastStream += 1
      let face = ResponseStream(
        ReplyAddress(reactor: 0, method: 6, slot: 0, generation: 0, stream: lastStream, startedAt_ns: 0))
      let stream = SeenStream(face, isSlow: isSlow)
      streams[lastStream] = stream
      return stream
    }
  }

  func close(_ stream: SeenStream) {
    monitor.locked {
      stream.isClosed = true
      streams[stream.face.address.stream] = nil
    }
  }

  func deliver(_ delivery: StreamDelivery) {
    var drained: [ResponseStream] = []
    monitor.locked {
      for item in delivery.items {
        onItem?(item)
        guard let stream = streams[item.stream.address.stream], stream.face === item.stream else { continue }
        stream.requestsTaken += Int(item.requestsTaken)
        guard item.hasMessage else { continue }
        var out = OutBuffer()
        delivery.append(item, to: &out)
        stream.waiting.append((Bytes(out.bytes), item.byteCount))
        out.free()
        stream.waitingMost = max(stream.waitingMost, stream.waiting.reduce(0) { $0 + $1.size })
        if !stream.isSlow, consume(stream, messages: .max) { drained.append(stream.face) }
      }
      monitor.signal()
    }
    for face in drained { onDrained?(face) }
  }

  /// The client reads: so many messages.
  func read(_ stream: SeenStream, messages: Int) {
    let isAwaited = monitor.locked {
      defer { monitor.signal() }
      return consume(stream, messages: messages)
    }
    if isAwaited { onDrained?(stream.face) }
  }

  /// The same for one who holds the lock.
  func readLocked(_ stream: SeenStream) {
    if consume(stream, messages: .max) { onDrained?(stream.face) }
  }

  private func consume(_ stream: SeenStream, messages: Int) -> Bool {
    var bytes = 0
    for (message, size) in stream.waiting.prefix(messages) {
      bytes += size
      guard !stream.isClosed, let response = try? message.withUnsafeBytes({ try WatchResponse($0) }) else { continue }
      take(response, on: stream)
    }
    stream.waiting.removeFirst(min(messages, stream.waiting.count))
    return bytes > 0 && stream.face.take(bytes)
  }

  private func take(_ response: WatchResponse, on stream: SeenStream) {
    if response.created {
      let watch = stream.creating.removeFirst()
      if response.canceled {
        watch.isCancelled = true
        watch.wrong = watch.wrong ?? response.cancelReason
        return
      }
      watch.created(response)
      stream.watches[response.watchID] = watch
    } else if response.watchID == -1 {
      stream.progress = max(stream.progress, response.header.revision)
    } else if let watch = stream.watches[response.watchID] {
      watch.take(response)
      if response.canceled {
        watch.isCancelled = true
        stream.watches[response.watchID] = nil
      }
    }
  }

  func locked<R>(_ body: () -> R) -> R { monitor.locked(body) }

  /// Whether it becomes true in time.
  func wait(seconds: Double = 20, _ condition: () -> Bool) -> Bool {
    let deadline = Date().addingTimeInterval(seconds)
    return monitor.locked {
      while !condition() {
        guard Date() < deadline else { return false }
        monitor.wait(atMost_ms: 20)
      }
      return true
    }
  }
}

extension RunningNode {
  /// Connects the box's clients with this node.
  func openStreams() {
    let server = node.server
    sink.streams.onDrained = { server.watchDrained($0) }
    sink.streams.onItem = { server.delivered($0) }
  }

  var revision: UInt64 { (try? word { $0.word(StoreWord.revision) }) ?? 0 }

  func send(_ body: Bytes, on stream: SeenStream) throws {
    let revision = revision
    try RunningNode.call(body) { (body) throws(StatusError) in
      try node.server.watch(body, on: stream.face, revision: revision)
    }
  }

  func watch(_ watch: SeenWatch, on stream: SeenStream) throws {
    sink.streams.locked {
      watch.isCancelled = false
      watch.id = nil
      stream.creating.append(watch)
    }
    try send(watch.request, on: stream)
  }

  /// Asks for progress and waits until the stream's client hears that it has everything up to `revision`.
  func waitForProgress(_ stream: SeenStream, to revision: Int64, seconds: Double = 20) throws -> Bool {
    try send(WatchRequestView.progress.encoded(), on: stream)
    return sink.streams.wait(seconds: seconds) { stream.progress >= revision }
  }
}
