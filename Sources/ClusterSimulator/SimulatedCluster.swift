// A whole cluster in one thread: real Raft, real log, real engine and store, on simulated disks, network and time. A seed
// decides everything that happens, so that a run can be had again.
//
// Safety is looked at in every step (`ClusterInvariants`), liveness when all faults are healed at the end, and what the
// clients saw is a history for the linearizability checker.

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
    case resume(NodeID, life: Int)
    case restart(NodeID, life: Int)
    case turn(client: Int)
    case timeout(client: Int, id: UInt64)
    case fault
    case heal
  }

  package let seed: UInt64
  var random: SimulatedRandom
  var queue = EventQueue<Event>()
  var network: SimulatedNetwork
  var members: [SimulatedMember]
  let membership: ConfigState
  let options: RaftOptions
  var clients: [SimulatedClient]
  var history = ClusterHistory()
  var invariants = ClusterInvariants()
  package internal(set) var faults = FaultCounts()
  package private(set) var hash = TraceHash()
  /// Events so far.
  package private(set) var steps = 0
  /// Whether faults go on.
  var isHostile = true
  /// Trees that snapshots on their way name.
  var images: [SimulatedPageStore] = []
  /// The greatest revision that a client was told.
  var revision: Int64 = 1
  /// What happened, in words, for a seed that is looked at.
  package var trace: ((String) -> Void)?

  package init(seed: UInt64) {
    self.seed = seed
    random = SimulatedRandom(seed)
    let count = random.pick([1, 3, 3, 3, 5])
    members = (1...NodeID(count)).map { SimulatedMember($0) }
    membership = ConfigState(voters: members.map(\.id))
    network = SimulatedNetwork(members: count + 1, random: random.fork())
    clients = (0..<(3 + random.below(4))).map { SimulatedClient($0) }
    var options = RaftOptions(id: 1, storage: MemoryStorage())
    options.electionTicks = 10
    options.preVote = random.chance(perMille: 500)
    options.checkQuorum = random.chance(perMille: 500)
    if random.chance(perMille: 500) {
      options.messageSizeMax = 256
      options.inflightMessagesMax = 4
    }
    self.options = options
  }

  var now_ns: Int64 { queue.now_ns }

  func member(_ id: NodeID) -> SimulatedMember { members[Int(id) - 1] }

  func note(_ words: @autoclosure () -> String) {
    guard let trace else { return }
    let milliseconds = now_ns / 1_000_000
    trace("\(milliseconds).\(now_ns / 1000 % 1000) ms  \(words())")
  }

  // MARK: Running

  /// Runs for `duration_ns` with faults, then heals all and waits for the cluster to come back.
  package func run(duration_ns: Int64) throws -> String {
    for member in members { start(member) }
    for client in clients.indices { queue.add(.turn(client: client), after: random.between(0...5_000_000)) }
    queue.add(.fault, after: random.between(50_000_000...300_000_000))
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
    case .resume(let id, let life): try resume(member(id), life)
    case .restart(let id, let life):
      if member(id).life == life, member(id).process == nil { start(member(id)) }
    case .turn(let client): try turn(client)
    case .timeout(let client, let id): timeout(client, id)
    case .fault: if isHostile { try injectFault() }
    case .heal:
      network.heal()
      faults[.heal] += 1
      note("the network heals")
    }
  }

  func record(fault member: NodeID) { hash.add(member) }

  // MARK: Processes

  func start(_ member: SimulatedMember) {
    member.life += 1
    var options = options
    options.id = member.id
    options.electionSeed = random.next()
    do {
      try member.start(options, members: membership)
      if let process = member.process { takeImage(member, process) }
      hash.add(UInt64(member.id) << 32 | UInt64(member.process?.tree.applied.index ?? 0))
      if member.process?.log.wal.recovery.torn != nil { faults[.tornTail] += 1 }
      faults[.restart] += 1
      note("\(member.id) starts at \(member.process?.tree.applied ?? LogMark())")
      queue.add(.tick(member.id, life: member.life), after: member.tick_ns)
    } catch {
      failedStart = failedStart ?? Violation("\(member.id) can't start: \(error)")
      note("\(member.id) can't start: \(error)")
      // A device that fails while a process starts is a fault like another; what it left must open next time.
      if isDeviceFault(error) { failedStart = nil }
      stop(member, powerCut: false, restarts: true)
    }
  }

  /// A start that failed for no fault that was injected: the run ends with it.
  var failedStart: Violation?

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
    member.stop(powerCut: powerCut, &random)
    faults[powerCut ? .powerCut : .kill] += 1
    if restarts {
      queue.add(.restart(member.id, life: member.life), after: random.between(5_000_000...400_000_000))
    }
  }

  /// Runs a part of a process; what fails in it for its devices' sake ends the process, as in a server.
  func guarded(_ member: SimulatedMember, _ body: (SimulatedMember.Process) throws -> Void) throws {
    if let failedStart { throw failedStart }
    guard let process = member.process else { return }
    do { try body(process) } catch  where isDeviceFault(error) {
      note("\(member.id) stops: \(error)")
      stop(member, powerCut: random.chance(perMille: 300), restarts: true)
    }
  }

  private func tick(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life else { return }
    queue.add(.tick(member.id, life: life), after: member.tick_ns)
    if member.pausedUntil_ns != nil {
      member.missedTicks += 1
      return
    }
    try guarded(member) { process in
      process.raft.tick()
      try work(member, process)
    }
  }

  /// After a pause: the ticks that were missed come first, then what arrived.
  private func resume(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life, member.pausedUntil_ns != nil else { return }
    member.pausedUntil_ns = nil
    let messages = member.missedMessages
    let ticks = member.missedTicks
    member.missedMessages = []
    member.missedTicks = 0
    try guarded(member) { process in
      for _ in 0..<ticks { process.raft.tick() }
      try work(member, process)
    }
    for message in messages { try deliver(message) }
  }

  // MARK: Messages

  func send(_ message: Message) throws {
    try invariants.check(sent: message)
    guard message.to != message.from else { return }
    // A stream gives its receiver nothing twice; a proposal given twice would be two.
    let isIdempotent = message.type != .propose
    let delays = network.send(
      from: Int(message.from), to: Int(message.to), now_ns: now_ns, mayRepeat: isIdempotent)
    for delay in delays { queue.add(.deliver(message), after: delay) }
    if delays.isEmpty, message.type == .snapshot {
      member(message.from).process?.raft.reportSnapshot(message.to, isSent: false)
    }
  }

  private func deliver(_ message: Message) throws {
    let member = member(message.to)
    hash.add(UInt64(message.type.rawValue) << 56 | message.from << 48 | message.to << 40 | message.index)
    hash.add(message.term)
    if member.pausedUntil_ns != nil { return member.missedMessages.append(message) }
    if message.type == .snapshot {
      self.member(message.from).process?.raft.reportSnapshot(message.to, isSent: member.process != nil)
    }
    try guarded(member) { process in
      do { try process.raft.step(message) } catch RaftError.proposalDropped {
      } catch RaftError.readDropped {
      } catch RaftError.unknownPeer {}
      try work(member, process)
    }
  }

  // MARK: Work

  /// All that Raft asks for, until it has nothing more or the disk is waited for.
  func work(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    while process.storing == nil, process.raft.hasReady {
      let ready = try process.raft.ready()
      if ready.softState?.role == .leader {
        note("\(member.id) leads term \(process.raft.term)")
        try invariants.check(leader: member.id, term: process.raft.term)
      }
      if !ready.snapshot.isEmpty { try install(ready.snapshot, member, process) }
      guard let group = try process.log.begin(ready) else {
        try finish(ready, member, process)
        continue
      }
      process.storing = (ready, group)
      // A batch of several sectors, which can tear.
      if member.losesPowerInWrite, ready.entries.contains(where: { $0.data.count > 600 }) {
        return stop(member, powerCut: true, restarts: true)
      }
      queue.add(.stored(member.id, life: member.life), after: random.between(member.disk_ns))
    }
  }

  private func stored(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life else { return }
    try guarded(member) { process in
      guard let (ready, group) = process.storing else { return }
      try process.log.settle(group)
      process.storing = nil
      try finish(ready, member, process)
      try work(member, process)
    }
  }

  /// What waited for the batch to be durable.
  private func finish(_ ready: Ready, _ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    try process.log.finish(ready)
    for message in ready.messages { try send(message) }
    try apply(ready.committedEntries, member, process)
    try process.raft.advance()
    for read in ready.readStates {
      let id = read.context.reduce(0) { $0 << 8 | UInt64($1) }
      if process.waiting.contains(id) { process.confirmedReads.append((read.index, id)) }
    }
    try answerReads(process)
    if process.tree.applied.index > process.log.storage.firstIndex + 60 { try checkpoint(member, process) }
  }

  private func apply(
    _ entries: [Entry], _ member: SimulatedMember, _ process: SimulatedMember.Process
  ) throws {
    guard let first = entries.first else { return }
    for entry in entries where try invariants.check(committed: entry, at: member.id) { try checkQuorum(entry) }
    guard first.index == process.tree.applied.index + 1 else {
      throw Violation("\(member.id) applies \(first.index) after \(process.tree.applied.index)")
    }
    for outcome in try process.tree.apply(entries) {
      var digest = TraceHash()
      switch outcome.answer {
      case .success(let body): digest.add(body)
      case .failure(let error): digest.add(error.message)
      }
      try invariants.check(outcome: digest.value, of: outcome.index, at: member.id)
      hash.add(digest.value)
      if process.waiting.remove(outcome.id) != nil { try answer(outcome.id, outcome.answer) }
    }
    if random.chance(perMille: 200) { try process.tree.removeCompacted(rowsMax: 1 + random.below(20)) }
  }

  /// What becomes known to be committed is in the durable logs of a majority; of a member that is down, it may be.
  private func checkQuorum(_ entry: Entry) throws {
    let holders = members.filter { member in
      guard let storage = member.process?.log.storage else { return true }
      return entry.index < storage.firstIndex || (try? storage.term(at: entry.index)) == entry.term
    }
    guard 2 * holders.count > members.count else {
      throw Violation("entry \(entry.index) of term \(entry.term) is committed, and \(holders.map(\.id)) hold it")
    }
  }

  private func answerReads(_ process: SimulatedMember.Process) throws {
    let due = process.confirmedReads.filter { $0.index <= process.tree.applied.index }
    process.confirmedReads.removeAll { $0.index <= process.tree.applied.index }
    for (_, id) in due where process.waiting.remove(id) != nil {
      let client = clients[Int(id & 0xFF)]
      guard client.id == id, case .range(let key, let end, let revision) = client.request else { continue }
      try answer(id, process.tree.range(key, end: end, revision: revision))
    }
  }

  // MARK: Checkpoints and snapshots

  /// The tree becomes durable, and most of the log before it is forgotten.
  private func checkpoint(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    try process.tree.database.checkpoint()
    takeImage(member, process)
    let applied = process.tree.applied.index
    try process.log.forget(through: applied - min(20, applied))
  }

  /// A copy of the tree, as of its last checkpoint, for followers that need it.
  private func takeImage(_ member: SimulatedMember, _ process: SimulatedMember.Process) {
    images.append(member.pages.processCrash())
    let applied = process.tree.applied
    process.log.snapshot = NeedletailRaft.Snapshot(
      index: applied.index, term: applied.term, members: membership, data: [UInt8](number: UInt64(images.count - 1)))
  }

  /// The tree of another member takes the place of this one's.
  private func install(
    _ snapshot: NeedletailRaft.Snapshot, _ member: SimulatedMember, _ process: SimulatedMember.Process
  ) throws {
    let number = Int(snapshot.data.reduce(0) { $0 << 8 | UInt64($1) })
    guard images.indices.contains(number) else { throw Violation("a snapshot that nobody made") }
    note("\(member.id) installs a snapshot at \(snapshot.index)")
    faults[.snapshotInstalled] += 1
    let pages = images[number].processCrash()
    // Written and synced under another name before it takes the old one's.
    try pages.sync()
    process.tree.close()
    member.pages = pages
    process.tree = try TreeStack(pages)
    guard process.tree.applied == LogMark(index: snapshot.index, term: snapshot.term) else {
      throw Violation("\(member.id) installed a tree at \(process.tree.applied) for one at \(snapshot.index)")
    }
  }
}

extension [UInt8] {
  /// Eight bytes, the greatest first.
  init(number: UInt64) { self = (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * UInt64($0))) } }
}
