// Scripts of quorums: `committed` and `vote`.

import NeedletailRaft

final class QuorumRig: ScriptRig {
  /// What the arguments say. Members come in the order of `cfg`, then `cfgj`, each once.
  private struct Input {
    var incoming: [NodeID] = []
    var outgoing: [NodeID] = []
    var isJoint = false
    /// Nil for `_`.
    var indexes: [UInt64?] = []
    var votes: [Bool?] = []

    init(_ line: CommandLine) throws(ScriptFailure) {
      for argument in line.arguments {
        for value in argument.values {
          switch argument.key {
          case "cfg": incoming.append(try parseNumber(value))
          case "cfgj":
            isJoint = true
            if value != "zero" { outgoing.append(try parseNumber(value)) }
          case "idx":
            if value == "0" { throw ScriptFailure("cannot use 0 as idx") }
            indexes.append(value == "_" ? nil : try parseNumber(value))
          case "votes":
            guard value == "y" || value == "n" || value == "_" else { throw ScriptFailure("unknown vote: \(value)") }
            votes.append(value == "_" ? nil : value == "y")
          default: throw ScriptFailure("unknown arg \(argument.key)")
          }
        }
      }
    }

    var quorum: JointQuorum { JointQuorum(incoming: MemberSet(incoming), outgoing: MemberSet(outgoing)) }

    /// What is given for a member, in `values`.
    func lookup<Value>(_ values: [Value?]) -> (NodeID) -> Value? {
      var order: [NodeID] = []
      for id in incoming + outgoing where !order.contains(id) { order.append(id) }
      return { id in
        guard let at = order.firstIndex(of: id), at < values.count else { return nil }
        return values[at]
      }
    }
  }

  func run(_ block: Script.Block) -> String {
    do {
      let input = try Input(block.line)
      let isVote = block.line.command == "vote"
      let given = isVote ? input.votes.count : input.indexes.count
      if input.quorum.all.count != given { return mismatch(input, isVote: isVote) }
      switch block.line.command {
      case "committed": return committed(input)
      case "vote": return vote(input)
      default: return "unknown command: \(block.line.command)\n"
      }
    } catch {
      return "\(error)\n"
    }
  }

  private func mismatch(_ input: Input, isVote: Bool) -> String {
    let voters = input.quorum.all.ids.map { "\($0):{}" }.joined(separator: " ")
    let given =
      isVote
      ? input.votes.map { $0 == nil ? "0" : $0 == true ? "2" : "1" } : input.indexes.map { text($0 ?? 0) }
    return "error: mismatched input (explicit or _) for voters map[\(voters)]: [\(given.joined(separator: " "))]\n"
  }

  private func committed(_ input: Input) -> String {
    let acked = input.lookup(input.indexes)
    let quorum = input.quorum
    let index = quorum.committedIndex(acked)
    var out = describe(quorum.all, acked)
    // What must not matter is said where it does.
    if input.isJoint {
      let swapped = JointQuorum(incoming: quorum.outgoing, outgoing: quorum.incoming).committedIndex(acked)
      if swapped != index { out += "\(text(swapped)) <-- via symmetry\n" }
    } else {
      let withItself = JointQuorum(incoming: quorum.incoming, outgoing: quorum.incoming).committedIndex(acked)
      if withItself != index { out += "\(text(withItself)) <-- via self-joint quorum\n" }
    }
    return out + "\(text(index))\n"
  }

  private func vote(_ input: Input) -> String {
    let votes = input.lookup(input.votes)
    let quorum = input.quorum
    let result = quorum.voteResult(votes)
    var out = ""
    if input.isJoint {
      let swapped = JointQuorum(incoming: quorum.outgoing, outgoing: quorum.incoming).voteResult(votes)
      if swapped != result { out += "\(swapped) <-- via symmetry\n" }
    }
    return out + "\(result)\n"
  }

  private func text(_ index: UInt64) -> String { index == .max ? "∞" : "\(index)" }

  /// A bar for each member, the longer the further it is; equal indexes have equal bars.
  private func describe(_ members: MemberSet, _ acked: (NodeID) -> UInt64?) -> String {
    if members.isEmpty { return "<empty majority quorum>" }
    let count = members.count
    let sorted = members.ids.map { acked($0) ?? 0 }.sorted()
    var out = String(repeating: " ", count: count) + "    idx\n"
    for id in members.ids {
      let index = acked(id)
      let bar = sorted.firstIndex(of: index ?? 0) ?? 0
      out +=
        index == nil
        ? "?" + String(repeating: " ", count: count)
        : String(repeating: "x", count: bar) + ">" + String(repeating: " ", count: count - bar)
      let number = "\(index ?? 0)"
      out += " " + String(repeating: " ", count: max(0, 5 - number.count)) + number + "    (id=\(id))\n"
    }
    return out
  }
}
