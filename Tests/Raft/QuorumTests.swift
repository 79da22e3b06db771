import Testing

@testable import NeedletailRaft

@Suite struct QuorumTests {
  /// Every subset of acknowledgements against the definition: the largest index that a majority has.
  @Test func committedIndexIsWhatAMajorityHas() {
    var random = Random(1)
    for _ in 0..<20_000 {
      let ids = (1...NodeID(1 + random.below(7))).map { $0 }
      let acked = Dictionary(uniqueKeysWithValues: ids.map { ($0, UInt64(random.below(6))) })
      let missing = Set(ids.filter { _ in random.chance(20) })
      let found = MemberSet(ids).committedIndex { missing.contains($0) ? nil : acked[$0] }
      let best = (0...UInt64(6)).last { index in
        ids.count { !missing.contains($0) && acked[$0] ?? 0 >= index } > ids.count / 2 || index == 0
      }
      #expect(found == best)
    }
  }

  /// A vote is won, or lost, exactly when no further vote could change that.
  @Test func voteIsDecidedWhenNothingCanChangeIt() {
    for count in 1...5 {
      let ids = (1...NodeID(count)).map { $0 }
      let set = MemberSet(ids)
      var combinations = 1
      for _ in ids { combinations *= 3 }
      for code in 0..<combinations {
        let votes = votes(ids, code)
        let open = ids.filter { votes[$0] == nil }
        let outcomes = (0..<1 << open.count).map { bits in
          let yes = ids.count { id in votes[id] ?? (bits >> (open.firstIndex(of: id) ?? 0) & 1 == 1) }
          return yes > count / 2
        }
        let expected: VoteResult =
          outcomes.allSatisfy { $0 } ? .won : outcomes.allSatisfy { !$0 } ? .lost : .pending
        #expect(set.voteResult { votes[$0] } == expected, "\(votes)")
      }
    }
  }

  private func votes(_ ids: [NodeID], _ code: Int) -> [NodeID: Bool] {
    var (code, votes) = (code, [NodeID: Bool]())
    for id in ids {
      if code % 3 != 0 { votes[id] = code % 3 == 1 }
      code /= 3
    }
    return votes
  }

  /// A joint decision is that of both halves.
  @Test func jointIsBoth() {
    var random = Random(2)
    for _ in 0..<5_000 {
      let half = { (random: inout Random) in
        MemberSet((0..<random.below(5)).map { _ in NodeID(1 + random.below(6)) })
      }
      let joint = JointQuorum(incoming: half(&random), outgoing: half(&random))
      let swapped = JointQuorum(incoming: joint.outgoing, outgoing: joint.incoming)
      let acked = (0...6).map { _ in UInt64(random.below(5)) }
      let index = joint.committedIndex { acked[Int($0)] }
      #expect(index == swapped.committedIndex { acked[Int($0)] })
      if !joint.all.isEmpty {
        for half in [joint.incoming, joint.outgoing] where !half.isEmpty {
          #expect(half.ids.count { acked[Int($0)] >= index } > half.count / 2)
        }
      }
      let votes = (0...6).map { _ in random.chance(30) ? nil : random.chance(50) }
      let result = joint.voteResult { votes[Int($0)] }
      #expect(result == swapped.voteResult { votes[Int($0)] })
      let halves = [joint.incoming, joint.outgoing].map { $0.voteResult { votes[Int($0)] } }
      #expect((result == .won) == halves.allSatisfy { $0 == .won })
      #expect((result == .lost) == halves.contains(.lost))
    }
  }

  @Test func setsAreSorted() {
    var set = MemberSet([3, 1, 2, 3, 1])
    #expect(set.ids == [1, 2, 3])
    set.remove(2)
    set.insert(9)
    set.insert(0)
    #expect(set.ids == [0, 1, 3, 9])
    #expect(set.differences(from: MemberSet([1, 3, 4])) == 3)
  }
}
