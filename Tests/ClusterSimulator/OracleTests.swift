// The simulator's own judges: what they let pass, and what they do not.
import NeedletailMVCC
import NeedletailRaft
import Testing

@testable import NeedletailClusterSimulator

@Suite struct OracleTests {
  private func entry(_ index: UInt64, _ term: UInt64 = 1) -> Entry { Entry(term: term, index: index, data: [1]) }

  private func fails(_ body: () throws -> Void) -> Bool {
    do {
      try body()
      return false
    } catch { return true }
  }

  @Test func leadersVotesAndEntries() throws {
    var invariants = ClusterInvariants(ConfigState(voters: [1, 2, 3]))
    try invariants.check(leader: 1, term: 2)
    try invariants.check(leader: 1, term: 2)
    #expect(fails { try invariants.check(leader: 2, term: 2) })
    try invariants.check(sent: Message(.voteResponse, to: 1, from: 3, term: 4))
    try invariants.check(sent: Message(.voteResponse, to: 2, from: 3, term: 4, reject: true))
    #expect(fails { try invariants.check(sent: Message(.voteResponse, to: 2, from: 3, term: 4)) })
    #expect(try invariants.check(committed: entry(5), at: 1))
    #expect(try !invariants.check(committed: entry(5), at: 2))
    #expect(fails { _ = try invariants.check(committed: entry(5, 2), at: 3) })
    try invariants.check(outcome: 7, of: 5, at: 1)
    #expect(fails { try invariants.check(outcome: 8, of: 5, at: 2) })
  }

  /// An entry needs a quorum of the membership before it, or of the one before that, since its leader may lag behind.
  @Test func quorumsFollowTheMembership() throws {
    var invariants = ClusterInvariants(ConfigState(voters: [1, 2, 3]))
    #expect(fails { try invariants.check(holders: { $0 == 1 }, of: entry(5)) })
    try invariants.check(holders: { $0 != 3 }, of: entry(5))
    let joint = ConfigState(voters: [1, 4, 5], votersOutgoing: [1, 2, 3], learners: [6], autoLeave: true)
    #expect(try invariants.check(membership: joint, from: 10, at: 1) == ConfigState(voters: [1, 2, 3]))
    #expect(try invariants.check(membership: joint, from: 10, at: 2) == nil)
    #expect(fails { _ = try invariants.check(membership: ConfigState(voters: [9]), from: 10, at: 3) })
    #expect(fails { _ = try invariants.check(membership: joint, from: 9, at: 3) })
    _ = try invariants.check(membership: ConfigState(voters: [1, 4, 5], learners: [6]), from: 12, at: 1)
    #expect(fails { try invariants.check(holders: { $0 == 2 || $0 == 3 || $0 == 6 }, of: entry(13)) })
    try invariants.check(holders: { $0 == 4 || $0 == 5 }, of: entry(13))
    #expect(invariants.membership.everybody == [1, 4, 5, 6] && joint.everybody == [1, 2, 3, 4, 5, 6])
  }

  @Test func membershipsKeepTheirBytes() {
    let states = [
      ConfigState(), ConfigState(voters: [1, .max]),
      ConfigState(voters: [4], votersOutgoing: [1, 2, 3], learners: [5, 6], learnersNext: [1], autoLeave: true),
    ]
    for state in states {
      let bytes = state.bytes
      #expect(bytes.withUnsafeBytes { ConfigState(bytes: $0) } == state)
      #expect(bytes.dropLast().withUnsafeBytes { ConfigState(bytes: $0) } == nil)
      #expect(bytes.dropLast(8).withUnsafeBytes { ConfigState(bytes: $0) } == nil)
    }
    let huge = [UInt8](repeating: 0xFF, count: 48)
    #expect(huge.withUnsafeBytes { ConfigState(bytes: $0) } == nil)
  }

  // MARK: The store

  private func answer(_ revision: Int64) -> Result<[UInt8], MVCCError> {
    // A response of nothing but a header: field 1, in it the revision as field 3.
    .success([10, 2, 24, UInt8(revision)])
  }

  @Test func storesAnswersAreForetold() throws {
    var oracle = StoreOracle()
    func put(_ key: UInt8, lease: Int64 = 0) -> ClusterCommand {
      ClusterCommand(id: 1, key: [key], kind: .put(value: [9], lease: lease))
    }
    try oracle.apply(put(1), at: 2, answer: answer(2))
    // An entry goes in once.
    try oracle.apply(put(1), at: 2, answer: answer(9))
    #expect(fails { try oracle.apply(put(1), at: 3, answer: answer(2)) })
    #expect(fails { try oracle.apply(put(2, lease: 5), at: 4, answer: answer(4)) })
    try oracle.apply(put(2, lease: 5), at: 5, answer: .failure(.leaseNotFound))
    try oracle.apply(ClusterCommand(id: 1, kind: .grant(lease: 5, ttl: 1)), at: 6, answer: answer(3))
    #expect(fails { try oracle.apply(put(2, lease: 5), at: 7, answer: .failure(.leaseNotFound)) })
    try oracle.apply(put(1, lease: 5), at: 8, answer: answer(5))
    try oracle.apply(ClusterCommand(id: 1, kind: .revoke(lease: 5)), at: 9, answer: answer(6))
    let ended = oracle.events(after: 5, through: 6)
    #expect(ended.map(\.kv.key) == [[1], [2]] && ended.allSatisfy { $0.kind == .delete && $0.prevKV?.lease == 5 })
    #expect(oracle.events(after: 0, through: 100).count == 6 && oracle.events(after: 6, through: 6).isEmpty)
    try oracle.apply(ClusterCommand(id: 1, kind: .compact(4)), at: 10, answer: answer(6))
    try oracle.apply(ClusterCommand(id: 1, kind: .compact(4)), at: 11, answer: .failure(.compacted))
    try oracle.apply(ClusterCommand(id: 1, kind: .compact(7)), at: 12, answer: .failure(.futureRevision))
    try oracle.apply(ClusterCommand(id: 1, key: [1], kind: .delete(end: [])), at: 13, answer: answer(6))
  }
}
