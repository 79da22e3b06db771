// Who watches a key: single keys in a table, ranges in a tree of intervals. Watchers who want the same of the same keys are
// one group, and get the same bytes.
import Glibc
import NeedletailMVCC
import NeedletailRPC

/// What a watcher wants to see.
struct WatchInterest: Sendable {
  let keys: WatchedKeys
  let skipsPuts: Bool
  let skipsDeletes: Bool
  let withPrevious: Bool

  func isLike(_ other: WatchInterest) -> Bool {
    skipsPuts == other.skipsPuts && skipsDeletes == other.skipsDeletes && withPrevious == other.withPrevious
  }
}

/// A member of the index. A class of its own for each use.
class WatchMember {
  let interest: WatchInterest
  /// Nil where it is in no index. The index owns the group, and the group its members: were it the other way round too,
  /// what one reading of the past gathered would outlive its index, and stay for ever.
  fileprivate(set) unowned var group: WatchGroup?
  fileprivate var place = 0

  init(_ interest: WatchInterest) { self.interest = interest }
}

/// Members with one interest, and the events that are being gathered for them.
final class WatchGroup {
  let interest: WatchInterest
  fileprivate unowned let owner: WatchedInterval
  fileprivate(set) var members: [WatchMember] = []
  var run: EventRun?

  fileprivate init(_ interest: WatchInterest, _ owner: WatchedInterval) {
    self.interest = interest
    self.owner = owner
  }

  /// Adds the event to the run, if the group wants it. True where the run has begun with it.
  func take(_ event: ChangeEvent) -> Bool {
    if event.isDelete ? interest.skipsDeletes : interest.skipsPuts { return false }
    if let run {
      run.add(event, withPrevious: interest.withPrevious)
      return false
    }
    let begun = EventRun()
    begun.add(event, withPrevious: interest.withPrevious)
    run = begun
    return true
  }
}

/// The groups of one interval.
final class WatchedInterval {
  let keys: WatchedKeys
  fileprivate(set) var groups: [WatchGroup] = []

  init(_ keys: WatchedKeys) { self.keys = keys }
}

/// One thread owns it.
struct WatchIndex {
  private var single: [WatchedKey: WatchedInterval] = [:]
  private var ranges = IntervalTree()
  private(set) var count = 0

  mutating func insert(_ member: WatchMember) {
    let interval = find(member.interest.keys)
    let group: WatchGroup
    if let found = interval.groups.first(where: { $0.interest.isLike(member.interest) }) {
      group = found
    } else {
      group = WatchGroup(member.interest, interval)
      interval.groups.append(group)
    }
    member.place = group.members.count
    member.group = group
    group.members.append(member)
    count += 1
  }

  private mutating func find(_ keys: WatchedKeys) -> WatchedInterval {
    guard keys.isSingle else { return ranges.findOrInsert(keys) }
    if let found = single[WatchedKey(keys.begin)] { return found }
    let made = WatchedInterval(keys)
    // The table's key points into memory that the interval holds.
    single[WatchedKey(keys.begin)] = made
    return made
  }

  /// A member that is in the index.
  mutating func remove(_ member: WatchMember) {
    guard let group = member.group else { return }
    let last = group.members.removeLast()
    if last !== member {
      group.members[member.place] = last
      last.place = member.place
    }
    member.group = nil
    count -= 1
    guard group.members.isEmpty else { return }
    let interval = group.owner
    interval.groups.removeAll { $0 === group }
    guard interval.groups.isEmpty else { return }
    if interval.keys.isSingle {
      single[WatchedKey(interval.keys.begin)] = nil
    } else {
      ranges.remove(interval.keys)
    }
  }

  /// Calls `body` with each group that has `key` among its keys. O(log ranges + groups).
  func forEachGroup(watching key: UnsafeRawBufferPointer, _ body: (WatchGroup) -> Void) {
    if let interval = single[WatchedKey(key)] {
      for group in interval.groups { body(group) }
    }
    ranges.forEach(covering: key) { interval in
      for group in interval.groups { body(group) }
    }
  }

  func watches(_ key: UnsafeRawBufferPointer) -> Bool {
    if single[WatchedKey(key)] != nil { return true }
    var found = false
    ranges.forEach(covering: key) { _ in found = true }
    return found
  }

  func forEachMember(_ body: (WatchMember) -> Void) {
    func visit(_ interval: WatchedInterval) {
      for group in interval.groups {
        for member in group.members { body(member) }
      }
    }
    for interval in single.values { visit(interval) }
    ranges.forEach(visit)
  }
}
