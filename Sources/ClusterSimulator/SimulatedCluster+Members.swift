// What an operator does about the membership.
//
// Rules of a careful one: never fewer left of the old voters than a majority of them, since who was removed may hold the
// newest log and can't be elected; a member that was removed goes only when most of those who stay know that it is; its name
// is never given to another disk.

import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  static let rounds_ns: Int64 = 100_000_000
  private static let votersMax = 7

  /// A member of the present membership.
  func pickMember(_ random: inout SimulatedRandom) -> SimulatedMember? {
    let ids = invariants.membership.everybody
    return ids.isEmpty ? nil : member(random.pick(ids))
  }

  /// Somebody has applied a change of the membership.
  func joined(_ state: ConfigState, from entry: Entry, at member: SimulatedMember) throws {
    guard let before = try invariants.check(membership: state, from: entry.index, at: member.id) else { return }
    note("the membership is \(state) as of \(entry.index)")
    hash.add(state.bytes)
    count(from: before, to: state)
    for id in state.everybody { self.member(id).wasMember = true }
    for id in before.everybody where !state.everybody.contains(id) {
      faults[.removal] += 1
      if self.member(id).process?.raft.role == .leader { faults[.leaderRemoval] += 1 }
      if self.member(id).condition == .withoutLog { faults[.memberReplaced] += 1 }
      queue.add(.retire(id), after: random.between(50_000_000...600_000_000))
    }
  }

  private func count(from old: ConfigState, to new: ConfigState) {
    let (voters, learners) = (old.allVoters, old.learners + old.learnersNext)
    for id in new.voters where !voters.contains(id) { faults[learners.contains(id) ? .promotion : .voterAdded] += 1 }
    for id in new.learners + new.learnersNext where !learners.contains(id) {
      faults[voters.contains(id) ? .demotion : .learnerAdded] += 1
    }
    if new.isJoint, !old.isJoint { faults[.jointEntry] += 1 }
    if old.isJoint, !new.isJoint, !old.autoLeave { faults[.explicitExit] += 1 }
  }

  /// A removed member goes for good once most of those who stay know of it.
  func retire(_ member: SimulatedMember) {
    let state = invariants.membership
    guard !state.everybody.contains(member.id), member.condition != .retired else { return }
    let knows: (NodeID) -> Bool = { [self] id in self.member(id).process?.tree.members == state }
    guard state.hasQuorum(knows) else { return queue.add(.retire(member.id), after: 50_000_000) }
    note("\(member.id) is gone")
    member.condition = .retired
    if member.process != nil { stop(member, powerCut: true, restarts: false) }
  }

  // MARK: Rounds

  /// What can't wait for a whim: joint memberships are left, and members without a log are replaced.
  func operate() throws {
    queue.add(.operate, after: SimulatedCluster.rounds_ns)
    guard let leader = leader(), let process = leader.process else { return }
    let state = process.tree.members
    if state.isJoint {
      guard !state.autoLeave, !isHostile || random.chance(perMille: 300) else { return }
      return try change(ConfigChange(), at: leader)
    }
    guard let lost = state.everybody.first(where: { member($0).condition == .withoutLog }) else { return }
    var changes = [SingleChange(.remove, lost)]
    if state.voters.contains(lost), mayShrink(state, by: 1), let new = freshMember() {
      changes.append(SingleChange(.addVoter, new.id))
    }
    try change(ConfigChange(transition: changes.count > 1 ? .jointImplicit : .auto, changes: changes), at: leader)
  }

  /// Who leads in the newest term, and can do something.
  private func leader() -> SimulatedMember? {
    members.filter { $0.isAwake && $0.process?.raft.role == .leader && $0.process?.isIdle == true }
      .max { ($0.process?.raft.term ?? 0) < ($1.process?.raft.term ?? 0) }
  }

  private func change(_ change: ConfigChange, at member: SimulatedMember) throws {
    note("\(member.id) is asked for \(change.changes.isEmpty ? "an end of the joint membership" : change.operations)")
    try guarded(member) { process in
      do { try process.raft.propose(change) } catch RaftError.proposalDropped {}
      try work(member, process)
    }
  }

  private func mayShrink(_ state: ConfigState, by count: Int) -> Bool {
    state.voters.count >= 3 && state.voters.count - count >= state.voters.count / 2 + 1
  }

  /// A machine with an empty disk that was never a member. It runs, and waits to be spoken to.
  private func freshMember() -> SimulatedMember? {
    if let idle = members.first(where: { !$0.wasMember && $0.condition == .sound }) { return idle }
    guard members.count < SimulatedCluster.membersMax else { return nil }
    let member = SimulatedMember(NodeID(members.count + 1), founders: nil)
    members.append(member)
    start(member)
    return member
  }

  // MARK: Whims

  /// A change of the membership of any kind.
  func reconfigure(_ random: inout SimulatedRandom) throws {
    guard let leader = leader(), let process = leader.process else { return }
    let state = process.tree.members
    guard !state.isJoint, !members.contains(where: { $0.isLogDamaged && $0.condition != .retired }) else { return }
    var changes: [SingleChange] = []
    switch random.below(8) {
    case 0: if let new = room(state) { changes = [SingleChange(.addVoter, new.id)] }
    case 1: if let new = room(state) { changes = [SingleChange(.addLearner, new.id)] }
    case 2, 3: if let id = caughtUpLearner(state, process) { changes = [SingleChange(.addVoter, id)] }
    case 4: if let id = leaving(state, leader.id, &random) { changes = [SingleChange(.remove, id)] }
    case 5: changes = shuffle(state, &random)
    case 6:
      if let id = leaving(state, leader.id, &random), let new = room(state) {
        changes = [SingleChange(.remove, id), SingleChange(.addVoter, new.id)]
      }
    default:
      if let id = state.learners.first, random.chance(perMille: 300) { changes = [SingleChange(.remove, id)] }
    }
    guard !changes.isEmpty else { return }
    let transition = random.pick([ConfigTransition.auto, .auto, .jointImplicit, .jointExplicit])
    try change(ConfigChange(transition: transition, changes: changes), at: leader)
  }

  /// Several changes at once: one voter becomes a learner, a learner a voter, a new member comes.
  private func shuffle(_ state: ConfigState, _ random: inout SimulatedRandom) -> [SingleChange] {
    var changes: [SingleChange] = []
    if mayShrink(state, by: 1) { changes.append(SingleChange(.addLearner, random.pick(state.voters))) }
    if let learner = state.learners.first, state.voters.count < SimulatedCluster.votersMax {
      changes.append(SingleChange(.addVoter, learner))
    }
    if random.chance(perMille: 300), let new = room(state) { changes.append(SingleChange(.addLearner, new.id)) }
    return changes
  }

  private func room(_ state: ConfigState) -> SimulatedMember? {
    state.everybody.count < SimulatedCluster.votersMax ? freshMember() : nil
  }

  /// The leader more often than others.
  private func leaving(_ state: ConfigState, _ leader: NodeID, _ random: inout SimulatedRandom) -> NodeID? {
    guard mayShrink(state, by: 1) else { return nil }
    return random.chance(perMille: 400) && state.voters.contains(leader) ? leader : random.pick(state.voters)
  }

  private func caughtUpLearner(_ state: ConfigState, _ process: SimulatedMember.Process) -> NodeID? {
    guard state.voters.count < SimulatedCluster.votersMax else { return nil }
    return state.learners.first { (process.raft.progress[$0]?.match ?? 0) + 10 > process.raft.lastIndex }
  }
}
