// A proposed change of the membership.

package enum ConfigChangeKind: UInt64, Sendable {
  case addVoter = 0
  case remove = 1
  /// Changes nothing here; a way for programs to pass something on together with a membership.
  case update = 2
  case addLearner = 3
}

package struct SingleChange: Equatable, Sendable {
  package var kind: ConfigChangeKind
  /// Zero: this change was withdrawn and is skipped.
  package var node: NodeID

  package init(_ kind: ConfigChangeKind, _ node: NodeID) {
    self.kind = kind
    self.node = node
  }
}

package enum ConfigTransition: UInt64, Sendable {
  /// Through a joint membership where there is more than one change, and out of it by itself.
  case auto = 0
  /// Through a joint membership, and out of it by itself.
  case jointImplicit = 1
  /// Through a joint membership, which the program proposes to leave.
  case jointExplicit = 2
}

package struct ConfigChange: Equatable, Sendable {
  package var transition: ConfigTransition
  package var changes: [SingleChange]
  package var context: [UInt8]
  /// Travels in the older encoding, which holds one change and no transition.
  package var isV1: Bool

  package init(
    transition: ConfigTransition = .auto, changes: [SingleChange] = [], context: [UInt8] = [], isV1: Bool = false
  ) {
    self.transition = transition
    self.changes = changes
    self.context = context
    self.isV1 = isV1
  }

  /// Leaves a joint membership.
  package var leavesJoint: Bool { transition == .auto && changes.isEmpty }

  /// Enters a joint membership. Nil: it doesn't. Else whether that is left by itself.
  package var entersJoint: Bool? {
    if transition == .auto && changes.count <= 1 { return nil }
    return transition != .jointExplicit
  }
}
