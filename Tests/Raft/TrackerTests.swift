import Testing

@testable import NeedletailRaft

@Suite struct TrackerTests {
  /// Against a plain list.
  @Test func inflightsAreAWindow() {
    for seed in seeds(50) {
      var random = Random(seed)
      let messagesMax = 1 + random.below(20)
      let bytesMax = UInt64(random.pick([0, 10, 100]))
      var window = Inflights(messagesMax: messagesMax, bytesMax: bytesMax)
      var model: [(index: UInt64, bytes: UInt64)] = []
      var index: UInt64 = 0
      for _ in 0..<500 {
        let isFull =
          model.count >= messagesMax || (bytesMax != 0 && model.reduce(0) { $0 + $1.bytes } >= bytesMax)
        #expect(window.isFull == isFull)
        if !isFull, random.chance(70) {
          index += UInt64(1 + random.below(3))
          let bytes = UInt64(random.below(30))
          window.add(lastIndex: index, bytes: bytes)
          model.append((index, bytes))
        } else {
          let acked = UInt64(random.below(Int(index) + 2))
          window.free(through: acked)
          model.removeAll { $0.index <= acked }
        }
        #expect(window.count == model.count)
        #expect(window.bytes == model.reduce(0) { $0 + $1.bytes })
      }
    }
  }

  private func progress(match: UInt64 = 0, next: UInt64 = 1) -> Progress {
    Progress(match: match, next: next, inflights: Inflights(messagesMax: 2, bytesMax: 0), isLearner: false)
  }

  @Test func matchNeverGoesBack() {
    var one = progress(match: 5, next: 6)
    let news1 = one.acknowledge(3)
    #expect(!news1)
    let news2 = one.acknowledge(5)
    #expect(!news2)
    #expect(one.match == 5)
    let news3 = one.acknowledge(7)
    #expect(news3)
    #expect(one.match == 7 && one.next == 8)
  }

  @Test func staleRefusalsChangeNothing() {
    var one = progress(match: 5, next: 6)
    one.becomeReplicate()
    one.sent(entries: 4, bytes: 4)
    #expect(one.next == 10)
    let refused = one.refuse(5, hint: 3)
    #expect(!refused && one.next == 10)
    let news5 = one.refuse(9, hint: 7)
    #expect(news5)
    #expect(one.next == 6)
    one.becomeProbe()
    let other = one.refuse(9, hint: 0)
    #expect(!other)
    var fresh = progress(match: 0, next: 10)
    let news6 = fresh.refuse(9, hint: 2)
    #expect(news6)
    #expect(fresh.next == 3)
  }

  /// Full windows let nothing through until a heartbeat is answered, or an append.
  @Test func windowPausesAndResumes() {
    var one = progress(match: 5, next: 6)
    one.becomeReplicate()
    one.sent(entries: 1, bytes: 1)
    #expect(!one.isPaused)
    one.sent(entries: 1, bytes: 1)
    #expect(one.isPaused && "\(one)" == "StateReplicate match=5 next=8 paused inactive inflight=2[full]")
    let news4 = one.acknowledge(6)
    #expect(news4)
    one.inflights.free(through: 6)
    #expect(!one.isPaused)
  }

  @Test func probesPauseOnceEntriesWereSent() {
    var one = progress()
    one.sent(entries: 0, bytes: 0)
    #expect(!one.isPaused)
    one.sent(entries: 1, bytes: 1)
    #expect(one.isPaused && one.next == 1)
  }

  @Test func snapshotsSetWhereToGoOn() {
    var one = progress(match: 1, next: 2)
    one.becomeSnapshot(index: 10)
    #expect(one.isPaused && one.next == 11 && one.pendingSnapshot == 10)
    one.becomeProbe()
    #expect(one.next == 11 && one.state == .probe)
    one.becomeSnapshot(index: 20)
    one.pendingSnapshot = 0
    one.becomeProbe()
    #expect(one.next == 2)
  }

  /// Commit indexes travel until the follower has been told all it could use.
  @Test func commitsAreToldOnce() {
    var one = progress(match: 5, next: 6)
    one.becomeReplicate()
    #expect(one.canRaiseCommit(to: 4))
    one.sent(commit: 4)
    #expect(!one.canRaiseCommit(to: 4))
    #expect(one.canRaiseCommit(to: 9))
    one.sent(commit: 9)
    #expect(!one.canRaiseCommit(to: 10))
  }

  /// The first vote counts; learners and strangers don't.
  @Test func votesAreCountedOnce() throws {
    var tracker = Tracker(inflightMessagesMax: 1, inflightBytesMax: 0)
    let state = ConfigState(voters: [1, 2, 3], learners: [4])
    tracker.adopt(try Changer.restore(state, inflightsOf: tracker, lastIndex: 1))
    tracker.recordVote(1, granted: true)
    tracker.recordVote(1, granted: true)
    tracker.recordVote(4, granted: true)
    tracker.recordVote(9, granted: true)
    #expect(tracker.tally() == (1, 0, .pending))
    tracker.recordVote(2, granted: false)
    tracker.recordVote(2, granted: true)
    #expect(tracker.tally() == (1, 1, .pending))
    tracker.recordVote(3, granted: true)
    #expect(tracker.tally() == (2, 1, .won))
  }
}
