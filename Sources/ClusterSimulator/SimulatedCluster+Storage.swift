// Asynchronous storage writes: a process goes on while its log thread writes and its apply thread applies, each behind the
// other by as much as it likes. What a write or an entry is to release comes back when it is done.

import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

extension SimulatedCluster {
  /// Some clusters have members that store so, some have both kinds; a process has one way for as long as it lives.
  func storesAsynchronously() -> Bool { storageModes.chance(perMille: asynchronousPerMille) }

  /// What Raft asks for goes to whom it is for.
  func hand(_ ready: Ready, _ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    if !ready.snapshot.isEmpty { try overtake(member, process) }
    for message in ready.messages {
      switch message.to {
      case Node.appendThread: process.unwritten.append(Ready(toStore: message))
      case Node.applyThread:
        if process.unapplied.isEmpty { applySoon(member) }
        process.unapplied.append(message)
      default: try send(message)
      }
    }
    confirm(ready.readStates, process)
    try answerReads(member, process)
    try write(member, process)
  }

  /// What waits to be applied when a snapshot comes is in it, and its changes of the membership are in force already: it is
  /// not applied any more, only answered.
  private func overtake(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    let overtaken = process.unapplied
    process.unapplied = []
    for message in overtaken { try release(message.responses, member, process) }
  }

  /// What is said to the process itself arrives at once.
  private func release(_ messages: [Message], _ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    for message in messages {
      guard message.to == member.id else {
        try send(message)
        continue
      }
      if message.type == .storageAppendResponse, message.term < process.raft.term { faults[.lateWrite] += 1 }
      // Whoever was removed meanwhile counts for nothing.
      do { try process.raft.step(fromStorage: message) } catch RaftError.unknownPeer {}
    }
  }

  // MARK: The log thread

  /// Writes are begun in order, as many as the log takes at once.
  func write(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    while process.log.wal.canSubmit, let batch = process.unwritten.first {
      process.unwritten.removeFirst()
      if !batch.snapshot.isEmpty { try install(batch.snapshot, member, process) }
      let group = try process.log.begin(batch)
      process.storing.append((batch, group))
      guard group != nil else { continue }
      if process.log.wal.groupsInFlight > 1 { faults[.overlappingWrite] += 1 }
      if losesPower(member, writing: batch) { return stop(member, powerCut: true, restarts: true) }
      queue.add(.stored(member.id, life: member.life), after: random.between(member.disk_ns))
    }
    try finishWritten(member, process)
  }

  /// The oldest write is done, and with it what follows that need not be durable.
  func written(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    if let group = process.storing.first?.group {
      try process.log.settle(group)
      process.storing[0].group = nil
    }
    try finishWritten(member, process)
    try write(member, process)
  }

  private func finishWritten(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    while let (batch, group) = process.storing.first, group == nil {
      process.storing.removeFirst()
      try process.log.finish(batch)
      member.promise(batch, process)
      try release(batch.messages, member, process)
    }
  }

  // MARK: The apply thread

  private func applySoon(_ member: SimulatedMember) {
    // Now and then it is far behind.
    let delay = random.chance(perMille: 50) ? random.between(0...100_000_000) : random.between(0...2_000_000)
    queue.add(.apply(member.id, life: member.life), after: delay)
  }

  func applyNext(_ member: SimulatedMember, _ life: Int) throws {
    guard member.life == life else { return }
    if member.pausedUntil_ns != nil { return queue.add(.apply(member.id, life: life), after: 5_000_000) }
    try guarded(member) { process in
      guard let message = process.unapplied.first else { return }
      process.unapplied.removeFirst()
      try apply(message.entries, member, process)
      try release(message.responses, member, process)
      try settle(member, process)
      if !process.unapplied.isEmpty { applySoon(member) }
      try work(member, process)
    }
  }
}

extension Ready {
  /// What a message to the log thread says, with what it is to release when all that is durable. Anything that releases
  /// something is waited for: it may rest on writes before it.
  init(toStore message: Message) {
    self.init()
    hardState = NeedletailRaft.HardState(term: message.term, vote: message.vote, commit: message.commit)
    entries = message.entries
    snapshot = message.snapshot ?? Snapshot()
    messages = message.responses
    mustSync = !entries.isEmpty || !messages.isEmpty
  }
}
