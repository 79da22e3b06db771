// Watchers under random load: slow consumers, streams that come and go, compaction, restarts, starts in the past and in the
// future. Every watch must have seen each change that it asked for exactly once and in order, but for what it was told that
// compaction took.
import Foundation
import Glibc
import NeedletailMVCC
import NeedletailRPC
import NeedletailServer
import Testing

/// Everything that was acknowledged, as events. Sendable: guarded by its lock.
private final class Story: @unchecked Sendable {
  private let lock = NSLock()
  private var all: [WatchEvent] = []
  private var compactions: Set<Int64> = []

  func put(_ key: Bytes, _ value: Bytes, _ answer: PutResponse) {
    var event = WatchEvent()
    event.kv = KeyValue(
      key: key, value: value, createRevision: answer.prevKV?.createRevision ?? answer.header.revision,
      modRevision: answer.header.revision, version: (answer.prevKV?.version ?? 0) + 1)
    event.prevKV = answer.prevKV
    lock.withLock { all.append(event) }
  }

  func delete(_ answer: DeleteRangeResponse) {
    let events = answer.prevKVs.map { previous in
      var event = WatchEvent()
      event.kind = .delete
      event.kv = KeyValue(key: previous.key, modRevision: answer.header.revision)
      event.prevKV = previous
      return event
    }
    lock.withLock { all += events }
  }

  func compacted(_ revision: Int64) { lock.withLock { _ = compactions.insert(revision) } }

  /// By revision; within one in the order in which it was told.
  var events: [WatchEvent] {
    lock.withLock {
      all.enumerated().sorted { ($0.1.kv.modRevision, $0.0) < ($1.1.kv.modRevision, $1.0) }.map(\.element)
    }
  }

  var compactedRevisions: Set<Int64> { lock.withLock { compactions } }
}

@Suite struct WatchStormTests {
  private static func small(_ options: inout NodeOptions) {
    options.watch.ringBytes = 96 << 10
    options.watch.streamBytes = 24 << 10
    options.watch.crowdedStreamBytes = 8 << 10
    options.watch.allStreamsBytes = 256 << 10
    options.watch.responseBytes = 6 << 10
    options.watch.fragmentBytes = 9 << 10
    options.watch.joinBytes = 16 << 10
    options.watch.membersPerRead = 64
  }

  private static func key(_ i: Int) -> Bytes { Bytes("/k/\(i % 7)/\(i)".utf8) }

  private static func write(_ running: RunningNode, _ story: Story, seed: UInt64, operations: Int) throws {
    var generator = SeededGenerator(seed)
    for _ in 0..<operations {
      let key = key(Int.random(in: 0..<40, using: &generator))
      switch Int.random(in: 0..<40, using: &generator) {
      case 0:
        // Half of the keys, in one revision.
        story.delete(try running.delete(Bytes("/k/".utf8), Bytes("/k/4".utf8), prevKV: true))
      case 1...4: story.delete(try running.delete(key, prevKV: true))
      case 5:
        let revision = Int64(running.revision) - Int64.random(in: 0...300, using: &generator)
        // Told before it can have an effect.
        if revision > 0 {
          story.compacted(revision)
          _ = try running.compact(revision)
        }
      default:
        let count = Int.random(in: 0...(Int.random(in: 0..<6, using: &generator) == 0 ? 3000 : 60), using: &generator)
        let value = Bytes(repeating: UInt8(truncatingIfNeeded: count), count: count)
        story.put(key, value, try running.put(key, value, prevKV: true))
      }
    }
  }

