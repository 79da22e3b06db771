// What members do: messages, the log, the tree, snapshots.

import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

extension SimulatedCluster {
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

  func deliver(_ message: Message) throws {
    let member = member(message.to)
    hash.add(UInt64(message.type.rawValue) << 56 | message.from << 48 | message.to << 40 | message.index)
    hash.add(message.term)
    if member.pausedUntil_ns != nil { return member.missedMessages.append(message) }
    if message.type == .snapshot {
      let isThere = message.snapshot.map { images[$0.data.number] != nil } ?? false
      self.member(message.from).process?.raft.reportSnapshot(message.to, isSent: isThere && member.process != nil)
      guard isThere else { return }
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
    while member.process === process, process.isIdle, process.raft.hasReady {
      let ready = try process.raft.ready()
      if ready.softState?.role == .leader {
        note("\(member.id) leads term \(process.raft.term)")
        try invariants.check(leader: member.id, term: process.raft.term)
      }
      if process.isAsynchronous {
        try hand(ready, member, process)
        continue
      }
      if !ready.snapshot.isEmpty { try install(ready.snapshot, member, process) }
      guard let group = try process.log.begin(ready) else {
        try finish(ready, member, process)
        continue
      }
      process.storing = [(ready, group)]
      if losesPower(member, writing: ready) { return stop(member, powerCut: true, restarts: true) }
      queue.add(.stored(member.id, life: member.life), after: random.between(member.disk_ns))
    }
  }

  /// In a batch of several sectors, which can tear.
  func losesPower(_ member: SimulatedMember, writing ready: Ready) -> Bool {
    member.losesPowerInWrite && ready.entries.contains { $0.data.count > 600 }
  }

  func stored(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life else { return }
    if member.pausedUntil_ns != nil {
      member.missedCompletions += 1
      return
    }
    try guarded(member) { process in
      if process.isAsynchronous {
        try written(member, process)
      } else if let (ready, group) = process.storing.popLast() {
        if let group { try process.log.settle(group) }
        try finish(ready, member, process)
      }
      try work(member, process)
    }
  }

  /// What waited for the batch to be durable.
  private func finish(_ ready: Ready, _ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    try process.log.finish(ready)
    member.promise(ready, process)
    for message in ready.messages { try send(message) }
    try apply(ready.committedEntries, member, process)
    try process.raft.advance()
    confirm(ready.readStates, process)
    try settle(member, process)
  }

  /// Reads may be answered once the index that belongs to them is applied.
  func confirm(_ reads: [ReadState], _ process: SimulatedMember.Process) {
    for read in reads where process.waiting.contains(read.context.number) {
      if options.readMode == .leaseBased, process.raft.holdsLease { faults[.leasedRead] += 1 }
      process.confirmedReads.append((read.index, read.context.number))
    }
  }

  /// Entries were applied.
  func settle(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    guard process.raft.isRestoring || ConfigState(process.raft.config) == process.tree.members else {
      throw Violation("\(member.id) goes by \(process.raft.config), and has applied \(process.tree.members)")
    }
    try answerReads(member, process)
    if process.tree.applied.index > process.log.storage.firstIndex + 60 { try checkpoint(process) }
  }

  func apply(
    _ entries: [Entry], _ member: SimulatedMember, _ process: SimulatedMember.Process
  ) throws {
    guard let first = entries.first else { return }
    for entry in entries where try invariants.check(committed: entry, at: member.id) {
      try invariants.check(holders: { [self] in mayHold($0, entry) }, of: entry)
    }
    guard first.index == process.tree.applied.index + 1 else {
      throw Violation("\(member.id) applies \(first.index) after \(process.tree.applied.index)")
    }
    let outcomes = try process.tree.apply(entries) { entry in
      guard let change = try ConfigChange.decode(entry) else { return nil }
      do {
        let state = try process.raft.apply(change)
        try joined(state, from: entry, at: member)
        return state
      } catch RaftError.badConfigChange { return nil }
    }
    for outcome in outcomes {
      var digest = TraceHash()
      switch outcome.answer {
      case .success(let body): digest.add(body)
      case .failure(let error): digest.add(error.message)
      }
      try invariants.check(outcome: digest.value, of: outcome.index, at: member.id)
      try oracle.apply(outcome.command, at: outcome.index, answer: outcome.answer)
      hash.add(digest.value)
      note(outcome.command, (try? outcome.answer.get()) != nil, member, process)
    }
    if process.tree.changes != nil || process.tree.hasLostChanges { try give(process.tree.changes, of: member) }
    for outcome in outcomes where process.waiting.remove(outcome.command.id) != nil {
      try answer(outcome.command.id, outcome.answer)
    }
    if random.chance(perMille: 200) { try process.tree.removeCompacted(rowsMax: 1 + random.below(20)) }
  }

  /// Whether the member has the entry on disk; of one that is down, it may.
  private func mayHold(_ id: NodeID, _ entry: Entry) -> Bool {
    guard let storage = member(id).process?.log.storage else { return true }
    return entry.index < storage.firstIndex || (try? storage.term(at: entry.index)) == entry.term
  }

  func answerReads(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    let due = process.confirmedReads.filter { $0.index <= process.tree.applied.index }
    process.confirmedReads.removeAll { $0.index <= process.tree.applied.index }
    for (_, id) in due where process.waiting.remove(id) != nil {
      let client = clients[Int(id & 0xFF)]
      guard client.id == id else { continue }
      switch client.request {
      case .command: break
      case .range(let key, let end, let revision):
        try answer(id, try process.tree.range(key, end: end, revision: revision))
      case .leaseKeys(let lease): try answer(id, .success(try process.tree.leaseKeys(lease)))
      case .keepAlive(let lease):
        guard let ttl = renew(lease, member, process) else {
          refuse(id)
          continue
        }
        var renewed = LeaseResponse()
        renewed.ttl = ttl
        try answer(id, .success(renewed.encoded()))
      }
    }
  }

  // MARK: Checkpoints and snapshots

  /// The tree becomes durable, and most of the log before it is forgotten.
  private func checkpoint(_ process: SimulatedMember.Process) throws {
    try process.tree.checkpoint()
    let applied = process.tree.applied.index
    try process.log.forget(through: applied - min(20, applied))
  }

  /// A copy of a member's tree for a follower, made when it is asked for. What can't be thrown from here ends the process
  /// a little later.
  func snapshot(of member: SimulatedMember) throws(StorageError) -> NeedletailRaft.Snapshot {
    guard let process = member.process, process.trouble == nil else { throw .snapshotTemporarilyUnavailable }
    let tree = process.tree
    if let last = process.image, now_ns - last.at_ns < 50_000_000, last.snapshot.members == tree.members,
      last.snapshot.index + 1 >= process.log.storage.firstIndex
    {
      return last.snapshot
    }
    do {
      // Whoever sends pages looks at them first.
      try tree.verify()
      try tree.checkpoint()
    } catch {
      process.trouble = error
      throw .snapshotTemporarilyUnavailable
    }
    for (number, image) in images where now_ns - image.at_ns > 5_000_000_000 { images[number] = nil }
    imagesMade += 1
    images[imagesMade] = (member.pages.processCrash(), now_ns)
    let snapshot = NeedletailRaft.Snapshot(
      index: tree.applied.index, term: tree.applied.term, members: tree.members, data: [UInt8](number: imagesMade))
    process.image = (snapshot, now_ns)
    return snapshot
  }

  /// The tree of another member takes the place of this one's.
  func install(
    _ snapshot: NeedletailRaft.Snapshot, _ member: SimulatedMember, _ process: SimulatedMember.Process
  ) throws {
    guard let image = images[snapshot.data.number] else { throw Violation("a snapshot that nobody made") }
    note("\(member.id) installs a snapshot at \(snapshot.index)")
    faults[.snapshotInstalled] += 1
    let pages = image.pages.processCrash()
    // Written and synced under another name before it takes the old one's.
    try pages.sync()
    process.tree.close()
    member.pages = pages
    member.isTreeDamaged = false
    process.tree = try TreeStack(pages, founders: member.founders)
    guard process.tree.applied == LogMark(index: snapshot.index, term: snapshot.term),
      process.tree.members == snapshot.members
    else { throw Violation("\(member.id) installed a tree at \(process.tree.applied) for one at \(snapshot.index)") }
  }
}
