// What the leader knows of one follower's log, and how it sends to it.

package enum ProgressState: Sendable {
  /// At most one append per heartbeat, to find out where the logs agree.
  case probe
  /// Appends are sent before earlier ones are answered.
  case replicate
  /// A snapshot was sent; no appends until it is known to have arrived or failed.
  case snapshot
}

package struct Progress: Equatable, Sendable {
  /// The follower's log equals ours up to here. Never goes back.
  package internal(set) var match: UInt64
  /// The next entry to send. Invariant: `match < next`; all between are under way.
  /// In `.snapshot`: `next == pendingSnapshot + 1`.
  package internal(set) var next: UInt64
  /// The largest commit index under way to the follower.
  package private(set) var sentCommit: UInt64 = 0
  package private(set) var state: ProgressState = .probe
  package internal(set) var pendingSnapshot: UInt64 = 0
  /// Heard of since the last check of the quorum.
  package internal(set) var isRecentlyActive = false
  /// No more appends until a heartbeat is answered: a probe is under way, or the window is full.
  package internal(set) var isFlowPaused = false
  package internal(set) var inflights: Inflights
  package internal(set) var isLearner: Bool

  init(match: UInt64 = 0, next: UInt64, inflights: Inflights, isLearner: Bool, isRecentlyActive: Bool = false) {
    self.match = match
    self.next = next
    self.inflights = inflights
    self.isLearner = isLearner
    self.isRecentlyActive = isRecentlyActive
  }

  /// No append may be sent at all.
  package var isPaused: Bool { state == .snapshot || isFlowPaused }

  private mutating func enter(_ new: ProgressState) {
    isFlowPaused = false
    pendingSnapshot = 0
    state = new
    inflights.reset()
  }

  mutating func becomeProbe() {
    let afterSnapshot = state == .snapshot ? pendingSnapshot + 1 : 0
    enter(.probe)
    next = max(match + 1, afterSnapshot)
    sentCommit = min(sentCommit, next - 1)
  }

  mutating func becomeReplicate() {
    enter(.replicate)
    next = match + 1
  }

  mutating func becomeSnapshot(index: UInt64) {
    enter(.snapshot)
    pendingSnapshot = index
    next = index + 1
    sentCommit = index
  }

  /// An append with so many entries and bytes left for the follower.
  mutating func sent(entries: Int, bytes: UInt64) {
    switch state {
    case .replicate:
      if entries > 0 {
        next += UInt64(entries)
        inflights.add(lastIndex: next - 1, bytes: bytes)
      }
      // With the window full this message was a probe; the next waits for a heartbeat's answer.
      isFlowPaused = inflights.isFull
    case .probe:
      // An empty probe doesn't pause: etcd's sequence has it so.
      if entries > 0 { isFlowPaused = true }
    case .snapshot:
      preconditionFailure("an append to a follower that waits for a snapshot")
    }
  }

  mutating func sent(commit: UInt64) { sentCommit = commit }

  /// Sending `commit` may move the follower's.
  func canRaiseCommit(to commit: UInt64) -> Bool { commit > sentCommit && sentCommit < next - 1 }

  /// The follower acknowledged `index`. False: it is old news.
  mutating func acknowledge(_ index: UInt64) -> Bool {
    if index <= match { return false }
    match = index
    next = max(next, index + 1)
    isFlowPaused = false
    return true
  }

  /// The follower refused an append after `rejected` and suggests that logs agree at `hint`. False: it is old news.
  mutating func refuse(_ rejected: UInt64, hint: UInt64) -> Bool {
    if state == .replicate {
      if rejected <= match { return false }
      next = match + 1
      sentCommit = min(sentCommit, next - 1)
      return true
    }
    // A follower that is probed gets one append at a time: another index is an earlier one's answer.
    if next - 1 != rejected { return false }
    next = max(min(rejected, hint + 1), match + 1)
    sentCommit = min(sentCommit, next - 1)
    isFlowPaused = false
    return true
  }
}
