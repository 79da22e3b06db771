// From one membership to the next, refusing what would break the rules of joint consensus.

package struct Membership: Equatable, Sendable {
  package var config: MemberConfig
  package var progress: ProgressMap
}

/// Works on copies: what it refuses has changed nothing.
package struct Changer {
  private var config: MemberConfig
  private var progress: ProgressMap
  private let noInflights: Inflights
  private let lastIndex: UInt64

  package init(_ tracker: Tracker, lastIndex: UInt64) {
    config = tracker.config
    progress = tracker.progress
    noInflights = tracker.noInflights
    self.lastIndex = lastIndex
  }

  /// The membership after a change of any kind.
  package func applying(_ change: ConfigChange) throws(RaftError) -> Membership {
    if change.leavesJoint { return try leavingJoint() }
    if let autoLeave = change.entersJoint { return try enteringJoint(autoLeave: autoLeave, change.changes) }
    return try simple(change.changes)
  }

  /// Changes that together add or remove at most one voter: any two majorities then still meet.
  package func simple(_ changes: [SingleChange]) throws(RaftError) -> Membership {
    var new = self
    try new.checkInvariants()
    if config.voters.isJoint { throw .badConfigChange("can't apply simple config change in joint config") }
    try new.apply(changes)
    if config.voters.incoming.differences(from: new.config.voters.incoming) > 1 {
      throw .badConfigChange("more than one voter changed without entering joint config")
    }
    return try new.checked()
  }

  /// `(1 2 3)` becomes `(changed)&&(1 2 3)`.
  package func enteringJoint(autoLeave: Bool, _ changes: [SingleChange]) throws(RaftError) -> Membership {
    var new = self
    try new.checkInvariants()
    if config.voters.isJoint { throw .badConfigChange("config is already joint") }
    if config.voters.incoming.isEmpty { throw .badConfigChange("can't make a zero-voter config joint") }
    new.config.voters.outgoing = config.voters.incoming
    try new.apply(changes)
    new.config.autoLeave = autoLeave
    return try new.checked()
  }

  /// `(changed)&&(1 2 3)` becomes `(changed)`, and demoted voters become learners.
  package func leavingJoint() throws(RaftError) -> Membership {
    var new = self
    try new.checkInvariants()
    if !config.voters.isJoint { throw .badConfigChange("can't leave a non-joint config") }
    for id in config.learnersNext.ids {
      new.config.learners.insert(id)
      new.progress.update(id) { $0.isLearner = true }
    }
    new.config.learnersNext = MemberSet()
    for id in config.voters.outgoing.ids
    where !new.config.voters.incoming.contains(id) && !new.config.learners.contains(id) {
      new.progress[id] = nil
    }
    new.config.voters.outgoing = MemberSet()
    new.config.autoLeave = false
    return try new.checked()
  }

  // MARK: Single changes, always to the incoming half

  private mutating func apply(_ changes: [SingleChange]) throws(RaftError) {
    for change in changes where change.node != Node.none {
      switch change.kind {
      case .addVoter: makeVoter(change.node)
      case .addLearner: makeLearner(change.node)
      case .remove: remove(change.node)
      case .update: break
      }
    }
    if config.voters.incoming.isEmpty { throw .badConfigChange("removed all voters") }
  }

  private mutating func makeVoter(_ id: NodeID) {
    if !progress.contains(id) { return track(id, isLearner: false) }
    progress.update(id) { $0.isLearner = false }
    config.learners.remove(id)
    config.learnersNext.remove(id)
    config.voters.incoming.insert(id)
  }

  private mutating func makeLearner(_ id: NodeID) {
    guard let kept = progress[id] else { return track(id, isLearner: true) }
    if kept.isLearner { return }
    remove(id)
    progress[id] = kept
    if config.voters.outgoing.contains(id) {
      // Still a voter of the outgoing half: a learner only once that is left.
      config.learnersNext.insert(id)
    } else {
      progress.update(id) { $0.isLearner = true }
      config.learners.insert(id)
    }
  }

  private mutating func remove(_ id: NodeID) {
    if !progress.contains(id) { return }
    config.voters.incoming.remove(id)
    config.learners.remove(id)
    config.learnersNext.remove(id)
    if !config.voters.outgoing.contains(id) { progress[id] = nil }
  }

  private mutating func track(_ id: NodeID, isLearner: Bool) {
    if isLearner { config.learners.insert(id) } else { config.voters.incoming.insert(id) }
    // Probed from the last entry. Active at first, or a check of the quorum right after would miss it.
    progress[id] = Progress(
      next: max(lastIndex, 1), inflights: noInflights, isLearner: isLearner, isRecentlyActive: true)
  }

  // MARK: Invariants

  private func checked() throws(RaftError) -> Membership {
    try checkInvariants()
    return Membership(config: config, progress: progress)
  }

  private func checkInvariants() throws(RaftError) {
    for id in config.voters.all.ids + config.learners.ids + config.learnersNext.ids where !progress.contains(id) {
      throw .badConfigChange("no progress for \(id)")
    }
    for id in config.learnersNext.ids {
      if !config.voters.outgoing.contains(id) {
        throw .badConfigChange("\(id) is in LearnersNext, but not Voters[1]")
      }
      if progress[id]?.isLearner == true {
        throw .badConfigChange("\(id) is in LearnersNext, but is already marked as learner")
      }
    }
    for id in config.learners.ids {
      if config.voters.outgoing.contains(id) { throw .badConfigChange("\(id) is in Learners and Voters[1]") }
      if config.voters.incoming.contains(id) { throw .badConfigChange("\(id) is in Learners and Voters[0]") }
      if progress[id]?.isLearner == false {
        throw .badConfigChange("\(id) is in Learners, but is not marked as learner")
      }
    }
    if config.voters.isJoint { return }
    if !config.learnersNext.isEmpty { throw .badConfigChange("cfg.LearnersNext must be nil when not joint") }
    if config.autoLeave { throw .badConfigChange("AutoLeave must be false when not joint") }
  }
}

extension Changer {
  /// The membership that a snapshot or the storage names, built from none.
  static func restore(
    _ state: ConfigState, inflightsOf tracker: Tracker, lastIndex: UInt64
  ) throws(RaftError) -> Membership {
    var built = Tracker(
      inflightMessagesMax: tracker.inflightMessagesMax, inflightBytesMax: tracker.inflightBytesMax)
    func changer() -> Changer { Changer(built, lastIndex: lastIndex) }

    let removed = state.votersOutgoing.map { SingleChange(.remove, $0) }
    let voters = state.voters.map { SingleChange(.addVoter, $0) }
    let learners = (state.learners + state.learnersNext).map { SingleChange(.addLearner, $0) }
    if state.votersOutgoing.isEmpty {
      for change in voters + learners { built.adopt(try changer().simple([change])) }
    } else {
      // First the half that goes, then from it into the joint membership.
      for id in state.votersOutgoing { built.adopt(try changer().simple([SingleChange(.addVoter, id)])) }
      built.adopt(try changer().enteringJoint(autoLeave: state.autoLeave, removed + voters + learners))
    }
    // Whoever names a member twice, or as voter and learner, gets something else than was asked for.
    guard built.configState.isEquivalent(to: state) else { throw .badConfigChange("contradictory membership") }
    return Membership(config: built.config, progress: built.progress)
  }
}
