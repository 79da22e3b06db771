// The watch hub's rules one by one: what is answered to which request, and when.
import Foundation
import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import Testing

@testable import NeedletailServer

@Suite struct WatchTests {
  private func bytes(_ text: String) -> Bytes { Bytes(text.utf8) }

  private func start(_ adjust: (inout NodeOptions) -> Void = { _ in }) throws -> (RunningNode, TemporaryDirectory) {
    let directory = try TemporaryDirectory()
    let running = try RunningNode(directory.path, adjust)
    running.openStreams()
    return (running, directory)
  }

  /// Begins watches, and waits until the server has them: what happens from here on is theirs.
  private func begin(_ watches: [SeenWatch], on stream: SeenStream, _ running: RunningNode) throws {
    for watch in watches { try running.watch(watch, on: stream) }
    try #require(running.sink.streams.wait { watches.allSatisfy { $0.id != nil || $0.isCancelled } })
  }

  /// Every reading of the past makes an index: what was gathered in it must not outlive it.
  @Test func anIndexTakesItsGroupsAlong() {
    let member = bytes("a").withUnsafeBytes { key in
      WatchMember(
        WatchInterest(
          keys: WatchedKeys(key: key, rangeEnd: UnsafeRawBufferPointer(start: nil, count: 0)), skipsPuts: false,
          skipsDeletes: false, withPrevious: false))
    }
    weak var group: WatchGroup?
    do {
      var index = WatchIndex()
      index.insert(member)
      group = member.group
      withExtendedLifetime(index) { #expect(group != nil) }
    }
    #expect(group == nil)
  }

  @Test func whatHappensIsSeen() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open()
    let one = SeenWatch(key: bytes("a"), prevKV: true)
    let prefix = SeenWatch(key: bytes("a"), end: bytes("b"))
    let deletes = SeenWatch(key: [0], end: [0], skipsPuts: true)
    let puts = SeenWatch(key: [0], end: [0], prevKV: true, skipsDeletes: true)
    try begin([one, prefix, deletes, puts], on: stream, running)
    _ = try running.put(bytes("a"), bytes("1"))
    _ = try running.put(bytes("a"), bytes("2"))
    _ = try running.put(bytes("ab"), bytes("3"))
    _ = try running.put(bytes("c"), bytes("4"))
    _ = try running.delete(bytes("a"), bytes("ab"))
    #expect(try running.waitForProgress(stream, to: 6))
    #expect(one.events.map(\.kv.modRevision) == [2, 3, 6])
    #expect(one.events.map { $0.prevKV?.value } == [nil, bytes("1"), bytes("2")])
    #expect(one.events.last?.kind == .delete && one.events.last?.kv.value == [])
    #expect(prefix.events.map(\.kv.modRevision) == [2, 3, 4, 6])
    #expect(prefix.events.allSatisfy { $0.prevKV == nil })
    #expect(deletes.events.map(\.kv.modRevision) == [6])
    #expect(puts.events.map(\.kv.modRevision) == [2, 3, 4, 5])
    #expect(one.id == 0 && prefix.id == 1 && deletes.id == 2 && puts.id == 3)
    #expect(stream.requestsTaken == 5, "each request is told as taken")
  }

