// Leases: the leader keeps their deadlines, and proposes their ends.
//
// Who comes to lead gives each lease its whole time anew, once it has applied everything of earlier terms: what its
// predecessors had proposed is applied by then, or never will be. It renews a lease only after it has made sure that it
// leads, as for a read, so that no successor's deadline is before what was promised. An end is proposed to the own log only:
// handed on to a successor, it could end what that one has renewed.

import NeedletailMVCC
import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  /// Clocks of different members have nothing in common but their pace.
  func clock_ns(_ member: SimulatedMember) -> UInt64 { UInt64(now_ns) + member.id * 1_000_000_000_000 }

  /// Comes with every tick.
  func keepLeases(_ member: SimulatedMember, _ process: SimulatedMember.Process) throws {
    guard process.raft.role == .leader else {
      process.leases = nil
      return
    }
    if process.leases?.term != process.raft.term {
      process.leases = nil
      guard process.raft.hasAppliedOwnTerm, process.tree.applied.term == process.raft.term else { return }
      var table = LeaseTable()
      for (id, ttl) in try process.tree.allLeases() { table.grant(id, ttl: ttl, now_ns: clock_ns(member)) }
      process.leases = (process.raft.term, table)
    }
    for lease in process.leases?.table.expired(now_ns: clock_ns(member), most: 10) ?? [] {
      let isTaken = try offer(ClusterCommand(id: 0, kind: .revoke(lease: lease)), process)
      if !isTaken { process.leases?.table.notRevoked(lease) }
      faults[.leaseExpiry] += 1
    }
  }

  private func offer(_ command: ClusterCommand, _ process: SimulatedMember.Process) throws -> Bool {
    do { try process.raft.propose(command.encoded()) } catch {
      if error == .proposalDropped { return false }
      throw error
    }
    return true
  }

  /// The leader hears of leases as it applies them.
  func note(_ command: ClusterCommand, _ isDone: Bool, _ member: SimulatedMember, _ process: SimulatedMember.Process) {
    guard isDone, process.leases != nil else { return }
    switch command.kind {
    case .grant(let lease, let ttl): process.leases?.table.grant(lease, ttl: ttl, now_ns: clock_ns(member))
    case .revoke(let lease): process.leases?.table.revoked(lease)
    default: break
    }
  }

  /// The TTL that a lease has again, 0 where there is none to renew; nil where somebody else must be asked.
  func renew(_ lease: Int64, _ member: SimulatedMember, _ process: SimulatedMember.Process) -> Int64? {
    guard process.raft.role == .leader, process.leases?.term == process.raft.term else { return nil }
    return process.leases?.table.renew(lease, now_ns: clock_ns(member))?.ttl ?? 0
  }
}
