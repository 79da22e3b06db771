// Commands that make members and show what they hold.

import NeedletailRaft

extension InteractionRig {
  func addNodes(_ arguments: [CommandLine.Argument]) throws {
    let count: Int = try parseNumber(try key(arguments, 0))
    guard count >= 0, count <= 1000 else { throw ScriptFailure("too many nodes: \(count)") }
    var snapshot = Snapshot()
    var template = RaftOptions(id: 1, storage: MemoryStorage())
    template.electionTicks = 3
    template.heartbeatTicks = 1
    template.messageSizeMax = Limits.unlimited
    template.inflightMessagesMax = Int(Int32.max)
    for argument in arguments.dropFirst() {
      for value in argument.values { try configure(&template, &snapshot, argument.key, value) }
    }
    for _ in 0..<count { try addNode(template, snapshot) }
  }

  private func configure(
    _ options: inout RaftOptions, _ snapshot: inout Snapshot, _ key: String, _ value: String
  ) throws {
    switch key {
    case "voters": snapshot.members.voters.append(try parseNumber(value))
    case "learners": snapshot.members.learners.append(try parseNumber(value))
    case "inflight": options.inflightMessagesMax = try parseNumber(value)
    case "index":
      snapshot.index = try parseNumber(value)
      options.applied = snapshot.index
    case "content": snapshot.data = Array(value.utf8)
    case "async-storage-writes": options.asyncStorageWrites = try parseBool(value)
    case "prevote": options.preVote = try parseBool(value)
    case "checkquorum": options.checkQuorum = try parseBool(value)
    case "max-committed-size-per-ready": options.applyingSizeMax = try parseNumber(value)
    case "disable-conf-change-validation": options.disableConfigChangeValidation = try parseBool(value)
    case "step-down-on-removal": options.stepDownOnRemoval = try parseBool(value)
    case "read-only":
      switch value {
      case "safe": options.readMode = .safe
      case "lease-based": options.readMode = .leaseBased
      default: throw ScriptFailure("invalid read-only option \"\(value)\"")
      }
    default: break
    }
  }

  private func addNode(_ template: RaftOptions, _ snapshot: Snapshot) throws {
    var (options, snapshot) = (template, snapshot)
    let storage = MemoryStorage()
    if snapshot != Snapshot() {
      if snapshot.index <= 1 { throw ScriptFailure("index must be specified as > 1 due to bootstrap") }
      snapshot.term = 1
      try storage.apply(snapshot)
    }
    options.id = NodeID(members.count + 1)
    options.electionSeed = options.id
    options.storage = storage
    options.listener = { [output] level, text in output.log(level, text) }
    members.append(try ScriptMember(options, storage: storage, snapshot: snapshot))
  }

  func compact(_ arguments: [CommandLine.Argument]) throws {
    let member = try first(arguments)
    try member.storage.compact(to: parseNumber(try key(arguments, 1)))
    writeLog(of: member)
  }

  func writeLog(of member: ScriptMember) {
    let storage = member.storage
    if storage.log.isEmpty {
      output.write("log is empty: first index=\(storage.firstIndex), last index=\(storage.lastIndex)")
    } else {
      for entry in storage.log { output.write("\(entry)\n") }
    }
  }

  func writeStates() {
    for member in members {
      let raft = member.raft
      let voter = raft.config.voters.contains(raft.id) ? "(Voter)" : "(Non-Voter)"
      output.write("\(raft.id): \(raft.role) \(voter) Term:\(raft.term) Lead:\(raft.leader)\n")
    }
  }

  /// Only a leader knows how far its followers are.
  func writeStatus(of member: ScriptMember) {
    if member.raft.role == .leader { output.write("\(member.raft.progress)") }
  }

  func sendSnapshot(_ arguments: [CommandLine.Argument]) throws {
    let from = try first(arguments)
    let to = try member(key(arguments, 1))
    let message = Message(
      .snapshot, to: to.id, from: from.id, term: from.raft.term, snapshot: try from.storage.snapshot())
    inFlight.append(message)
    output.write("\(message)")
  }
}
