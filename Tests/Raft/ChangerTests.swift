import Testing

@testable import NeedletailRaft

@Suite struct ChangerTests {
  private func randomChanges(_ random: inout Random) -> [SingleChange] {
    (0..<random.below(5)).map { _ in
      SingleChange(random.pick([.addVoter, .remove, .update, .addLearner]), NodeID(random.below(7)))
    }
  }

  /// Whatever is asked, what comes of it is a lawful membership, or a refusal.
  @Test func randomChangesKeepTheRules() throws {
    for seed in seeds(200) {
      var random = Random(seed)
      var tracker = Tracker(inflightMessagesMax: 4, inflightBytesMax: 0)
      tracker.adopt(try Changer(tracker, lastIndex: 1).simple([SingleChange(.addVoter, 1)]))
      for step in 0..<100 {
        let changer = Changer(tracker, lastIndex: UInt64(step))
        let before = tracker.config
        let after: Membership?
        switch random.below(3) {
        case 0: after = try? changer.simple(randomChanges(&random))
        case 1: after = try? changer.enteringJoint(autoLeave: random.chance(50), randomChanges(&random))
        default: after = try? changer.leavingJoint()
        }
        guard let after else { continue }
        checkLawful(after)
        if !before.voters.isJoint, !after.config.voters.isJoint {
          #expect(before.voters.incoming.differences(from: after.config.voters.incoming) <= 1)
        }
        tracker.adopt(after)
        // A snapshot that names this membership brings it back.
        let restored = try Changer.restore(tracker.configState, inflightsOf: tracker, lastIndex: 1)
        #expect(restored.config == tracker.config)
        #expect(restored.progress.ids == tracker.progress.ids)
      }
    }
  }

  private func checkLawful(_ membership: Membership) {
    let config = membership.config
    #expect(!config.voters.incoming.isEmpty)
    let voters = config.voters.all
    for id in config.learners.ids {
      #expect(!voters.contains(id))
      #expect(membership.progress[id]?.isLearner == true)
    }
    for id in config.learnersNext.ids { #expect(config.voters.outgoing.contains(id)) }
    for id in voters.ids { #expect(membership.progress[id]?.isLearner == false) }
    #expect(MemberSet(membership.progress.ids) == voters.union(config.learners))
    if !config.voters.isJoint { #expect(config.learnersNext.isEmpty && !config.autoLeave) }
  }

  /// One step through a joint membership ends where single steps end.
  @Test func jointEndsWhereSingleStepsEnd() throws {
    for seed in seeds(200) {
      var random = Random(seed)
      var start = Tracker(inflightMessagesMax: 4, inflightBytesMax: 0)
      for id in 1...NodeID(1 + random.below(3)) {
        start.adopt(try Changer(start, lastIndex: 1).simple([SingleChange(.addVoter, id)]))
      }
      let changes = randomChanges(&random)
      var single = start
      var isPossible = true
      for change in changes {
        guard let next = try? Changer(single, lastIndex: 5).simple([change]) else {
          isPossible = false
          break
        }
        single.adopt(next)
      }
      guard isPossible else { continue }
      var joint = start
      joint.adopt(try Changer(joint, lastIndex: 5).enteringJoint(autoLeave: false, changes))
      joint.adopt(try Changer(joint, lastIndex: 5).leavingJoint())
      #expect(joint.config == single.config, "\(changes) from \(start.config)")
    }
  }

  @Test func contradictoryMembershipsAreRefused() {
    let tracker = Tracker(inflightMessagesMax: 1, inflightBytesMax: 0)
    for state in [
      ConfigState(voters: [1, 1]), ConfigState(voters: [1], learners: [1]), ConfigState(learners: [1]),
      ConfigState(voters: [1], learnersNext: [1]), ConfigState(voters: [1], autoLeave: true),
      ConfigState(voters: [], votersOutgoing: [1]), ConfigState(voters: [0]),
    ] {
      #expect(throws: RaftError.self, "\(state)") {
        try Changer.restore(state, inflightsOf: tracker, lastIndex: 1)
      }
    }
  }

  @Test func changesSurviveTheirEncoding() throws {
    for seed in seeds(300) {
      var random = Random(seed)
      let isV1 = random.chance(30)
      var changes = randomChanges(&random)
      if isV1 { changes = [SingleChange(.addLearner, random.next() >> 3)] }
      let change = ConfigChange(
        transition: isV1 ? .auto : random.pick([.auto, .jointImplicit, .jointExplicit]), changes: changes,
        context: Array("context".utf8.prefix(random.below(8))), isV1: isV1)
      #expect(try ConfigChange.decode(change.entry) == change)
    }
    #expect(try ConfigChange.decode(Entry(kind: .configChangeV2))?.leavesJoint == true)
    #expect(try ConfigChange.decode(Entry(data: [1, 2, 3])) == nil)
    // etcd's own bytes for "add node 3", v1 and v2.
    let v1 = ConfigChange(changes: [SingleChange(.addVoter, 3)], isV1: true)
    #expect(v1.entry.data == [0x10, 0x00, 0x18, 0x03])
    let v2 = ConfigChange(changes: [SingleChange(.addVoter, 3)])
    #expect(v2.entry.data == [0x08, 0x00, 0x12, 0x04, 0x08, 0x00, 0x10, 0x03])
  }

  /// Any bytes at all: a change, or a typed error.
  @Test func anyBytesAreReadOrRefused() {
    var random = Random(7)
    for _ in 0..<20_000 {
      let data = (0..<random.below(24)).map { _ in UInt8(random.chance(60) ? random.below(32) : random.below(256)) }
      for kind in [EntryKind.configChange, .configChangeV2] {
        do { _ = try ConfigChange.decode(Entry(kind: kind, data: data)) } catch {
          guard case .malformed = error else {
            Issue.record("\(error)")
            return
          }
        }
      }
    }
  }
}
