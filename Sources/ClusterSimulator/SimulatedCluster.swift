// A whole cluster in one thread: real Raft, real log, real engine and store, on simulated disks, network and time. A seed
// decides everything that happens, so that a run can be had again.
//
// Safety is looked at in every step (`ClusterInvariants`), liveness when all faults are healed at the end, and what the
// clients saw is a history for the linearizability checker. This file has the machine room: events and processes.
// `+Work` is what members do, `+Clients` what clients do, `+Faults` and `+Damage` what goes wrong, `+Members` what an
// operator does about the membership.

import NeedletailBackend
import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

package final class SimulatedCluster {
  enum Event {
    case tick(NodeID, life: Int)
    case deliver(Message)
    case stored(NodeID, life: Int)
    case apply(NodeID, life: Int)
    case resume(NodeID, life: Int)
    case restart(NodeID, life: Int)
    case turn(client: Int)
    case timeout(client: Int, id: UInt64)
    case fault(Int)
    case heal
    case room(NodeID)
    case operate
    case retire(NodeID)
    case watch(Int)
  }

  /// Machines that there may be in all, those that are gone included.
  static let membersMax = 24

  package let seed: UInt64
  let settings: ClusterSettings
  var random: SimulatedRandom
  var queue = EventQueue<Event>()
  var network: SimulatedNetwork
  var members: [SimulatedMember]
  let options: RaftOptions
  /// How many processes in a thousand store asynchronously. Drawn apart, so that it shifts nothing else.
  let asynchronousPerMille: Int
  var storageModes: SimulatedRandom
  var clients: [SimulatedClient]
  var watchers: [SimulatedWatcher]
  var history = ClusterHistory()
  var oracle = StoreOracle()
  /// Leases that there may be.
  var leases: [Int64] = []
  var invariants: ClusterInvariants
  package internal(set) var faults = FaultCounts()
  package internal(set) var hash = TraceHash()
  /// Events so far.
  package private(set) var steps = 0
  /// Whether faults go on.
  var isHostile = true
  /// Faults so far, those that were left out included.
  package internal(set) var faultsSeen = 0
  /// Trees that snapshots on their way name, by number.
  var images: [UInt64: (pages: SimulatedPageStore, at_ns: Int64)] = [:]
  var imagesMade: UInt64 = 0
  /// The greatest revision that a client was told.
  var revision: Int64 = 1
  /// A start that failed for no fault that was injected: the run ends with it.
  var failedStart: Violation?
  /// What happened, in words, for a seed that is looked at.
  package var trace: ((String) -> Void)?

  package init(seed: UInt64, settings: ClusterSettings = ClusterSettings()) {
    self.seed = seed
    self.settings = settings
    random = SimulatedRandom(seed)
    let count = settings.clocks == .unbounded ? 3 : random.pick([1, 3, 3, 3, 5])
    let founders = ConfigState(voters: (1...NodeID(count)).map { $0 })
    members = founders.voters.map { SimulatedMember($0, founders: founders) }
    invariants = ClusterInvariants(founders)
    network = SimulatedNetwork(members: SimulatedCluster.membersMax + 1, random: random.fork())
    clients = (0..<(3 + random.below(4))).map { SimulatedClient($0) }
    watchers = [
      SimulatedWatcher(number: 0, key: nil, position: 1),
      SimulatedWatcher(number: 1, key: random.chance(perMille: 500) ? Array("k1".utf8) : nil, position: 1),
    ]
    var options = RaftOptions(id: 1, storage: MemoryStorage())
    options.electionTicks = 10
    options.preVote = random.chance(perMille: 500)
    options.checkQuorum = random.chance(perMille: 500)
    options.stepDownOnRemoval = random.chance(perMille: 500)
    if random.chance(perMille: 500) {
      options.messageSizeMax = 256
      options.inflightMessagesMax = 4
    }
    if random.chance(perMille: 300) { options.uncommittedSizeMax = 3000 }
    if options.checkQuorum, random.chance(perMille: 600) { options.readMode = .leaseBased }
    if settings.clocks == .unbounded {
      options.checkQuorum = true
      options.readMode = .leaseBased
    }
    self.options = options
    storageModes = SimulatedRandom(seed &* 0xA24B_AED4_963E_E407 &+ 5)
    asynchronousPerMille = storageModes.pick([0, 0, 500, 1000])
  }

  var now_ns: Int64 { queue.now_ns }

  func member(_ id: NodeID) -> SimulatedMember { members[Int(id) - 1] }

  func note(_ words: @autoclosure () -> String) {
    guard let trace else { return }
    let microseconds = String(now_ns / 1000 % 1000)
    let padding = String(repeating: "0", count: 3 - microseconds.utf8.count)
    trace("\(now_ns / 1_000_000).\(padding)\(microseconds) ms  \(words())")
  }

  // MARK: Running

  /// Runs with faults for as long as the settings say, then heals all and waits for the cluster to come back.
  package func run() throws -> String {
    let duration_ns = Int64(settings.seconds * 1e9)
    for member in members { start(member) }
    for client in clients.indices where settings.clients?.contains(client) ?? true {
      queue.add(.turn(client: client), after: random.between(0...5_000_000))
    }
    for watcher in watchers.indices { queue.add(.watch(watcher), after: random.between(0...50_000_000)) }
    queue.add(.fault(0), after: 100_000_000)
    queue.add(.operate, after: SimulatedCluster.rounds_ns)
    while now_ns < duration_ns { try step() }
    try comeBack()
    try checkDisks()
    return history.text
  }

  func step() throws {
    guard let event = queue.next() else { throw Violation("nothing is left to happen") }
    steps += 1
    hash.add(UInt64(bitPattern: now_ns))
    switch event {
    case .tick(let id, let life): try tick(member(id), life)
    case .deliver(let message): try deliver(message)
    case .stored(let id, let life): try stored(member(id), life)
    case .apply(let id, let life): try applyNext(member(id), life)
    case .resume(let id, let life): try resume(member(id), life)
    case .restart(let id, let life): restart(member(id), life)
    case .turn(let client): try turn(client)
    case .timeout(let client, let id): timeout(client, id)
    case .fault(let number): if isHostile { try injectFault(number) }
    case .heal:
      network.heal()
      faults[.heal] += 1
      note("the network heals")
    case .room(let id): makeRoom(member(id))
    case .operate: try operate()
    case .retire(let id): retire(member(id))
    case .watch(let watcher): try watch(watcher)
    }
  }

  // MARK: Processes

  func start(_ member: SimulatedMember) {
    member.life += 1
    var options = options
    options.id = member.id
    options.electionSeed = random.next()
    options.asyncStorageWrites = storesAsynchronously()
    do {
      try member.start(options)
      if let process = member.process {
        process.log.makeSnapshot = { [unowned self, unowned member] () throws(StorageError) in
          try snapshot(of: member)
        }
      }
      hash.add(UInt64(member.id) << 32 | UInt64(member.process?.tree.applied.index ?? 0))
      if member.process?.log.wal.recovery.torn != nil { faults[.tornTail] += 1 }
      faults[.restart] += 1
      if options.asyncStorageWrites { faults[.asynchronousStorage] += 1 }
      note("\(member.id) starts at \(member.process?.tree.applied ?? LogMark())")
      queue.add(.tick(member.id, life: member.life), after: member.tick_ns)
    } catch {
      fail(member, starting: error)
    }
  }

  private func fail(_ member: SimulatedMember, starting error: any Error) {
    note("\(member.id) can't start: \(error)")
    // A device that fails while a process starts is a fault like another; what it left must open next time.
    if isDeviceFault(error) { return stop(member, powerCut: false, restarts: true) }
    if notice(error, at: member) { return }
    failedStart = failedStart ?? Violation("\(member.id) can't start: \(error)")
    stop(member, powerCut: false, restarts: false)
  }

  private func restart(_ member: SimulatedMember, _ life: Int) {
    guard member.life == life, member.process == nil else { return }
    switch member.condition {
    case .sound: start(member)
    case .withoutTree: replaceTree(of: member)
    case .withoutLog, .retired: break
    }
  }

  func isDeviceFault(_ error: any Error) -> Bool {
    switch error {
    case WALError.system, WALError.shortWrite, WALError.noSpace: true
    case DatabaseError.io, DatabaseError.noSpace, DatabaseError.latched: true
    case MVCCError.storage(let inner): isDeviceFault(inner)
    default: false
    }
  }

  func stop(_ member: SimulatedMember, powerCut: Bool, restarts: Bool) {
    note("\(member.id) \(powerCut ? "loses power" : "is killed")")
    for (ready, _) in member.process?.storing ?? [] {
      let first = ready.snapshot.isEmpty ? ready.entries.first?.index ?? .max : 0
      member.promise.replacedFrom = min(member.promise.replacedFrom, first)
    }
    member.stop(powerCut: powerCut, &random)
    faults[powerCut ? .powerCut : .kill] += 1
    guard restarts, member.condition != .retired else { return }
    queue.add(.restart(member.id, life: member.life), after: random.between(5_000_000...400_000_000))
  }

  /// Runs a part of a process; what fails in it for its devices' sake ends the process, as in a server.
  func guarded(_ member: SimulatedMember, _ body: (SimulatedMember.Process) throws -> Void) throws {
    if let failedStart { throw failedStart }
    guard let process = member.process else { return }
    do {
      try body(process)
      if let trouble = process.trouble { throw trouble }
    } catch  where isDeviceFault(error) {
      note("\(member.id) stops: \(error)")
      stop(member, powerCut: random.chance(perMille: 300), restarts: true)
    } catch  where isDamage(error) {
      note("\(member.id) stops: \(error)")
      guard notice(error, at: member) else { throw Violation("\(member.id) found damage nobody did: \(error)") }
    }
  }

  /// Clocks without a bound are as bad as can be: a leader's is slow, all others' are fast.
  private func pace_ns(_ member: SimulatedMember) -> Int64 {
    guard settings.clocks == .unbounded, isHostile else { return member.tick_ns }
    return member.process?.raft.role == .leader ? 24_000_000 : 4_000_000
  }

  private func tick(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life else { return }
    queue.add(.tick(member.id, life: life), after: pace_ns(member))
    if member.pausedUntil_ns != nil {
      member.missedTicks += 1
      return
    }
    try guarded(member) { process in
      process.raft.tick()
      try keepLeases(member, process)
      try work(member, process)
    }
  }

  /// The pause is over: what was missed is made up for, time first.
  private func resume(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life, member.pausedUntil_ns != nil else { return }
    member.pausedUntil_ns = nil
    let messages = member.missedMessages
    let ticks = member.missedTicks
    member.missedMessages = []
    member.missedTicks = 0
    try guarded(member) { process in
      process.raft.tick(missed: ticks)
      try work(member, process)
    }
    let completions = member.missedCompletions
    member.missedCompletions = 0
    for _ in 0..<completions { try stored(member, life) }
    for message in messages { try deliver(message) }
  }
}