  private static func makeWatch(_ generator: inout SeededGenerator, revision: Int64) -> SeenWatch {
    let ends: [(Bytes, Bytes)] = [
      (key(Int.random(in: 0..<40, using: &generator)), []), ([0], [0]), (Bytes("/k/3".utf8), [0]),
      (Bytes("/k/2/".utf8), Bytes("/k/20".utf8)), (Bytes("/k/".utf8), Bytes("/k/5".utf8)), (Bytes("/none".utf8), []),
    ]
    let (key, end) = ends[Int.random(in: 0..<ends.count, using: &generator)]
    let start: Int64
    switch Int.random(in: 0..<4, using: &generator) {
    case 0: start = 0
    case 1: start = revision + Int64.random(in: 1...300, using: &generator)
    default: start = Int64.random(in: 1...revision, using: &generator)
    }
    return SeenWatch(
      key: key, end: end, start: start, prevKV: Bool.random(using: &generator),
      skipsPuts: Int.random(in: 0..<6, using: &generator) == 0,
      skipsDeletes: Int.random(in: 0..<6, using: &generator) == 0, fragment: Bool.random(using: &generator))
  }

  /// Clients that read, dawdle, cancel, leave and come back until `isOver`.
  private static func disturb(
    _ running: RunningNode, _ streams: inout [SeenStream], _ watches: [SeenWatch], _ generator: inout SeededGenerator,
    until isOver: () -> Bool
  ) throws {
    let box = running.sink.streams
    while !isOver() {
      let at = Int.random(in: 0..<streams.count, using: &generator)
      let stream = streams[at]
      switch Int.random(in: 0..<12, using: &generator) {
      case 0:
        // A client is gone; it comes back on another stream, and goes on where it was.
        box.close(stream)
        running.node.server.endWatch(stream.face)
        let mine = Array(stream.watches.values) + stream.creating
        streams[at] = box.open(isSlow: Bool.random(using: &generator))
        for watch in mine where !watch.isCancelled { try running.watch(watch, on: streams[at]) }
      case 1:
        guard let watch = box.locked({ stream.watches.values.first }), let id = watch.id else { continue }
        try running.send(WatchRequestView.cancel(watchID: id).encoded(), on: stream)
        if !stream.isSlow { _ = box.wait { watch.isCancelled } }
      case 2:
        // Those that were cancelled, by themselves or by compaction, go on.
        let idle = box.locked { watches.filter { $0.isCancelled } }
        for watch in idle.prefix(20) { try running.watch(watch, on: stream) }
      case 3...8: box.read(stream, messages: Int.random(in: 1...6, using: &generator))
      default: usleep(500)
      }
    }
  }

  /// Everybody reads everything, and hears that there is nothing more.
  private static func settle(_ running: RunningNode, _ streams: [SeenStream], _ watches: [SeenWatch]) throws {
    let box = running.sink.streams
    let revision = Int64(running.revision)
    for stream in streams { try running.send(WatchRequestView.progress.encoded(), on: stream) }
    var isDone = false
    for _ in 0..<4000 where !isDone {
      for stream in streams { box.read(stream, messages: .max) }
      let idle = box.locked { watches.filter { $0.isCancelled } }
      for watch in idle { try running.watch(watch, on: streams[0]) }
      usleep(2_000)
      isDone = box.locked {
        watches.allSatisfy { !$0.isCancelled && $0.id != nil } && streams.allSatisfy { $0.waiting.isEmpty }
          && running.node.watch.figures.slowWatchers.load(ordering: .relaxed) == 0
      }
    }
    try #require(isDone, "some watcher never caught up")
    // Nobody is behind: what is asked for now must be answered.
    for stream in streams {
      try running.send(WatchRequestView.progress.encoded(), on: stream)
      let isAhead = box.locked { stream.watches.values.contains { $0.first > revision } }
      try #require(isAhead || box.wait { box.isTold(stream, revision) }, "a stream was not told of its progress")
    }
  }

