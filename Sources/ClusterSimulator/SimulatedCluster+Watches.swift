// Watchers: each change once, in order, without gaps, whatever happens to the members that they are attached to.

import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft
import NeedletailSimulator

extension SimulatedCluster {
  /// What a commit has changed goes to those who are attached and have everything before it.
  func give(_ block: EventBlock?, of member: SimulatedMember) throws {
    for i in watchers.indices where watchers[i].member == member.id && watchers[i].isSynced {
      guard let block, watchers[i].life == member.life, Int64(block.after) <= watchers[i].position else {
        // There was too much of it, or the tree was replaced and it does not join on: read from the log, later.
        watchers[i].isSynced = false
        continue
      }
      var wire = EventWire()
      let watcher = watchers[i]
      block.forEach(after: UInt64(watcher.position)) { event in
        if watcher.wants(event.key) { wire.add(event) }
      }
      try take(try wire.take(), Int64(block.through), i, compacted: 0)
      faults[.watchBlock] += 1
    }
  }

  /// A watcher's turn: it looks for a member, reads what it has missed, or moves on to another.
  func watch(_ number: Int) throws {
    queue.add(.watch(number), after: random.between(5_000_000...40_000_000))
    if let id = watchers[number].member,
      !member(id).isAwake || member(id).life != watchers[number].life || random.chance(perMille: 20)
    {
      watchers[number].member = nil
      watchers[number].isSynced = false
    }
    guard let id = watchers[number].member else {
      guard let member = pickMember(&random), member.isAwake else { return }
      watchers[number].member = member.id
      watchers[number].life = member.life
      return
    }
    guard !watchers[number].isSynced else { return }
    try guarded(member(id)) { process in try catchUp(number, process.tree) }
  }

  private func catchUp(_ number: Int, _ tree: TreeStack) throws {
    let watcher = watchers[number]
    let (has, compacted) = tree.revisions
    // A member that is behind has nothing for who has seen more.
    guard has >= watcher.position else { return }
    var window = EventWindow()
    window.rowsMax = 1 + random.below(30)
    window.changesMax = 1 + random.below(10)
    do {
      let (events, reached) = try tree.changes(after: watcher.position, window, wants: watcher.wants)
      try take(events, reached, number, compacted: compacted)
      faults[.watchCatchUp] += 1
      watchers[number].isSynced = reached == has
    } catch MVCCError.compacted {
      guard watcher.position + 1 < compacted else {
        throw Violation("watcher \(number) at \(watcher.position) was told of a compaction at \(compacted)")
      }
      faults[.watchCompacted] += 1
      note("watcher \(number) begins anew after \(has): revision \(compacted) is compacted")
      watchers[number].position = has
    }
  }

  /// Compares what a watcher was given with what there was.
  private func take(_ events: [WatchEvent], _ reached: Int64, _ number: Int, compacted: Int64) throws {
    let watcher = watchers[number]
    guard reached >= watcher.position else { throw Violation("watcher \(number) went back to \(reached)") }
    var given = events[...]
    for expected in oracle.events(after: watcher.position, through: reached) where watcher.wants(expected) {
      var expected = expected
      // What a compacted revision replaced can't be told any more.
      if expected.kv.modRevision <= compacted { expected.prevKV = nil }
      guard let event = given.popFirst(), event == expected else {
        throw Violation("watcher \(number) was not given the change of revision \(expected.kv.modRevision)")
      }
    }
    if let extra = given.first { throw Violation("watcher \(number) was given one more of \(extra.kv.modRevision)") }
    guard reached <= oracle.revision else { throw Violation("watcher \(number) is at \(reached), before anything was") }
    watchers[number].position = reached
    hash.add(UInt64(reached))
  }
}
