// What goes wrong, and how it ends.
//
// A fault draws from randomness of its own, known by its number: one that is left out shifts no other.

import Glibc
import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  func injectFault(_ number: Int) throws {
    var random = SimulatedRandom(seed &* 0x9E37_79B9 &+ UInt64(number) &* 0xD1B5_4A32_D192_ED03 &+ 1)
    queue.add(.fault(number + 1), after: random.between(20_000_000...200_000_000))
    faultsSeen = number + 1
    let kind = random.below(24)
    guard settings.faults?.contains(number) ?? true else { return }
    hash.add(UInt64(kind))
    note("fault \(number)")
    switch kind {
    case 17, 18, 19: return try reconfigure(&random)
    case 20: return damageLog(&random)
    case 21: return damageTree(&random)
    case 3: return powerCutForAll(&random)
    case 4, 5: return partition(&random)
    case 6: return clog(&random)
    case 7: return loseMessages(&random)
    default: break
    }
    guard let member = pickMember(&random) else { return }
    switch kind {
    case 0, 1: if member.process != nil { stop(member, powerCut: true, restarts: true) }
    case 2: if member.process != nil { stop(member, powerCut: false, restarts: true) }
    case 8: pause(member, &random)
    case 9: skew(member, &random)
    case 10: slowDown(member, &random)
    case 11: breakLog(member, &random)
    case 12: breakTree(member, &random)
    case 13, 14: member.losesPowerInWrite = true
    case 15: fillDisk(member, &random)
    default: try transfer(from: member, &random)
    }
  }

  // MARK: Power

  private func powerCutForAll(_ random: inout SimulatedRandom) {
    guard random.chance(perMille: 400) else { return }
    for member in members where member.process != nil { stop(member, powerCut: true, restarts: true) }
  }

  private func pause(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    guard member.isAwake else { return }
    let pause = random.between(50_000_000...500_000_000)
    member.pausedUntil_ns = now_ns + pause
    faults[.pause] += 1
    note("\(member.id) pauses")
    queue.add(.resume(member.id, life: member.life), after: pause)
  }

  /// Leases hold for 7 ticks of the leader's at most, and a follower refuses votes for 9 of its own at least (docs/raft.md):
  /// rates that differ by less than 9/7 are within what leases bear.
  private func skew(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    let isLeased = options.readMode == .leaseBased
    member.tick_ns = random.between(isLeased ? 8_700_000...10_900_000 : 7_000_000...14_000_000)
    faults[.skew] += 1
    note("\(member.id) ticks every \(member.tick_ns / 1000) µs")
  }

  // MARK: Network

  private func partition(_ random: inout SimulatedRandom) {
    let everybody = invariants.membership.everybody
    guard everybody.count > 1 else { return }
    var side: Set<Int> = []
    for id in everybody where random.chance(perMille: 400) { side.insert(Int(id)) }
    let isLopsided = random.chance(perMille: 400)
    network.partition(side, isLopsided: isLopsided)
    faults[isLopsided ? .lopsidedPartition : .partition] += 1
    note("\(side.sorted()) \(isLopsided ? "are not heard by" : "are cut off from") the others")
    queue.add(.heal, after: random.between(100_000_000...800_000_000))
  }

  private func clog(_ random: inout SimulatedRandom) {
    guard let from = pickMember(&random)?.id, let to = pickMember(&random)?.id, from != to else { return }
    network.clog(from: Int(from), to: Int(to), until_ns: now_ns + random.between(50_000_000...400_000_000))
    faults[.clog] += 1
    note("the link from \(from) to \(to) is clogged")
  }

  private func loseMessages(_ random: inout SimulatedRandom) {
    network.lossPerMille = random.below(200)
    network.repeatPerMille = random.below(200)
    queue.add(.heal, after: random.between(50_000_000...600_000_000))
    note("the network loses \(network.lossPerMille) and repeats \(network.repeatPerMille) in a thousand")
  }

  private func transfer(from member: SimulatedMember, _ random: inout SimulatedRandom) throws {
    guard member.isAwake, let target = pickMember(&random)?.id else { return }
    faults[.transfer] += 1
    note("leadership is to go to \(target)")
    try guarded(member) { process in
      process.raft.transferLeader(to: target)
      try work(member, process)
    }
  }

  // MARK: Disks

  private func slowDown(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    let isSlow = member.disk_ns.upperBound < 5_000_000
    member.disk_ns = isSlow ? 5_000_000...150_000_000 : 100_000...1_000_000
    if isSlow { faults[.slowDisk] += 1 }
    note("the disk of \(member.id) is \(isSlow ? "slow" : "fast again")")
  }

  /// One of the next operations of the log's device fails.
  private func breakLog(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    let isShort = random.chance(perMille: 400)
    let operation = member.log.operations + 1 + random.below(30)
    member.log.faults[operation] = isShort ? .short : .error(EIO)
    faults[isShort ? .shortLogWrite : .logError] += 1
    note("operation \(operation) of \(member.id)'s log \(isShort ? "will be short" : "fails")")
  }

  private func breakTree(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    let operation = member.pages.operations + random.below(12)
    member.pages.faults[operation] = random.pick(Array(SimulatedPageStore.Fault.allCases))
    faults[.treeError] += 1
    note("operation \(operation) of \(member.id)'s tree fails")
  }

  /// No room is left for a while: not for another segment of the log, nor for the tree to grow.
  private func fillDisk(_ member: SimulatedMember, _ random: inout SimulatedRandom) {
    if random.chance(perMille: 600) {
      member.log.capacity = 0
      faults[.fullLogDisk] += 1
    } else {
      member.pages.spaceLimit = member.pages.size
      faults[.fullTreeDisk] += 1
    }
    note("the disk of \(member.id) is full")
    queue.add(.room(member.id), after: random.between(50_000_000...600_000_000))
  }

  func makeRoom(_ member: SimulatedMember) {
    member.log.capacity = .max
    member.pages.spaceLimit = .max
    note("the disk of \(member.id) has room")
  }

  // MARK: The end

  /// All faults end; then every client must be answered again, and all members come to the same place.
  func comeBack() throws {
    note("all faults end")
    isHostile = false
    network.heal()
    for member in members where member.condition != .retired {
      member.tick_ns = 10_000_000
      member.disk_ns = 100_000...1_000_000
      member.losesPowerInWrite = false
      member.log.faults = [:]
      member.pages.faults = [:]
      makeRoom(member)
      if member.process == nil, member.condition == .sound { start(member) }
    }
    let goal = clients.map { $0.answered + 3 }
    let deadline = now_ns + 20_000_000_000
    while !hasComeBack(goal) {
      if let failedStart { throw failedStart }
      guard now_ns < deadline else { throw Violation("no progress after everything was healed") }
      try step()
    }
    if let failedStart { throw failedStart }
    faults[.loss] += network.lost
    faults[.repetition] += network.repeated
  }

  private func hasComeBack(_ goal: [Int]) -> Bool {
    for (number, client) in clients.enumerated() where settings.clients?.contains(number) ?? true {
      guard client.answered >= goal[number] else { return false }
    }
    let state = invariants.membership
    let places = state.everybody.map { member($0).process?.tree.applied.index ?? 0 }
    guard watchers.allSatisfy({ $0.position + 20 > oracle.revision }) else { return false }
    guard !state.isJoint, let least = places.min(), let most = places.max() else { return false }
    // Clients go on, so that members are never all at one entry: all must be near the last.
    return least + 20 > most && least > 0
  }

  /// What the devices saw that must never be.
  func checkDisks() throws {
    for member in members {
      if member.log.sawChangedBuffer { throw Violation("\(member.id) changed a buffer while it was written") }
      if let violation = member.pages.violations.first { throw Violation("\(member.id)'s tree: \(violation)") }
    }
  }
}