  private static func storm(rounds: Int, watches count: Int, operations: Int) throws {
    let seed = SeededGenerator.seed("watch storm")
    var generator = SeededGenerator(seed)
    let directory = try TemporaryDirectory()
    let story = Story()
    var watches: [SeenWatch] = []
    var revision: Int64 = 1
    for round in 0..<rounds {
      let running = try RunningNode(directory.path, small)
      running.openStreams()
      revision = Int64(running.revision)
      var streams = (0..<12).map { running.sink.streams.open(isSlow: $0 % 2 == 0) }
      for _ in 0..<(count / rounds) { watches.append(makeWatch(&generator, revision: revision)) }
      for watch in watches {
        try running.watch(watch, on: streams[Int.random(in: 0..<streams.count, using: &generator)])
      }
      let group = DispatchGroup()
      let failures = FailureBox()
      for writer in 0..<2 {
        let writerSeed = generator.next()
        let box = UncheckedBox(running)
        DispatchQueue.global().async(group: group) {
          do { try write(box.value, story, seed: writerSeed, operations: operations) } catch {
            failures.note("writer \(writer): \(error)")
          }
        }
      }
      try disturb(running, &streams, watches, &generator) { group.wait(timeout: .now()) == .success }
      #expect(failures.all.isEmpty, "\(failures.all)")
      // At times the server goes away while much is on its way.
      if round == rounds - 1 || Bool.random(using: &generator) { try settle(running, streams, watches) }
      for stream in streams {
        let most = running.sink.streams.locked { stream.waitingMost }
        #expect(!stream.isSlow || most < 400 << 10, "a slow stream was sent \(most) bytes")
      }
      revision = Int64(running.revision)
      for stream in streams { running.sink.streams.close(stream) }
      running.node.stop()
      #expect(running.failures.all.isEmpty)
    }
    let events = story.events
    try #require(events.count > operations)
    for watch in watches {
      let mistake = watch.mistake(events, through: revision, compacted: story.compactedRevisions)
      try #require(mistake == nil, "NEEDLETAIL_SEED=\(seed): \(mistake ?? "")")
    }
    #expect(watches.reduce(0) { $0 + $1.events.count } > events.count)
    #expect(watches.contains { !$0.lost.isEmpty }, "compaction took nothing from anybody")
  }

  @Test func eachChangeIsSeenOnceAndInOrder() throws { try Self.storm(rounds: 4, watches: 160, operations: 500) }

  /// Thousands of watchers, on one key and spread, and none of them misses anything.
  @Test func thousandsOfWatchers() throws {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path)
    running.openStreams()
    defer { running.node.stop() }
    let streams = (0..<20).map { _ in running.sink.streams.open() }
    var watches: [SeenWatch] = []
    for i in 0..<6000 {
      let key = i % 2 == 0 ? Bytes("one".utf8) : Bytes("spread/\(i)/".utf8)
      watches.append(SeenWatch(key: key, end: i % 4 == 3 ? key.dropLast() + [UInt8(ascii: "0")] : []))
      try running.watch(watches[i], on: streams[i % streams.count])
    }
    let box = running.sink.streams
    try #require(box.wait { watches.allSatisfy { $0.id != nil } })
    for i in 0..<20 { _ = try running.put(Bytes("one".utf8), [UInt8(i)]) }
    for i in stride(from: 1, to: 6000, by: 2) { _ = try running.propose(put: Bytes("spread/\(i)/".utf8), [1]) }
    try #require(
      box.wait(seconds: 60) { watches.enumerated().allSatisfy { $1.events.count == ($0 % 2 == 0 ? 20 : 1) } })
    #expect(watches.allSatisfy { $0.wrong == nil })
    let figures = running.node.watch.figures
    #expect(figures.watchers.load(ordering: .relaxed) == 6000)
    #expect(figures.events.load(ordering: .relaxed) == 3000 * 20 + 3000)
    #expect(figures.pendingEvents.load(ordering: .relaxed) == 0)
  }
}

/// Carries what is safe to share for a reason that the compiler can't see: a node's calls are.
private struct UncheckedBox<T>: @unchecked Sendable {
  let value: T
  init(_ value: T) { self.value = value }
}

extension WatchBox {
  /// Under the lock: reads what waits, too.
  fileprivate func isTold(_ stream: SeenStream, _ revision: Int64) -> Bool {
    if stream.isSlow { readLocked(stream) }
    return stream.progress >= revision
  }
}
