// Commands that do members' work and deliver messages.

import NeedletailRaft

extension InteractionRig {
  func processReady(_ member: ScriptMember) throws {
    let ready = try member.raft.ready()
    output.write("\(ready)")
    let isAsync = member.options.asyncStorageWrites
    if !isAsync {
      try member.append(ready.hardState, ready.entries, ready.snapshot)
      try member.apply(ready.committedEntries)
    }
    for message in ready.messages {
      switch message.to {
      case Node.appendThread: member.appendWork.append(message)
      case Node.applyThread: member.applyWork.append(message)
      default: inFlight.append(message)
      }
    }
    if !isAsync { try member.raft.advance() }
  }

  func processAppendThread(_ member: ScriptMember) throws {
    guard !member.appendWork.isEmpty else { return output.write("no append work to perform") }
    let work = member.appendWork.removeFirst()
    try process(work) {
      let state = HardState(term: work.term, vote: work.vote, commit: work.commit)
      try member.append(state, work.entries, work.snapshot ?? Snapshot())
    }
  }

  func processApplyThread(_ member: ScriptMember) throws {
    guard !member.applyWork.isEmpty else { return output.write("no apply work to perform") }
    let work = member.applyWork.removeFirst()
    try process(work) { try member.apply(work.entries) }
  }

  private func process(_ work: Message, _ body: () throws -> Void) throws {
    var shown = work
    shown.responses = []
    output.write("Processing:\n\(shown)\n")
    try body()
    output.write("Responses:\n")
    for response in work.responses { output.write("\(response)\n") }
    inFlight += work.responses
  }

  // MARK: Messages

  func deliver(_ arguments: [CommandLine.Argument]) throws {
    var type: MessageType?
    var recipients: [(id: NodeID, drops: Bool)] = []
    for argument in arguments {
      if argument.values.isEmpty { recipients.append((try parseNumber(argument.key), false)) }
      for value in argument.values {
        switch argument.key {
        case "drop":
          let id: NodeID = try parseNumber(value)
          if recipients.contains(where: { $0.id == id }) {
            throw ScriptFailure("can't both deliver and drop msgs to \(id)")
          }
          recipients.append((id, true))
        case "type":
          guard let named = MessageType.allCases.first(where: { $0.description == value }) else {
            throw ScriptFailure("unknown message type \(value)")
          }
          type = named
        default: break
        }
      }
    }
    var count = 0
    for recipient in recipients { count += try deliver(to: recipient.id, type: type, drops: recipient.drops) }
    if count == 0 { output.write("no messages\n") }
  }

  /// All messages to a member, of a type, are delivered or lost. How many there were.
  private func deliver(to id: NodeID, type: MessageType?, drops: Bool) throws -> Int {
    // What a member says to itself or its threads can't be lost.
    func concerns(_ message: Message) -> Bool {
      let isLocal =
        message.from == message.to || Node.isLocalThread(message.from) || Node.isLocalThread(message.to)
      return message.to == id && !(drops && isLocal) && (type == nil || message.type == type)
    }
    let taken = inFlight.filter(concerns)
    inFlight.removeAll(where: concerns)
    for message in taken {
      output.write("\(drops ? "dropped: " : "")\(message)\n")
      if drops { continue }
      let member = try member("\(id)")
      do {
        if message.from == message.to || Node.isLocalThread(message.from) {
          try member.raft.step(fromStorage: message)
        } else {
          try member.raft.step(message)
        }
      } catch { output.write("\(error)\n") }
    }
    return taken.count
  }

  // MARK: Until nothing moves

  func stabilize(_ arguments: [CommandLine.Argument]) throws {
    let level = output.level
    defer { output.level = level }
    for argument in arguments where argument.key == "log-level" {
      for value in argument.values { try output.setLevel(value) }
    }
    let chosen = try named(arguments)
    let members = chosen.isEmpty ? self.members : chosen
    // A healthy cluster comes to rest; one that doesn't must not hang whoever watches.
    for _ in 0..<1000 where try !round(members) { return }
    throw ScriptFailure("the cluster doesn't come to rest")
  }

  /// False: there was nothing to do.
  private func round(_ members: [ScriptMember]) throws -> Bool {
    var isBusy = false
    func work(_ member: ScriptMember, _ heading: String, _ body: () throws -> Void) throws {
      isBusy = true
      output.write("> \(member.id) \(heading)\n")
      try body()
    }
    for member in members where member.raft.hasReady {
      try work(member, "handling Ready") { try output.indented { try processReady(member) } }
    }
    for member in members where inFlight.contains(where: { $0.to == member.id }) {
      try work(member, "receiving messages") {
        try output.indented { _ = try deliver(to: member.id, type: nil, drops: false) }
      }
    }
    for member in members where !member.appendWork.isEmpty {
      try work(member, "processing append thread") {
        while !member.appendWork.isEmpty { try output.indented { try processAppendThread(member) } }
      }
    }
    for member in members where !member.applyWork.isEmpty {
      try work(member, "processing apply thread") {
        while !member.applyWork.isEmpty { try output.indented { try processApplyThread(member) } }
      }
    }
    return isBusy
  }
}
