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
    /// Handed to the log, and not known to be durable yet.
    var storing: (ready: Ready, group: UInt64)?
    /// Requests whose clients wait for this process.
    var waiting: Set<UInt64> = []
    /// Reads that may be answered when an index is applied.
    var confirmedReads: [(index: UInt64, id: UInt64)] = []
    var hasCompacted = false

    init(_ options: RaftOptions, _ log: DurableLog, _ tree: TreeStack) throws {
      self.log = log
      self.tree = tree
      raft = try Raft(options)
    }
  }

  let id: NodeID
  var pages = SimulatedPageStore(capacity: 4 << 20)
  var log = SimulatedLogDevice()
  var process: Process?
  /// Counts processes: what belongs to an earlier one is void.
  var life = 0

  /// A clock of its own.
  var tick_ns: Int64 = 10_000_000
  var disk_ns: ClosedRange<Int64> = 100_000...1_000_000
  /// Stopped until then, as by a debugger or a swapping host; nil while it runs.
  var pausedUntil_ns: Int64?
  var missedTicks = 0
  /// The next write to the log is the last before the lights go out.
  var losesPowerInWrite = false
  var missedMessages: [Message] = []

  init(_ id: NodeID) { self.id = id }

  /// Starts a process from what the disks hold.
  func start(_ options: RaftOptions, members: ConfigState) throws {
    let tree = try TreeStack(pages)
    do {
      let log = try DurableLog(log, applied: tree.applied, members: members)
      var options = options
      options.storage = log.storage
      options.applied = tree.applied.index
      process = try Process(options, log, tree)
    } catch {
      tree.close()
      throw error
    }
  }

  /// The process is gone; with a power cut, so is what the disks had not made durable.
  func stop(powerCut: Bool, _ random: inout SimulatedRandom) {
    life += 1
    pausedUntil_ns = nil
    missedTicks = 0
    missedMessages = []
    losesPowerInWrite = false
    if powerCut {
      let survival = random.pick(Array(SimulatedPageStore.Survival.allCases))
      pages = pages.powerCut(survival, using: &random)
      var choices = random.fork()
      let keeps = choices.below(1001)
      log = log.crashImage { _ in choices.chance(perMille: keeps) }
    } else {
      pages = pages.processCrash()
      log.killProcess()
    }
    process?.tree.close()
    process = nil
  }
}
