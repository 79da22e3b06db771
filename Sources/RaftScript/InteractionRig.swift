// Scripts of clusters: members, the messages between them, and commands that move either on.

import NeedletailRaft

final class InteractionRig: ScriptRig {
  /// In the order of their ids, which begin with 1.
  var members: [ScriptMember] = []
  /// Under way, in the order they were sent.
  var inFlight: [Message] = []
  let output = ScriptOutput()

  func run(_ block: Script.Block) -> String {
    output.begin()
    do {
      if block.line.command == "propose-conf-change" {
        try proposeConfigChange(block)
      } else {
        try perform(block.line)
        // Further commands may stand where input does. An error of one of these is shown and the next one runs.
        for line in block.input.split(separator: "\n") {
          do { try perform(CommandLine(String(line))) } catch {
            if output.isQuiet { throw error }
            output.write("\(error)")
          }
        }
      }
    } catch {
      if output.isQuiet { return "\(error)" }
      output.write("\(error)")
    }
    return output.text.isEmpty ? "ok" : output.text
  }

  private func perform(_ line: CommandLine) throws {
    let arguments = line.arguments
    switch line.command {
    case "_breakpoint": break
    case "add-nodes": try addNodes(arguments)
    case "campaign": try first(arguments).raft.campaign(regardsLeases: false)
    case "compact": try compact(arguments)
    case "deliver-msgs": try deliver(arguments)
    case "forget-leader": try first(arguments).raft.forgetLeader()
    case "log-level": try output.setLevel(try key(arguments, 0))
    case "process-append-thread": try each(arguments, "processing append thread", processAppendThread)
    case "process-apply-thread": try each(arguments, "processing apply thread", processApplyThread)
    case "process-ready": try each(arguments, "handling Ready", processReady)
    case "propose": try first(arguments).raft.propose(Array(try key(arguments, 1).utf8))
    case "raft-log": try writeLog(of: first(arguments))
    case "raft-state": writeStates()
    case "report-unreachable": try first(arguments).raft.reportUnreachable(member(try key(arguments, 1)).id)
    case "send-snapshot": try sendSnapshot(arguments)
    case "set-randomized-election-timeout":
      let ticks: Int = try parseNumber(try value(arguments, "timeout"))
      try first(arguments).raft.setRandomizedElectionTicks(ticks)
    case "stabilize": try stabilize(arguments)
    case "status": try writeStatus(of: first(arguments))
    case "tick-election": try tick(first(arguments)) { $0.electionTicks }
    case "tick-heartbeat": try tick(first(arguments)) { $0.heartbeatTicks }
    case "transfer-leadership":
      let other: NodeID = try parseNumber(try value(arguments, "to"))
      try member(value(arguments, "from")).raft.transferLeader(to: other)
    default: throw ScriptFailure("unknown command")
    }
  }

  // MARK: Arguments

  func key(_ arguments: [CommandLine.Argument], _ at: Int) throws(ScriptFailure) -> String {
    guard at < arguments.count, arguments[at].values.isEmpty else { throw ScriptFailure("missing argument") }
    return arguments[at].key
  }

  func value(_ arguments: [CommandLine.Argument], _ key: String) throws(ScriptFailure) -> String {
    guard let found = arguments.first(where: { $0.key == key })?.values.first else {
      throw ScriptFailure("missing argument \(key)")
    }
    return found
  }

  func member(_ id: String) throws(ScriptFailure) -> ScriptMember {
    let number: Int = try parseNumber(id)
    guard number >= 1, number <= members.count else { throw ScriptFailure("no member \(id)") }
    return members[number - 1]
  }

  func first(_ arguments: [CommandLine.Argument]) throws(ScriptFailure) -> ScriptMember {
    try member(try key(arguments, 0))
  }

  /// The members that are named.
  func named(_ arguments: [CommandLine.Argument]) throws(ScriptFailure) -> [ScriptMember] {
    var found: [ScriptMember] = []
    for argument in arguments where argument.values.isEmpty { found.append(try member(argument.key)) }
    return found
  }

  /// With a heading for each member, where there is more than one.
  private func each(
    _ arguments: [CommandLine.Argument], _ heading: String, _ body: (ScriptMember) throws -> Void
  ) throws {
    let members = try named(arguments)
    for member in members {
      if members.count == 1 {
        try body(member)
      } else {
        output.write("> \(member.id) \(heading)\n")
        try output.indented { try body(member) }
      }
    }
  }

  private func tick(_ member: ScriptMember, _ count: (RaftOptions) -> Int) {
    for _ in 0..<count(member.options) { member.raft.tick() }
  }

  private func proposeConfigChange(_ block: Script.Block) throws {
    var isV1 = false
    var transition = ConfigTransition.auto
    for argument in block.line.arguments.dropFirst() {
      for value in argument.values {
        switch (argument.key, value) {
        case ("v1", _): isV1 = try parseBool(value)
        case ("transition", "auto"): transition = .auto
        case ("transition", "implicit"): transition = .jointImplicit
        case ("transition", "explicit"): transition = .jointExplicit
        case ("transition", _): throw ScriptFailure("unknown transition \(value)")
        default: throw ScriptFailure("unknown command \(argument.key)")
        }
      }
    }
    let changes = try parseOperations(block.input)
    if isV1, changes.count != 1 || transition != .auto {
      throw ScriptFailure("v1 conf change can only have one operation and no transition")
    }
    try first(block.line.arguments).raft.propose(
      ConfigChange(transition: transition, changes: changes, isV1: isV1))
  }
}
