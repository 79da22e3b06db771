// Disks that hold other bytes than were written: what is done to them, and how a cluster lives on.
//
// Disks are damaged while their member is down, so that what it reads next is what lies there. It must notice, and the
// cluster must lose nothing as long as a quorum is sound: at most one member is damaged at a time, in a cluster that can
// spare it. A log that is corrupt has forgotten promises to others, so that its member can never come back under its name:
// an operator removes it and adds another. A tree that is corrupt is replaced with one of another member's.
//
// Only places of the log are damaged that a later, durable group knows to be durable. Behind that, damage and a torn write
// look the same, to any reader.

import NeedletailBackend
import NeedletailMVCC
import NeedletailRaft
import NeedletailSimulator
import NeedletailWAL

extension SimulatedCluster {
  func isDamage(_ error: any Error) -> Bool {
    switch error {
    case WALError.corrupt, WALError.missingSegment, WALError.foreignSegment, WALError.unsupportedVersion: true
    case DatabaseError.corrupt, DatabaseError.noValidMeta, DatabaseError.notADatabase: true
    case DatabaseError.unsupportedVersion, DatabaseError.pageSizeInvalid: true
    case MVCCError.corrupt, MVCCError.unknownFormat: true
    case MVCCError.storage(let inner): isDamage(inner)
    case is LogGap: true
    default: false
    }
  }

  /// Whether the error is damage that was done here; then the member stays down until it is replaced or mended.
  func notice(_ error: any Error, at member: SimulatedMember) -> Bool {
    guard isDamage(error) else { return false }
    let isLog = error is WALError
    guard isLog ? member.isLogDamaged : member.isTreeDamaged else { return false }
    note("\(member.id) has noticed that its \(isLog ? "log" : "tree") is damaged")
    faults[.damageNoticed] += 1
    member.condition = isLog ? .withoutLog : .withoutTree
    stop(member, powerCut: false, restarts: !isLog)
    return true
  }

  // MARK: Doing it

  /// A member whose loss the cluster can bear: all other voters are up and sound, and the membership stays what it is.
  private func victim(_ random: inout SimulatedRandom) -> SimulatedMember? {
    let state = invariants.membership
    guard !state.isJoint, state.voters.count >= 3, let member = pickMember(&random) else { return nil }
    let others = state.everybody.map { self.member($0) }
    guard members.allSatisfy({ !$0.isLogDamaged && !$0.isTreeDamaged || $0.condition == .retired }),
      others.allSatisfy({ $0.condition == .sound && $0.process != nil })
    else { return nil }
    let isChanging = members.contains { other in
      guard let process = other.process else { return false }
      return process.tree.members != state || process.raft.lastIndex > process.tree.applied.index + 200
        || process.log.storage.log.contains { $0.isConfigChange && $0.index > process.tree.applied.index }
        || (process.storing.map(\.ready) + process.unwritten).contains { $0.entries.contains { $0.isConfigChange } }
        || process.raft.isChangingMembers
    }
    return isChanging ? nil : member
  }

  func damageLog(_ random: inout SimulatedRandom) {
    guard let member = victim(&random) else { return }
    stop(member, powerCut: random.chance(perMille: 500), restarts: true)
    guard let proven = member.proven else { return }
    let segments = member.log.fileNames.compactMap { name -> (name: String, end: Int)? in
      guard name.hasSuffix(".wal"), let generation = UInt64(name.dropLast(4), radix: 16) else { return nil }
      let bytes = member.log.contents(name)?.count ?? 0
      let end = generation < proven.generation ? bytes : generation == proven.generation ? Int(proven.offset) : 0
      return end >= 512 ? (name, min(end, bytes)) : nil
    }
    guard !segments.isEmpty else { return }
    let segment = random.pick(segments)
    guard var bytes = member.log.contents(segment.name) else { return }
    member.isLogDamaged = true
    if random.chance(perMille: 400), segment.end >= 8192 {
      // A write went elsewhere: what it should have replaced is zeros still, and what it hit is gone.
      let blocks = segment.end / 4096
      let from = random.below(blocks) * 4096
      let to = random.below(blocks) * 4096
      bytes.replaceSubrange(to..<to + 4096, with: bytes[from..<from + 4096])
      bytes.replaceSubrange(from..<from + 4096, with: repeatElement(0, count: 4096))
      faults[.misdirectedLogWrite] += 1
      note("a block of \(segment.name) of \(member.id) went to \(to) instead of \(from)")
    } else {
      let at = random.below(segment.end / 512) * 512
      SimulatedCluster.spoil(&bytes, at, &random)
      faults[.logDamage] += 1
      note("a sector at \(at) of \(segment.name) of \(member.id) is damaged")
    }
    member.log.overwrite(segment.name, bytes)
  }

  func damageTree(_ random: inout SimulatedRandom) {
    guard let member = victim(&random) else { return }
    stop(member, powerCut: random.chance(perMille: 500), restarts: true)
    // Only some of the file is in use: enough of it is hit to matter.
    let used = (0..<Int(member.pages.size) / 4096).filter { page in
      member.pages.bytes(at: page * 4096, count: 4096).contains { $0 != 0 }
    }
    guard used.count >= 2 else { return }
    member.isTreeDamaged = true
    let isMisdirected = random.chance(perMille: 400)
    let count = 1 + random.below(used.count / 2)
    for _ in 0..<count {
      let page = random.pick(used)
      if isMisdirected {
        member.pages.damage(member.pages.bytes(at: random.pick(used) * 4096, count: 4096), at: page * 4096)
      } else {
        let at = page * 4096 + random.below(8) * 512
        var bytes = member.pages.bytes(at: at, count: 512)
        SimulatedCluster.spoil(&bytes, 0, &random)
        member.pages.damage(bytes, at: at)
      }
    }
    faults[isMisdirected ? .misdirectedTreeWrite : .treeDamage] += 1
    note("\(count) pages of \(member.id)'s tree are \(isMisdirected ? "others" : "damaged")")
  }

  /// A sector is zeros, noise, or has one wrong bit.
  private static func spoil(_ bytes: inout [UInt8], _ at: Int, _ random: inout SimulatedRandom) {
    switch random.below(3) {
    case 0: for i in at..<at + 512 { bytes[i] = 0 }
    case 1: for i in at..<at + 512 { bytes[i] = UInt8(truncatingIfNeeded: random.next()) }
    default: bytes[at + random.below(512)] ^= 1 << UInt8(random.below(8))
    }
  }

  // MARK: Living on

  /// The member begins again with the tree of another that is far enough for its log.
  func replaceTree(of member: SimulatedMember) {
    let donor = members.first { other in
      guard other.id != member.id, other.isAwake, !other.isTreeDamaged, let process = other.process else {
        return false
      }
      return process.tree.applied.index >= member.promise.applied && process.tree.members.everybody.contains(member.id)
    }
    guard let donor, let snapshot = try? snapshot(of: donor), let image = images[snapshot.data.number] else {
      queue.add(.restart(member.id, life: member.life), after: 50_000_000)
      return
    }
    note("\(member.id) takes the tree of \(donor.id), as of \(snapshot.index)")
    let pages = image.pages.processCrash()
    guard (try? pages.sync()) != nil else { return }
    member.pages = pages
    member.isTreeDamaged = false
    member.condition = .sound
    member.promise.applied = snapshot.index
    faults[.treeReplaced] += 1
    start(member)
  }
}
