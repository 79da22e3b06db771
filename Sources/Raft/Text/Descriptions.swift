// Messages, entries and batches as text, in the form of etcd's scripts.

extension HardState: CustomStringConvertible {
  package var description: String { "Term:\(term)" + (vote == 0 ? "" : " Vote:\(vote)") + " Commit:\(commit)" }
}

extension SoftState: CustomStringConvertible {
  package var description: String { "Lead:\(leader) State:\(role)" }
}

extension ReadState: CustomStringConvertible {
  package var description: String {
    "{\(index) [\(context.map { String($0) }.joined(separator: " "))]}"
  }
}

private func list(_ ids: [NodeID]) -> String { "[" + ids.map(String.init).joined(separator: " ") + "]" }

extension ConfigState: CustomStringConvertible {
  package var description: String {
    "Voters:\(list(voters)) VotersOutgoing:\(list(votersOutgoing)) Learners:\(list(learners)) "
      + "LearnersNext:\(list(learnersNext)) AutoLeave:\(autoLeave)"
  }

  var protobufText: String {
    func field(_ name: String, _ ids: [NodeID]) -> [String] { ids.map { "\(name):\($0)" } }
    let fields =
      field("voters", voters) + field("learners", learners) + field("voters_outgoing", votersOutgoing)
      + field("learners_next", learnersNext) + ["auto_leave:\(autoLeave)"]
    return fields.joined(separator: " ")
  }
}

extension Snapshot: CustomStringConvertible {
  package var description: String { "Index:\(index) Term:\(term) ConfState:\(members)" }
}

extension ConfigChange {
  var protobufText: String {
    func fields(_ change: SingleChange) -> String { "type:\(change.kind) node_id:\(change.node)" }
    let tail = context.isEmpty ? [] : ["context:\(quoted(context))"]
    if isV1 { return (changes.map(fields) + tail).joined(separator: " ") }
    return (["transition:\(transition)"] + changes.map { "changes:{\(fields($0))}" } + tail).joined(separator: " ")
  }

  /// `v1 l2 r3 u4`.
  package var operations: String {
    changes.map { change in
      switch change.kind {
      case .addVoter: "v\(change.node)"
      case .addLearner: "l\(change.node)"
      case .remove: "r\(change.node)"
      case .update: "u\(change.node)"
      }
    }.joined(separator: " ")
  }
}

extension Entry: CustomStringConvertible {
  package var description: String {
    var text = "\(term)/\(index) \(kind)"
    do {
      guard let change = try ConfigChange.decode(self) else { return text + " " + quoted(data) }
      if !change.changes.isEmpty { text += " " + change.operations }
    } catch {
      text += " \(error)"
    }
    return text
  }
}

/// In double quotes, with what isn't printable escaped, as Go's `%q` has it.
package func quoted(_ bytes: [UInt8]) -> String {
  var out = "\""
  var parser = Unicode.UTF8.ForwardParser()
  var input = bytes.makeIterator()
  var at = 0
  while true {
    switch parser.parseScalar(from: &input) {
    case .emptyInput: return out + "\""
    case .valid(let encoded):
      out += escaped(Unicode.UTF8.decode(encoded))
      at += encoded.count
    case .error(let length):
      for byte in bytes[at..<min(at + length, bytes.count)] { out += "\\x" + padded(UInt32(byte), 2) }
      at += length
    }
  }
}

private func escaped(_ scalar: Unicode.Scalar) -> String {
  switch scalar {
  case "\"": "\\\""
  case "\\": "\\\\"
  case "\n": "\\n"
  case "\r": "\\r"
  case "\t": "\\t"
  case "\u{7}": "\\a"
  case "\u{8}": "\\b"
  case "\u{c}": "\\f"
  case "\u{b}": "\\v"
  case _ where scalar.value < 0x20 || scalar.value == 0x7f: "\\x" + padded(UInt32(scalar.value), 2)
  default: String(Character(scalar))
  }
}

private func padded(_ value: UInt32, _ digits: Int) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}

extension Message: CustomStringConvertible {
  package var description: String { text(indent: "") }

  private func text(indent: String) -> String {
    var text = "\(indent)\(Self.target(from))->\(Self.target(to)) \(type) Term:\(term) Log:\(logTerm)/\(index)"
    if reject { text += " Rejected (Hint: \(rejectHint))" }
    if commit != 0 { text += " Commit:\(commit)" }
    if vote != 0 { text += " Vote:\(vote)" }
    if entries.count == 1 {
      text += " Entries:[\(entries[0])]"
    } else if !entries.isEmpty {
      text += " Entries:[" + entries.map { "\n\(indent)  \($0)" }.joined() + "\n\(indent)]"
    }
    if let snapshot, !snapshot.isEmpty { text += "\n\(indent)  Snapshot: \(snapshot)" }
    if !responses.isEmpty {
      text += " Responses:[" + responses.map { "\n" + $0.text(indent: indent + "  ") }.joined() + "\n\(indent)]"
    }
    return text
  }

  private static func target(_ id: NodeID) -> String {
    switch id {
    case Node.none: "None"
    case Node.appendThread: "AppendThread"
    case Node.applyThread: "ApplyThread"
    default: hex(id)
    }
  }
}

extension Ready: CustomStringConvertible {
  /// Lines, each ended; `<empty Ready>` if there is nothing to do.
  package var description: String {
    var text = ""
    if let softState { text += "\(softState)\n" }
    if !hardState.isEmpty { text += "HardState \(hardState)\n" }
    if !readStates.isEmpty {
      text += "ReadStates [" + readStates.map(\.description).joined(separator: " ") + "]\n"
    }
    if !entries.isEmpty { text += "Entries:\n" + entries.map { "\($0)\n" }.joined() }
    if !snapshot.isEmpty { text += "Snapshot \(snapshot)\n" }
    if !committedEntries.isEmpty {
      text += "CommittedEntries:\n" + committedEntries.map { "\($0)\n" }.joined()
    }
    if !messages.isEmpty { text += "Messages:\n" + messages.map { "\($0)\n" }.joined() }
    return text.isEmpty ? "<empty Ready>" : "Ready MustSync=\(mustSync):\n\(text)"
  }
}
