import Testing

@testable import NeedletailRaftScript

/// What the rig does where the published scripts do not go.
@Suite struct RigTests {
  private func check(_ script: String) {
    let replay = ScriptReplay(text: script)
    #expect(replay.actual == script)
    #expect(replay.score.verbatim == replay.score.commands && replay.score.commands > 0)
  }

  /// An error of a command in the input is shown, and the next command runs; one of the first ends it.
  @Test func commandsAfterAnErrorRun() {
    check(
      """
      log-level error
      ----
      ok

      add-nodes 1 voters=(1) index=3
      ----
      ok

      stabilize
      nonsense
      raft-state
      ----
      unknown command1: StateFollower (Voter) Term:0 Lead:0

      nonsense
      raft-state
      ----
      unknown command

      """)
  }

  /// A subtest only divides a file.
  @Test func subtestsDivide() {
    check(
      """
      subtest one

      log-level warn
      ----
      ok

      subtest end

      log-level wrong
      ----
      log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]

      """)
  }

  /// A script may campaign where the product, for the sake of leases, would not.
  @Test func scriptsCampaignUnderLeases() {
    check(
      """
      log-level none
      ----
      ok

      add-nodes 3 voters=(1,2,3) index=10 checkquorum=true read-only=lease-based
      ----
      ok

      campaign 1
      stabilize
      campaign 2
      log-level error
      raft-state
      ----
      1: StateLeader (Voter) Term:1 Lead:1
      2: StateCandidate (Voter) Term:2 Lead:0
      3: StateFollower (Voter) Term:1 Lead:1

      """)
  }
}
