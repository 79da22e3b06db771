// Plain specifications, written for nothing but being obviously right, and histories made from them.

/// One copy of the data. An operation's answer is the text that a history would have.
protocol Specification {
  associatedtype Operation

  init()

  /// Does it. `wanted` is the answer that was seen, for operations that may be answered in two ways; `notBefore` is the time
  /// at which this can happen, nil when it can't at all in this state.
  mutating func apply(_ operation: Operation, start: Int, wanted: String?) -> (answer: String, notBefore: Int)?

  static func random(_ random: inout SeededGenerator, value: Int, of state: Self) -> Operation
  /// The operation's own text in a history; nil when nobody asks for it.
  static func request(_ operation: Operation) -> String?
  static func line(process: Int, time: Int, _ text: String) -> String
  static func lost(_ operation: Operation) -> String
  /// Operations that may come by themselves once this one was sent.
  static func followers(_ operation: Operation) -> [Operation]
  static var header: String { get }
  static var barrier: ((Int) -> String)? { get }
}

extension Specification {
  static func followers(_ operation: Operation) -> [Operation] { [] }
  static var header: String { "" }
  static var barrier: ((Int) -> String)? { nil }
}

struct RecordedCall<Operation> {
  var operation: Operation
  /// Positions among the events, which are times too.
  var start: Int
  var end: Int?
  var answer: String?
  var deadline: Int?
}

/// A history as the checker reads it, and as brute force does.
struct RecordedHistory<S: Specification> {
  var calls: [RecordedCall<S.Operation>] = []
  var lines: [String] = []

  var text: String { lines.joined(separator: "\n") + "\n" }

  private struct Process {
    var call: Int?
    var answer: String?
    var isApplied = false
  }

  private enum Fault { case none, lostWrite, doubleWrite, stale }

  /// Lets `processes` clients work on one copy of the data, `count` operations in all. With `isFaulty` the copy cheats now
  /// and then: writes that are answered but not done, or done twice, answers from an old state.
  init(_ random: inout SeededGenerator, processes: Int, count: Int, isFaulty: Bool, lostPercent: Int = 15) {
    var state = S()
    var past: [S] = [state]
    var workers = [Process](repeating: Process(), count: processes)
    var time = 0
    var free: [RecordedCall<S.Operation>] = []
    if !S.header.isEmpty { lines.append(S.header) }

    while calls.count < count || workers.contains(where: { $0.call != nil }) {
      for index in free.indices where random.chance(20) {
        // A spontaneous operation happens at a time that is allowed for it.
        var next = state
        if let done = next.apply(free[index].operation, start: free[index].start, wanted: nil), done.notBefore <= time {
          state = next
          past.append(state)
          free.remove(at: index)
          break
        }
      }
      if let barrier = S.barrier, random.chance(2) {
        Self.crash(&workers, &calls, &lines, &time, &random, barrier)
        continue
      }
      let worker = random.below(processes)
      if let call = workers[worker].call {
        if !workers[worker].isApplied, random.chance(90) {
          let fault: Fault =
            isFaulty && random.chance(40) ? [.lostWrite, .doubleWrite, .stale][random.below(3)] : .none
          workers[worker].answer = Self.perform(calls[call], &state, &past, fault, &random)
          workers[worker].isApplied = true
        } else if workers[worker].isApplied, !random.chance(lostPercent) {
          calls[call].end = time
          calls[call].answer = workers[worker].answer
          lines.append(S.line(process: worker, time: time, workers[worker].answer ?? ""))
          workers[worker] = Process()
          time += 1
        } else {
          lines.append(S.line(process: worker, time: time, S.lost(calls[call].operation)))
          workers[worker] = Process()
        }
      } else if calls.count < count {
        let operation = S.random(&random, value: calls.count, of: state)
        calls.append(RecordedCall(operation: operation, start: time))
        workers[worker].call = calls.count - 1
        lines.append(S.line(process: worker, time: time, S.request(operation) ?? ""))
        for follower in S.followers(operation) { free.append(RecordedCall(operation: follower, start: time)) }
        time += 1
      }
    }
    for call in calls {
      for follower in S.followers(call.operation) {
        calls.append(RecordedCall(operation: follower, start: call.start))
      }
    }
  }

  private static func perform(
    _ call: RecordedCall<S.Operation>, _ state: inout S, _ past: inout [S], _ fault: Fault,
    _ random: inout SeededGenerator
  ) -> String {
    func apply(_ state: inout S) -> String {
      // Every operation that clients ask for is answered somehow.
      state.apply(call.operation, start: call.start, wanted: nil)?.answer ?? ""
    }
    switch fault {
    case .none: break
    case .lostWrite:
      var copy = state
      return apply(&copy)
    case .doubleWrite: _ = apply(&state)
    case .stale:
      var copy = past[random.below(past.count)]
      return apply(&copy)
    }
    let answer = apply(&state)
    past.append(state)
    return answer
  }

  /// Half of what is in flight is given up, and all that was given up is over.
  private static func crash(
    _ workers: inout [Process], _ calls: inout [RecordedCall<S.Operation>], _ lines: inout [String], _ time: inout Int,
    _ random: inout SeededGenerator, _ barrier: (Int) -> String
  ) {
    for worker in workers.indices {
      guard let call = workers[worker].call else { continue }
      // The others have a connection that lives: they are answered later, and no part of this.
      guard random.chance(50) else { continue }
      lines.append(S.line(process: worker, time: time, S.lost(calls[call].operation)))
      workers[worker] = Process()
    }
    let waiting = Set(workers.compactMap(\.call))
    lines.append(barrier(time))
    for call in calls.indices where calls[call].end == nil && !waiting.contains(call) && calls[call].deadline == nil {
      calls[call].deadline = time
    }
    time += 1
  }
}

// MARK: Brute force

extension RecordedHistory {
  /// Tries every order, with no thought.
  var isLinearizable: Bool {
    Self.search(calls, [Bool](repeating: false, count: calls.count), S(), time: 0, latest: -1)
  }

  private static func search(
    _ calls: [RecordedCall<S.Operation>], _ taken: [Bool], _ state: S, time: Int, latest: Int
  ) -> Bool {
    let open = calls.indices.filter { !taken[$0] }
    guard let bound = open.compactMap({ calls[$0].end }).min() else { return true }
    for call in open where calls[call].start < bound {
      if let deadline = calls[call].deadline, deadline <= latest { continue }
      var next = state
      let wanted = calls[call].answer
      guard let done = next.apply(calls[call].operation, start: calls[call].start, wanted: wanted) else { continue }
      if let wanted, done.answer != wanted { continue }
      let point = max(time, calls[call].start, done.notBefore)
      if let end = calls[call].end, point > end { continue }
      var after = taken
      after[call] = true
      if search(calls, after, next, time: point, latest: max(latest, calls[call].start)) { return true }
    }
    return false
  }
}
