// What the search asks of a specification. States are numbers that the model gives out: equal states have equal numbers,
// so that comparing and remembering them costs nothing.

typealias StateID = Int32

protocol Model {
  mutating func initialState() -> StateID

  /// The state after a call, or nil where its answer contradicts the state. A call without an answer that would change
  /// nothing may answer nil as well. `time_ns` is a time by which the call has taken effect.
  mutating func apply(_ call: Int, to state: StateID, by time_ns: Int64) -> StateID?

  /// Whether the call changes no state at all, whichever it meets: such a call is taken as soon as its answer fits.
  func isPure(_ call: Int) -> Bool

  /// Whether the answered call can't be taken any more, in this state or any that follows it. May be false at all times.
  func isOverdue(_ call: Int, in state: StateID) -> Bool

  /// Whether the pure call `goal` may be taken in `state`, or in one that follows it without a call that `mayTurn` to the
  /// goal. The search gives up states of which both are denied. May be true at all times.
  func isOnTheWay(to goal: Int, _ state: StateID) -> Bool

  /// Whether taking `call` may lead onto the way to `goal`, from whichever state.
  func mayTurn(_ call: Int, to goal: Int) -> Bool

  /// Bytes held for states.
  var byteCount: Int { get }
}

extension Model {
  func isOverdue(_ call: Int, in state: StateID) -> Bool { false }
  func isOnTheWay(to goal: Int, _ state: StateID) -> Bool { true }
  func mayTurn(_ call: Int, to goal: Int) -> Bool { true }
}