  /// Starts: 0, the past, the compacted revision, below it, the next, and ahead.
  @Test func startsInPastAndFuture() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    for i in 2...10 { _ = try running.put(bytes("k"), [UInt8(i)]) }
    #expect(try running.compact(5).status == 0)
    let stream = running.sink.streams.open()
    let now = SeenWatch(key: bytes("k"))
    let past = SeenWatch(key: bytes("k"), start: 8, prevKV: true)
    let oldest = SeenWatch(key: bytes("k"), start: 5, prevKV: true)
    let gone = SeenWatch(key: bytes("k"), start: 4)
    let laterGone = SeenWatch(key: bytes("k"), start: 12)
    let next = SeenWatch(key: bytes("k"), start: 11)
    let ahead = SeenWatch(key: bytes("k"), start: 14)
    try begin([now, past, oldest, gone, next, ahead], on: stream, running)
    let box = running.sink.streams
    // Progress is told to all of a stream: not while one of them begins later.
    try running.send(WatchRequestView.progress.encoded(), on: stream)
    for i in 11...12 { _ = try running.put(bytes("k"), [UInt8(i)]) }
    #expect(box.wait { now.events.count == 2 && past.events.count == 5 } && box.locked { stream.progress } == 0)
    for i in 13...15 { _ = try running.put(bytes("k"), [UInt8(i)]) }
    #expect(box.wait { stream.progress >= 13 })
    #expect(box.wait { ahead.events.count == 2 && next.events.count == 5 && gone.isCancelled })
    #expect(try running.waitForProgress(stream, to: 15))
    #expect(now.events.map(\.kv.modRevision) == [11, 12, 13, 14, 15])
    #expect(past.events.map(\.kv.modRevision) == Array(8...15))
    #expect(past.events.map { $0.prevKV?.modRevision } == (7...14).map { $0 })
    #expect(oldest.events.map(\.kv.modRevision) == Array(5...15))
    // What was before the compacted revision can't be read any more.
    #expect(oldest.events.map { $0.prevKV?.modRevision } == [nil] + (5...14).map { $0 })
    #expect(gone.events.isEmpty && gone.lost == [4..<5])
    #expect(next.events.map(\.kv.modRevision) == [11, 12, 13, 14, 15])
    #expect(ahead.events.map(\.kv.modRevision) == [14, 15])
    // What is compacted is not to be had, though it is still in memory.
    #expect(try running.compact(13).status == 0)
    try running.watch(laterGone, on: stream)
    #expect(box.wait { laterGone.isCancelled } && laterGone.lost == [12..<13] && laterGone.events.isEmpty)
    // Told as gone, and its id is free.
    #expect(running.node.watch.figures.watchers.load(ordering: .relaxed) == 5)
  }

  /// What a pair was before the compacted revision is not told, although the hub remembers it.
  @Test func previousPairsAreCompactedToo() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open()
    let here = SeenWatch(key: bytes("k"), prevKV: true)
    try begin([here], on: stream, running)
    for i in 2...6 { _ = try running.put(bytes("k"), [UInt8(i)]) }
    #expect(try running.waitForProgress(stream, to: 6))
    #expect(try running.compact(5).status == 0)
    let later = SeenWatch(key: bytes("k"), start: 5, prevKV: true)
    try begin([later], on: stream, running)
    #expect(running.sink.streams.wait { later.events.count == 2 })
    #expect(later.events.map { $0.prevKV?.value } == [nil, [5]])
    #expect(here.events.map { $0.prevKV?.value } == [nil, [2], [3], [4], [5]])
  }

  @Test func refusals() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open()
    let backwards = SeenWatch(key: bytes("b"), end: bytes("a"))
    let negative = SeenWatch(key: bytes("b"), start: -1)
    let chosen = SeenWatch(key: bytes("b"))
    let twice = SeenWatch(key: bytes("b"))
    try running.watch(backwards, on: stream)
    try running.watch(negative, on: stream)
    for watch in [chosen, twice] {
      running.sink.streams.locked { stream.creating.append(watch) }
      let key = bytes("b")
      let body = key.withUnsafeBytes { key in
        var view = WatchCreateView()
        view.key = key
        view.watchID = 77
        return WatchRequestView.create(view).encoded()
      }
      try running.send(body, on: stream)
    }
    #expect(running.sink.streams.wait { stream.requestsTaken == 4 })
    #expect(backwards.wrong == "mvcc: watcher range is empty")
    #expect(negative.wrong == "etcdserver: mvcc: required revision has been compacted")
    #expect(chosen.id == 77 && chosen.wrong == nil)
    #expect(twice.wrong == "mvcc: duplicate watch ID provided on the WatchStream")
    #expect(throws: StatusError.self) { try running.send([0x0a, 0xff], on: stream) }
    // A request that asks for nothing is stepped over.
    try running.send([], on: stream)
    #expect(running.sink.streams.wait { stream.requestsTaken == 5 })
  }

  @Test func cancelEndsOneWatch() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open()
    let kept = SeenWatch(key: bytes("k"))
    let ended = SeenWatch(key: bytes("k"))
    try begin([kept, ended], on: stream, running)
    _ = try running.put(bytes("k"), [1])
    #expect(running.sink.streams.wait { kept.events.count == 1 && ended.events.count == 1 })
    try running.send(WatchRequestView.cancel(watchID: 99).encoded(), on: stream)
    try running.send(WatchRequestView.cancel(watchID: 1).encoded(), on: stream)
    #expect(running.sink.streams.wait { ended.isCancelled })
    _ = try running.put(bytes("k"), [2])
    #expect(running.sink.streams.wait { kept.events.count == 2 })
    #expect(ended.events.count == 1)
    // The next id goes on; the freed one is not given again.
    let late = SeenWatch(key: bytes("k"))
    try running.watch(late, on: stream)
    #expect(running.sink.streams.wait { late.id == 2 })
    running.node.server.endWatch(stream.face)
    let figures = running.node.watch.figures
    #expect(running.sink.streams.wait { figures.watchers.load(ordering: .relaxed) == 0 })
    #expect(figures.streams.load(ordering: .relaxed) == 0)
  }

  /// One transaction's changes come together, in order, with the pairs that were there before it.
  @Test func aTransactionIsOneResponse() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    _ = try running.put(bytes("a"), bytes("old"))
    let stream = running.sink.streams.open(isSlow: true)
    let watch = SeenWatch(key: [0], end: [0], prevKV: true)
    try running.watch(watch, on: stream)
    let box = running.sink.streams
    #expect(box.wait { stream.waiting.count == 1 })
    _ = try running.delete([0], [0])
    #expect(box.wait { stream.waiting.count == 2 })
    box.read(stream, messages: 2)
    #expect(watch.events.count == 1 && watch.events[0].prevKV?.value == bytes("old"))
  }

  @Test func progressWhenNothingHappens() throws {
    let (running, directory) = try start { $0.watch.progress_ms = 50 }
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open(isSlow: true)
    let key = bytes("k")
    let body = key.withUnsafeBytes { key in
      var view = WatchCreateView()
      view.key = key
      view.progressNotify = true
      return WatchRequestView.create(view).encoded()
    }
    try running.send(body, on: stream)
    let box = running.sink.streams
    #expect(box.wait { stream.waiting.count >= 3 })
    let heard = try box.locked { stream.waiting.map(\.message) }.map {
      try $0.withUnsafeBytes { try WatchResponse($0) }
    }
    #expect(heard[0].created)
    #expect(heard[1...].allSatisfy { $0.isProgress && $0.watchID == 0 && $0.header.revision == 1 })
    // A change of another key moves what is told.
    _ = try running.put(bytes("other"), [1])
    let count = box.locked { stream.waiting.count }
    #expect(box.wait { stream.waiting.count >= count + 2 })
    let last = try #require(box.locked { stream.waiting.last?.message })
    #expect(try last.withUnsafeBytes { try WatchResponse($0) }.header.revision == 2)
  }

  /// A response that is too large is cut within its revision for those who take pieces, and for nobody else.
  @Test func largeResponsesComeInPieces() throws {
    let (running, directory) = try start { $0.watch.fragmentBytes = 1000 }
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    for i in 0..<50 { _ = try running.put([1, UInt8(i)], Bytes(repeating: 7, count: 100)) }
    let stream = running.sink.streams.open(isSlow: true)
    let whole = SeenWatch(key: [0], end: [0], prevKV: true)
    let pieces = SeenWatch(key: [0], end: [0], prevKV: true, fragment: true)
    for watch in [whole, pieces] { try running.watch(watch, on: stream) }
    let box = running.sink.streams
    #expect(box.wait { stream.waiting.count == 2 })
    #expect(try running.delete([0], [0]).deleted == 50)
    #expect(box.wait { stream.waiting.count > 4 })
    #expect(try running.put([1], [2]).header.revision == 53)
    #expect(box.wait { stream.waiting.count >= 12 })
    box.read(stream, messages: .max)
    #expect(box.wait { whole.events.count == 51 || stream.waiting.count > 0 })
    box.read(stream, messages: .max)
    #expect(whole.events.count == 51 && whole.events == pieces.events && pieces.wrong == nil)
  }

  /// What is more than memory is given for is not kept there: watchers get it from the log.
  @Test func changesThatAreNotKeptAreRead() throws {
    let (running, directory) = try start { $0.watch.ringBytes = 4 << 10 }
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open()
    let watch = SeenWatch(key: [0], end: [0], prevKV: true)
    try begin([watch], on: stream, running)
    for i in 0..<40 { _ = try running.put([UInt8(i % 3)], Bytes(repeating: UInt8(i), count: i % 4 == 0 ? 10_000 : 10)) }
    #expect(try running.waitForProgress(stream, to: 41))
    #expect(watch.wrong == nil && watch.events.map(\.kv.modRevision) == (2...41).map { $0 })
    #expect(watch.events.dropFirst(3).allSatisfy { $0.prevKV != nil })
    let figures = running.node.watch.figures
    #expect(figures.gaps.load(ordering: .relaxed) > 0 && figures.logReads.load(ordering: .relaxed) > 0)
  }

  /// Progress is not told before everything up to it has been sent.
  @Test func progressWaitsForThoseWhoLag() throws {
    let (running, directory) = try start {
      $0.watch.streamBytes = 20 << 10
      $0.watch.responseBytes = 4 << 10
    }
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let stream = running.sink.streams.open(isSlow: true)
    let watch = SeenWatch(key: [0], end: [0])
    try running.watch(watch, on: stream)
    let box = running.sink.streams
    #expect(box.wait { stream.waiting.count == 1 })
    for i in 0..<60 { _ = try running.put([1], Bytes(repeating: UInt8(i), count: 2_000)) }
    let figures = running.node.watch.figures
    #expect(box.wait { figures.slowWatchers.load(ordering: .relaxed) == 1 })
    try running.send(WatchRequestView.progress.encoded(), on: stream)
    for _ in 0..<2_000 where box.locked({ stream.progress < 61 }) {
      box.read(stream, messages: 1)
      let isTold = box.locked { stream.progress > 0 }
      #expect(!isTold || watch.events.count == 60, "told of progress with \(watch.events.count) events")
      usleep(1_000)
    }
    #expect(stream.progress == 61 && watch.events.count == 60 && watch.wrong == nil)
  }

  /// The first watcher comes while a commit is under way: it must hear of it, though nothing happens afterwards.
  @Test func noCommitFallsBetweenWhenWatchingBegins() throws {
    let (running, directory) = try start()
    defer { withExtendedLifetime(directory) { running.node.stop() } }
    let box = running.sink.streams
    let figures = running.node.watch.figures
    for i in 0..<1_500 {
      let next = Int64(running.revision) + 1
      let address = try running.propose(put: [1], [UInt8(truncatingIfNeeded: i)])
      usleep(UInt32.random(in: 0..<1_200))
      let stream = box.open()
      let watch = SeenWatch(key: [1], start: next)
      try running.watch(watch, on: stream)
      try #require(box.wait(seconds: 5) { watch.events.count == 1 }, "try \(i): a change was not told")
      try #require(running.sink.wait(for: address)?.status == 0)
      // With the last watcher the hub falls asleep.
      running.node.server.endWatch(stream.face)
      box.close(stream)
      try #require(box.wait { figures.streams.load(ordering: .relaxed) == 0 })
    }
  }
}
