// A member: disks that outlive its processes, its clock, and the process while it runs.

import NeedletailMVCC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

final class SimulatedMember {
  /// A process: Raft over the log and the tree.
  final class Process {
    var raft: Raft
    let log: DurableLog
    var tree: TreeStack
    /// Handed to the log, and not known to be durable yet: oldest first, and more than one only with asynchronous writes.
    /// Without a group where nothing needs to be durable.
    var storing: [(ready: Ready, group: UInt64?)] = []
    /// With asynchronous storage writes: what the log has no room for yet, and what waits to be applied.
    let isAsynchronous: Bool
    var unwritten: [Ready] = []
    var unapplied: [Message] = []
    /// Requests whose clients wait for this process.
    var waiting: Set<UInt64> = []
    /// Reads that may be answered when an index is applied.
    var confirmedReads: [(index: UInt64, id: UInt64)] = []
    /// The deadlines of leases, while it leads.
    var leases: (term: UInt64, table: LeaseTable)?
    /// What failed where it could not be thrown.
    var trouble: (any Error)?
    /// The last snapshot made for others, and when.
    var image: (snapshot: NeedletailRaft.Snapshot, at_ns: Int64)?

    init(_ options: RaftOptions, _ log: DurableLog, _ tree: TreeStack) throws {
      self.log = log
      self.tree = tree
      isAsynchronous = options.asyncStorageWrites
      raft = try Raft(options)
    }

    /// Takes what Raft asks for: always, or when nothing is being written.
    var isIdle: Bool { isAsynchronous || storing.isEmpty }
  }

  /// Why a member does not run.
  enum Condition {
    /// It runs, or will again.
    case sound
    /// Its log is corrupt: what it has promised to others is unknown, so it may never come back.
    case withoutLog
    /// Its tree is corrupt: it comes back with one of another member's.
    case withoutTree
    /// It was removed from the cluster, and is gone.
    case retired
  }

  /// What it said to be durable, and must find again after every crash.
  struct Promise {
    var term: UInt64 = 0
    var vote = Node.none
    var last = EntryID(term: 0, index: 0)
    /// A write under way may have replaced entries from here on.
    var replacedFrom = UInt64.max
    var applied: UInt64 = 0
  }

  let id: NodeID
  /// The first membership, for those who are in it.
  let founders: ConfigState?
  var pages = SimulatedPageStore(capacity: 4 << 20)
  var log = SimulatedLogDevice()
  var process: Process?
  /// Counts processes: what belongs to an earlier one is void.
  var life = 0
  var condition = Condition.sound
  var promise = Promise()
  /// Its disk was damaged since it last came back from that: what it can't read is no surprise.
  var isLogDamaged = false
  var isTreeDamaged = false
  /// Where damage of the log is surely noticed, as of the last process.
  var proven: LogPosition?
  /// Some membership had it; it never will be in another once it is removed.
  var wasMember = false

  /// A clock of its own.
  var tick_ns: Int64 = 10_000_000
  var disk_ns: ClosedRange<Int64> = 100_000...1_000_000
  /// Stopped until then, as by a debugger or a swapping host; nil while it runs.
  var pausedUntil_ns: Int64?
  var missedTicks = 0
  var missedMessages: [Message] = []
  /// Writes that completed while it was stopped.
  var missedCompletions = 0
  /// The next write to the log is the last before the lights go out.
  var losesPowerInWrite = false

  /// `founders`: the first membership, where it is in that.
  init(_ id: NodeID, founders: ConfigState?) {
    self.id = id
    self.founders = founders
    wasMember = founders != nil
  }

  /// It runs and is not stopped.
  var isAwake: Bool { process != nil && pausedUntil_ns == nil }

  /// Starts a process from what the disks hold, and compares that with what it promised.
  func start(_ options: RaftOptions) throws {
    let tree = try TreeStack(pages, founders: founders)
    do {
      let log = try DurableLog(log, applied: tree.applied, members: tree.members)
      try check(log, tree)
      var options = options
      options.storage = log.storage
      options.applied = tree.applied.index
      process = try Process(options, log, tree)
    } catch {
      tree.close()
      throw error
    }
  }

  private func check(_ log: DurableLog, _ tree: TreeStack) throws(Violation) {
    // With its newest meta page gone, a tree may go back to the checkpoint before, if the log still has what follows.
    guard tree.applied.index >= promise.applied || isTreeDamaged else {
      throw Violation("\(id) lost its checkpoint at \(promise.applied), and has one at \(tree.applied.index)")
    }
    let state = log.storage.hardState
    guard state.term > promise.term || (state.term == promise.term && (state.vote == promise.vote || promise.vote == 0))
    else {
      throw Violation("\(id) promised term \(promise.term) and vote \(promise.vote), and has \(state)")
    }
    let last = promise.last
    guard last.index >= log.storage.firstIndex, last.index < promise.replacedFrom else { return }
    guard let term = try? log.storage.term(at: last.index), term == last.term else {
      throw Violation("\(id) lost entry \(last.index) of term \(last.term), which was durable")
    }
  }

  /// What is durable now may be told to others.
  func promise(_ ready: Ready, _ process: Process) {
    let state = process.log.storage.hardState
    if ready.mustSync || !ready.snapshot.isEmpty {
      promise.term = state.term
      promise.vote = state.vote
      let last = process.log.storage.lastIndex
      promise.last = EntryID(term: (try? process.log.storage.term(at: last)) ?? 0, index: last)
    }
    promise.replacedFrom = .max
    promise.applied = process.tree.checkpointed.index
    proven = process.log.proven
  }

  /// The process is gone; with a power cut, so is what the disks had not made durable.
  func stop(powerCut: Bool, _ random: inout SimulatedRandom) {
    life += 1
    pausedUntil_ns = nil
    missedTicks = 0
    missedMessages = []
    missedCompletions = 0
    losesPowerInWrite = false
    if powerCut {
      let survival = random.pick(Array(SimulatedPageStore.Survival.allCases))
      pages = pages.powerCut(survival, using: &random)
      var choices = random.fork()
      let keeps = choices.below(1001)
      let room = log.capacity
      log = log.crashImage { _ in choices.chance(perMille: keeps) }
      log.capacity = room
    } else {
      pages = pages.processCrash()
      log.killProcess()
    }
    if let process { promise.applied = max(promise.applied, process.tree.checkpointed.index) }
    process?.tree.close()
    process = nil
  }
}
