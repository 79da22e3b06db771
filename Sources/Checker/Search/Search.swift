// The search for an order: Wing and Gong's, with Lowe's just-in-time linearization and a memory of what was tried.
//
// It walks the events. A call is taken only when its answer is reached and it has not been taken yet; then any open call
// may go first, and each choice is a branch of a depth-first search. Waiting so long loses no order: of the calls of an
// order, each can be put off until an answer forces it or one behind it. A *configuration* is the event that forces, the
// open calls that were taken and the state: two ways to the same one end alike, so the second is not gone.
//
// Three rules cut branches that cannot matter:
// - A call that changes no state is taken as soon as its answer fits: in any order that succeeds it can be moved to here.
//   Not, though, while that would pass the deadline of a call that might still be taken.
// - A state in which an answered open call is overdue for good is not entered.
// - Nor is one that is off the way to the next answer of a call that changes no state, if no call that can be taken
//   before that answer turns to it.

struct Search<M: Model> {
  private let history: History
  private var model: M
  private let plan: SlotPlan
  private let goals: Goals
  private let wordCount: Int

  // The walk. Between choices `taken`, `state` and `latest` are those of the configuration at `position`.
  private var position = 0
  /// The call in each slot that is open at `position`, or −1.
  private var occupants: [Int32]
  private var taken: [UInt64]
  private var state: StateID = 0
  /// The latest start of all calls that were taken: an unanswered call with a deadline at or before it is out.
  private var latest = -1

  private struct Frame {
    var position: Int
    var state: StateID
    var latest: Int
    /// −1: the call whose answer forces; then the slots in order.
    var next: Int
  }

  private var frames: [Frame] = []
  /// `wordCount` words a frame: what was taken.
  private var frameWords: [UInt64] = []

  private var seen: RowTable
  private var row: [UInt64]
  private var deepest = 0
  private var steps = 0

  init(_ history: History, _ model: M) {
    self.history = history
    self.model = model
    plan = SlotPlan(history)
    goals = Goals(history, model)
    wordCount = max(1, (plan.slotCount + 63) / 64)
    occupants = [Int32](repeating: -1, count: plan.slotCount)
    taken = [UInt64](repeating: 0, count: wordCount)
    seen = RowTable(width: wordCount + 1)
    row = [UInt64](repeating: 0, count: wordCount + 1)
  }

  mutating func run(until deadline: Deadline, bytes: Int) -> Verdict {
    state = model.initialState()
    if walk() { return .linearizable }
    while !frames.isEmpty {
      steps += 1
      if steps & 0xFF == 0 {
        if deadline.hasPassed { return .unknown(.time) }
        if byteCount > bytes || seen.count >= Int32.max / 2 { return .unknown(.memory) }
      }
      if takeNext(), walk() { return .linearizable }
    }
    let call = history.calls[Int(history.events[deepest].call)]
    return .notLinearizable(Refutation(callLine: call.startLine, answerLine: call.endLine ?? call.startLine))
  }

  private var byteCount: Int {
    seen.byteCount + model.byteCount + frames.capacity * MemoryLayout<Frame>.stride + frameWords.capacity * 8
  }

  // MARK: The walk

  /// Goes on to the next answer that forces a choice and leaves a frame there, unless that configuration was seen. True
  /// at the end of the events: an order was found.
  private mutating func walk() -> Bool {
    while position < history.events.count {
      let event = history.events[position]
      let call = Int(event.call)
      if event.isEnd {
        let slot = plan.slots[call]
        if taken[slot >> 6] & 1 << UInt64(slot & 63) == 0 {
          takePure()
          if taken[slot >> 6] & 1 << UInt64(slot & 63) == 0 {
            pushFrame()
            return false
          }
        }
      }
      forward(event, call)
    }
    return true
  }

  private mutating func pushFrame() {
    deepest = max(deepest, position)
    row[0] = UInt64(position) << 32 | UInt64(UInt32(bitPattern: state))
    for word in 0..<wordCount { row[word + 1] = taken[word] }
    guard seen.insert(row).isNew else { return }
    frames.append(Frame(position: position, state: state, latest: latest, next: -1))
    frameWords.append(contentsOf: taken)
  }

  private mutating func forward(_ event: Event, _ call: Int) {
    if event.isEnd { vacate(call) } else { occupants[plan.slots[call]] = Int32(truncatingIfNeeded: call) }
    for closed in plan.closed(at: position) { vacate(Int(closed)) }
    position += 1
  }

