// Handing out work, and hearing that it is done.

extension Raft {
  package var hasReady: Bool {
    softState != previousSoftState || (!currentHardState.isEmpty && currentHardState != previousHardState)
      || log.unstable.nextSnapshot != nil || !messages.isEmpty || !messagesAfterAppend.isEmpty
      || !log.unstable.nextEntries.isEmpty || log.hasNextCommitted(allowUnstable: appliesUnstable)
      || !readStates.isEmpty || reads.needsRound || !readsToForward.isEmpty
  }

  /// Writing and applying are one step of the program: nothing is applied that isn't written.
  private var appliesUnstable: Bool { !options.asyncStorageWrites }

  /// All that is to be done since the last batch. Without asynchronous storage writes, `advance` comes before the next.
  package mutating func ready() throws(RaftError) -> Ready {
    if isReadyOut { throw .misuse("two accepted Ready structs without call to Advance") }
    flushReads()
    var ready = Ready()
    ready.entries = Array(log.unstable.nextEntries)
    do { ready.committedEntries = try log.nextCommitted(allowUnstable: appliesUnstable) } catch {
      throw .storage(error)
    }
    ready.messages = messages
    if softState != previousSoftState { ready.softState = softState }
    if currentHardState != previousHardState { ready.hardState = currentHardState }
    if let snapshot = log.unstable.nextSnapshot { ready.snapshot = snapshot }
    ready.readStates = readStates
    ready.mustSync =
      !ready.entries.isEmpty || vote != previousHardState.vote || term != previousHardState.term
    if options.asyncStorageWrites { addStorageMessages(&ready) } else { addAnswers(&ready) }
    accept(ready)
    return ready
  }

  /// The program did what the last batch said.
  package mutating func advance() throws(RaftError) {
    if options.asyncStorageWrites { throw .misuse("Advance must not be called when using AsyncStorageWrites") }
    let steps = stepsOnAdvance
    stepsOnAdvance = []
    isReadyOut = false
    for step in steps { try? handle(step) }
  }

  /// Everything is durable when the program sends: answers go to others as they are, and to us on `advance`.
  private mutating func addAnswers(_ ready: inout Ready) {
    ready.messages += messagesAfterAppend.filter { $0.to != id }
    stepsOnAdvance += messagesAfterAppend.filter { $0.to == id }
    if let stored = storedMessage(ready) { stepsOnAdvance.append(stored) }
    if !ready.committedEntries.isEmpty {
      stepsOnAdvance.append(appliedMessage(ready.committedEntries))
    }
    isReadyOut = true
  }

  private func addStorageMessages(_ ready: inout Ready) {
    if !ready.entries.isEmpty || !ready.hardState.isEmpty || !ready.snapshot.isEmpty || !messagesAfterAppend.isEmpty {
      var m = Message(.storageAppend, to: Node.appendThread, from: id, entries: ready.entries)
      m.term = ready.hardState.term
      m.vote = ready.hardState.vote
      m.commit = ready.hardState.commit
      m.snapshot = ready.snapshot.isEmpty ? nil : ready.snapshot
      // Our own acknowledgement goes before the word that entries are stable: it finds their terms in memory.
      m.responses = messagesAfterAppend
      if let stored = storedMessage(ready) { m.responses.append(stored) }
      ready.messages.append(m)
    }
    if !ready.committedEntries.isEmpty {
      ready.messages.append(
        Message(
          .storageApply, to: Node.applyThread, from: id, entries: ready.committedEntries,
          responses: [appliedMessage(ready.committedEntries)]))
    }
  }

  /// What comes back when this batch and all before it are durable. Nil: nobody waits for that.
  ///
  /// It names the last entry there is, of this batch or of one before, and the term of now. Back in a later term it is
  /// not believed: in between the entry may have been replaced, and replaced again by its equal, with those writes still
  /// under way. So that entries don't stay in memory for ever, every batch attests all of them anew, also one that only
  /// stores a new term.
  private func storedMessage(_ ready: Ready) -> Message? {
    if log.unstable.entries.isEmpty, ready.snapshot.isEmpty { return nil }
    var m = Message(.storageAppendResponse, to: id, from: Node.appendThread, term: term)
    if !log.unstable.entries.isEmpty {
      let last = log.lastID
      m.index = last.index
      m.logTerm = last.term
    }
    m.snapshot = ready.snapshot.isEmpty ? nil : ready.snapshot
    return m
  }

  private func appliedMessage(_ entries: [Entry]) -> Message {
    Message(.storageApplyResponse, to: id, from: Node.applyThread, entries: entries)
  }

  private mutating func accept(_ ready: Ready) {
    if let soft = ready.softState { previousSoftState = soft }
    if !ready.hardState.isEmpty { previousHardState = ready.hardState }
    readStates = []
    messages = []
    messagesAfterAppend = []
    log.acceptUnstable()
    if let last = ready.committedEntries.last {
      log.acceptApplying(
        to: last.index, size: ready.committedEntries.encodedSize, allowUnstable: appliesUnstable)
    }
  }
}
