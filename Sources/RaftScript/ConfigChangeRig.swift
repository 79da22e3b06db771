// Scripts of membership changes: `simple`, `enter-joint`, `leave-joint`.

import NeedletailRaft

final class ConfigChangeRig: ScriptRig {
  private var tracker = Tracker(inflightMessagesMax: 10, inflightBytesMax: 0)
  /// One more with each command, so that a member's first probe tells when it came.
  private var lastIndex: UInt64 = 0

  func run(_ block: Script.Block) -> String {
    defer { lastIndex += 1 }
    do {
      let membership = try change(block)
      tracker.adopt(membership)
      return "\(membership.config)\n\(membership.progress)"
    } catch {
      return "\(error)\n"
    }
  }

  private func change(_ block: Script.Block) throws -> Membership {
    let changes = try parseOperations(block.input)
    let changer = Changer(tracker, lastIndex: lastIndex)
    switch block.line.command {
    case "simple": return try changer.simple(changes)
    case "enter-joint":
      let asked = block.line.arguments.first { $0.key == "autoleave" }?.values.first
      return try changer.enteringJoint(autoLeave: asked.map(parseBool) ?? false, changes)
    case "leave-joint":
      if !changes.isEmpty { throw ScriptFailure("this command takes no input") }
      return try changer.leavingJoint()
    default: throw ScriptFailure("unknown command")
    }
  }
}
