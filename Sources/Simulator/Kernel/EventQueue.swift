// Virtual time: what is to happen, and when. Nothing passes but by taking the next event.

/// A heap by time. Events of one time come in the order in which they were added, so that a seed decides everything.
package struct EventQueue<Event> {
  /// Small and trivial: the heap moves these, and events stay where they are.
  private struct Entry {
    var time_ns: Int64
    var number: UInt64
    var slot: Int

    func isBefore(_ other: Entry) -> Bool {
      time_ns != other.time_ns ? time_ns < other.time_ns : number < other.number
    }
  }

  private var heap: [Entry] = []
  private var events: [Event?] = []
  private var free: [Int] = []
  private var added: UInt64 = 0
  /// The time of the last event taken; never goes back.
  package private(set) var now_ns: Int64 = 0

  package init() {}

  package var isEmpty: Bool { heap.isEmpty }

  /// O(log n).
  package mutating func add(_ event: Event, after delay_ns: Int64) {
    assert(delay_ns >= 0)
    let slot = free.popLast() ?? events.count
    if slot == events.count { events.append(event) } else { events[slot] = event }
    let entry = Entry(time_ns: now_ns + delay_ns, number: added, slot: slot)
    added += 1
    var at = heap.count
    heap.append(entry)
    while at > 0, entry.isBefore(heap[(at - 1) / 2]) {
      heap[at] = heap[(at - 1) / 2]
      at = (at - 1) / 2
    }
    heap[at] = entry
  }

  /// The next event, with the clock set to its time. O(log n).
  package mutating func next() -> Event? {
    guard let first = heap.first, let last = heap.popLast() else { return nil }
    now_ns = first.time_ns
    if !heap.isEmpty { sink(last) }
    let event = events[first.slot]
    events[first.slot] = nil
    free.append(first.slot)
    return event
  }

  private mutating func sink(_ entry: Entry) {
    var at = 0
    while 2 * at + 1 < heap.count {
      var child = 2 * at + 1
      if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
      guard heap[child].isBefore(entry) else { break }
      heap[at] = heap[child]
      at = child
    }
    heap[at] = entry
  }
}
