// What the search works on: calls and the order in which they began and ended. What a call did, and what it was answered,
// is its model's to know; a call's number is the same in both.

/// One operation of one client.
struct Call {
  /// Where it begins among the events.
  var start: Int
  /// Where its answer stands. Without one it may have taken effect at any time after `start`, or never.
  var end: Int?
  /// Of an unanswered call: it took effect before everything that begins at this event or later, or never will.
  var deadline: Int?
  /// Not a client's: it may happen any number of times. Whether it can is for the state to say, so that nothing needs to
  /// remember that it has, and it changes the state whenever it does.
  var isRepeatable = false
  /// Lines of the file, for messages.
  var startLine: Int
  var endLine: Int?
}

struct Event {
  var call: Int32
  var isEnd: Bool
  /// Nanoseconds on the recorder's clock; they never go back. 0 where a history has no times.
  var time_ns: Int64
}

/// Calls and their events. Every call has one start; the order of the events is the order of real time.
struct History {
  private(set) var calls: [Call] = []
  private(set) var events: [Event] = []

  /// Begins a call and tells its number.
  mutating func begin(line: Int, time_ns: Int64 = 0, isRepeatable: Bool = false) -> Int {
    events.append(Event(call: Int32(truncatingIfNeeded: calls.count), isEnd: false, time_ns: time_ns))
    calls.append(
      Call(
        start: events.count - 1, end: nil, deadline: nil, isRepeatable: isRepeatable, startLine: line, endLine: nil))
    return calls.count - 1
  }

  mutating func end(_ call: Int, line: Int, time_ns: Int64 = 0) {
    assert(calls[call].end == nil, "a call ends once")
    calls[call].end = events.count
    calls[call].endLine = line
    events.append(Event(call: Int32(truncatingIfNeeded: call), isEnd: true, time_ns: time_ns))
  }

  /// The call has taken effect by now, or never will.
  mutating func expire(_ call: Int) {
    assert(calls[call].end == nil, "only an unanswered call has a deadline")
    calls[call].deadline = events.count
  }
}