  private mutating func vacate(_ call: Int) {
    let slot = plan.slots[call]
    occupants[slot] = -1
    taken[slot >> 6] &= ~(1 << UInt64(slot & 63))
  }

  /// Undoes the walk, but for `taken`.
  private mutating func rewind(to target: Int) {
    while position > target {
      position -= 1
      let event = history.events[position]
      for closed in plan.closed(at: position) { occupants[plan.slots[Int(closed)]] = closed }
      occupants[plan.slots[Int(event.call)]] = event.isEnd ? event.call : -1
    }
  }

  /// Takes every open call that changes nothing and whose answer fits the state.
  private mutating func takePure() {
    let bound = firstOpenDeadline
    for slot in occupants.indices {
      let call = Int(occupants[slot])
      guard call >= 0, isOpen(slot), model.isPure(call), history.calls[call].start < bound else { continue }
      guard model.apply(call, to: state, by: history.events[position].time_ns) != nil else { continue }
      taken[slot >> 6] |= 1 << UInt64(slot & 63)
      latest = max(latest, history.calls[call].start)
    }
  }

  private func isOpen(_ slot: Int) -> Bool { taken[slot >> 6] & 1 << UInt64(slot & 63) == 0 }

  /// The least deadline of the unanswered calls that may still be taken.
  private var firstOpenDeadline: Int {
    guard plan.hasDeadlines else { return .max }
    var first = Int.max
    for slot in occupants.indices where occupants[slot] >= 0 && isOpen(slot) {
      if let deadline = history.calls[Int(occupants[slot])].deadline, deadline > latest { first = min(first, deadline) }
    }
    return first
  }

  // MARK: Choices

  /// Takes the next choice of the topmost frame; false when it was none, or led nowhere.
  private mutating func takeNext() -> Bool {
    let top = frames.count - 1
    let frame = frames[top]
    rewind(to: frame.position)
    let forcing = history.events[position].call
    let slot: Int
    if frame.next < 0 {
      slot = plan.slots[Int(forcing)]
    } else {
      guard frame.next < occupants.count else {
        frames.removeLast()
        frameWords.removeLast(wordCount)
        return false
      }
      slot = frame.next
      guard occupants[slot] >= 0, occupants[slot] != forcing else {
        frames[top].next += 1
        return false
      }
    }
    frames[top].next += 1
    state = frame.state
    latest = frame.latest
    for word in 0..<wordCount { taken[word] = frameWords[top * wordCount + word] }
    return isOpen(slot) && take(slot)
  }

  private mutating func take(_ slot: Int) -> Bool {
    let call = Int(occupants[slot])
    let start = history.calls[call].start
    if let deadline = history.calls[call].deadline, deadline <= latest { return false }
    guard let after = model.apply(call, to: state, by: history.events[position].time_ns) else { return false }
    if !history.calls[call].isRepeatable {
      taken[slot >> 6] |= 1 << UInt64(slot & 63)
      latest = max(latest, start)
    }
    guard after != state else { return true }
    state = after
    return leavesHope
  }

  /// Whether the answers to come may all be met from here.
  private var leavesHope: Bool {
    for slot in occupants.indices where occupants[slot] >= 0 && isOpen(slot) {
      let call = Int(occupants[slot])
      if history.calls[call].end != nil, model.isOverdue(call, in: state) { return false }
    }
    guard let goal = nextGoal, !model.isOnTheWay(to: goal, state) else { return true }
    for slot in occupants.indices where occupants[slot] >= 0 && isOpen(slot) {
      if model.mayTurn(Int(occupants[slot]), to: goal) { return true }
    }
    for event in history.events[position..<(history.calls[goal].end ?? position)] where !event.isEnd {
      if model.mayTurn(Int(event.call), to: goal) { return true }
    }
    return false
  }

  /// Of the pure calls that were not taken, the one whose answer comes first.
  private var nextGoal: Int? {
    var index = goals.first[position]
    while index < goals.calls.count {
      let goal = goals.calls[index]
      let isTaken = history.calls[goal].start < position && !isOpen(plan.slots[goal])
      if !isTaken { return goal }
      index += 1
    }
    return nil
  }
}

/// The answered pure calls, in the order of their answers.
private struct Goals {
  let calls: [Int]
  /// By event: the first of `calls` that is answered there or later.
  let first: [Int]

  init<M: Model>(_ history: History, _ model: M) {
    var calls: [Int] = []
    var first: [Int] = []
    for event in history.events {
      first.append(calls.count)
      if event.isEnd, model.isPure(Int(event.call)) { calls.append(Int(event.call)) }
    }
    self.calls = calls
    self.first = first
  }
}
