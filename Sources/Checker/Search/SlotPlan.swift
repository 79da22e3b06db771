// A place for each call while it is open, the same however the search comes there: what was taken is then a few words of
// bits, not one for every call of the history.

struct SlotPlan {
  /// By call.
  let slots: [Int]
  let slotCount: Int
  let hasDeadlines: Bool
  /// Unanswered calls whose place is free again behind an event, by event.
  private let closings: [Int: [Int32]]

  init(_ history: History) {
    let closings = SlotPlan.closings(history)
    var slots = [Int](repeating: 0, count: history.calls.count)
    var free: [Int] = []
    var count = 0
    for (position, event) in history.events.enumerated() {
      let call = Int(event.call)
      if event.isEnd {
        free.append(slots[call])
      } else if let slot = free.popLast() {
        slots[call] = slot
      } else {
        slots[call] = count
        count += 1
      }
      for closed in closings[position] ?? [] { free.append(slots[Int(closed)]) }
    }
    self.slots = slots
    self.closings = closings
    slotCount = count
    hasDeadlines = history.calls.contains { $0.deadline != nil }
  }

  func closed(at position: Int) -> [Int32] { hasDeadlines ? closings[position] ?? [] : [] }

  /// A call with a deadline is out when the first call that began behind the deadline has been answered: the answered one
  /// was taken by then.
  private static func closings(_ history: History) -> [Int: [Int32]] {
    guard history.calls.contains(where: { $0.deadline != nil }) else { return [:] }
    let count = history.events.count
    var firstEnd = [Int](repeating: count, count: count + 1)
    for position in stride(from: count - 1, through: 0, by: -1) {
      let event = history.events[position]
      firstEnd[position] = firstEnd[position + 1]
      if !event.isEnd, let end = history.calls[Int(event.call)].end {
        firstEnd[position] = min(firstEnd[position], end)
      }
    }
    var closings: [Int: [Int32]] = [:]
    for (call, entry) in history.calls.enumerated() {
      guard let deadline = entry.deadline, firstEnd[deadline] < count else { continue }
      closings[firstEnd[deadline], default: []].append(Int32(truncatingIfNeeded: call))
    }
    return closings
  }
}
