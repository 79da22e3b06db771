// What goes wrong, and how it ends.

import Glibc
import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  func injectFault() throws {
    queue.add(.fault, after: random.between(20_000_000...250_000_000))
    let member = random.pick(members)
    record(fault: member.id)
    switch random.below(16) {
    case 0, 1: if member.process != nil { stop(member, powerCut: true, restarts: true) }
    case 14, 15: member.losesPowerInWrite = true
    case 2: if member.process != nil { stop(member, powerCut: false, restarts: true) }
    case 3: powerCutForAll()
    case 4, 5: partition()
    case 6: clog()
    case 7:
      network.lossPerMille = random.below(200)
      network.repeatPerMille = random.below(200)
      queue.add(.heal, after: random.between(50_000_000...600_000_000))
      note("the network loses \(network.lossPerMille) and repeats \(network.repeatPerMille) in a thousand")
    case 8: pause(member)
    case 9:
      member.tick_ns = random.between(7_000_000...14_000_000)
      faults[.skew] += 1
    case 10:
      let isSlow = member.disk_ns.upperBound < 5_000_000
      member.disk_ns = isSlow ? 5_000_000...150_000_000 : 100_000...1_000_000
      if isSlow { faults[.slowDisk] += 1 }
    case 11: breakLog(member)
    case 12: breakTree(member)
    default:
      faults[.transfer] += 1
      let target = random.pick(members).id
      note("leadership is to go to \(target)")
      try guarded(member) { process in
        process.raft.transferLeader(to: target)
        try work(member, process)
      }
    }
  }

  private func powerCutForAll() {
    guard random.chance(perMille: 300) else { return }
    for member in members where member.process != nil { stop(member, powerCut: true, restarts: true) }
  }

  private func partition() {
    guard members.count > 1 else { return }
    let side = Set(members.map { Int($0.id) }.filter { _ in random.chance(perMille: 400) })
    let isLopsided = random.chance(perMille: 400)
    network.partition(side, isLopsided: isLopsided)
    faults[isLopsided ? .lopsidedPartition : .partition] += 1
    note("\(side.sorted()) \(isLopsided ? "are not heard by" : "are cut off from") the others")
    queue.add(.heal, after: random.between(100_000_000...800_000_000))
  }

  private func clog() {
    guard members.count > 1 else { return }
    let from = random.pick(members).id
    let to = random.pick(members).id
    network.clog(from: Int(from), to: Int(to), until_ns: now_ns + random.between(50_000_000...400_000_000))
    faults[.clog] += 1
    note("the link from \(from) to \(to) is clogged")
  }

  private func pause(_ member: SimulatedMember) {
    guard member.process != nil, member.pausedUntil_ns == nil else { return }
    let pause = random.between(50_000_000...500_000_000)
    member.pausedUntil_ns = now_ns + pause
    faults[.pause] += 1
    note("\(member.id) pauses")
    queue.add(.resume(member.id, life: member.life), after: pause)
  }

  /// One of the next operations of the log's device fails.
  private func breakLog(_ member: SimulatedMember) {
    let isShort = random.chance(perMille: 400)
    let operation = member.log.operations + 1 + random.below(30)
    member.log.faults[operation] = isShort ? .short : .error(EIO)
    faults[isShort ? .fullLogDisk : .logError] += 1
    note("operation \(operation) of \(member.id)'s log \(isShort ? "will be short" : "fails")")
  }

  private func breakTree(_ member: SimulatedMember) {
    let operation = member.pages.operations + random.below(12)
    member.pages.faults[operation] = random.pick(Array(SimulatedPageStore.Fault.allCases))
    faults[.treeError] += 1
    note("operation \(operation) of \(member.id)'s tree fails")
  }

  // MARK: The end

  /// All faults end; then every client must be answered again, and all members come to the same place.
  func comeBack() throws {
    isHostile = false
    network.heal()
    for member in members {
      member.tick_ns = 10_000_000
      member.disk_ns = 100_000...1_000_000
      member.losesPowerInWrite = false
      member.log.faults = [:]
      member.pages.faults = [:]
      if member.process == nil { start(member) }
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
    guard zip(clients, goal).allSatisfy({ $0.answered >= $1 }) else { return false }
    let places = members.map { $0.process?.tree.applied.index ?? 0 }
    guard let least = places.min(), let most = places.max() else { return false }
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
