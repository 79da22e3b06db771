// One register with read, write and compare-and-set, as Jepsen's etcd test drives it. A state is its value.

struct RegisterModel: Model {
  /// A value of the register; nil is none yet.
  typealias Value = Int64?

  enum Operation {
    case read(Value)
    case write(Int64)
    case compareAndSet(from: Int64, to: Int64, outcome: Outcome)
  }

  enum Outcome { case done, refused, open }

  private enum Step {
    case read(StateID)
    case write(StateID)
    case compareAndSet(from: StateID, to: StateID, outcome: Outcome)
  }

  private var steps: [Step] = []
  private var states: [Value: StateID] = [nil: 0]

  var byteCount: Int { states.capacity * 32 }

  mutating func append(_ operation: Operation) { steps.append(step(operation)) }

  private mutating func step(_ operation: Operation) -> Step {
    switch operation {
    case .read(let value): .read(number(value))
    case .write(let value): .write(number(value))
    case .compareAndSet(let from, let to, let outcome):
      .compareAndSet(from: number(from), to: number(to), outcome: outcome)
    }
  }

  private mutating func number(_ value: Value) -> StateID {
    if let number = states[value] { return number }
    let number = StateID(truncatingIfNeeded: states.count)
    states[value] = number
    return number
  }

  func initialState() -> StateID { 0 }

  func apply(_ call: Int, to state: StateID, by time_ns: Int64) -> StateID? {
    switch steps[call] {
    case .read(let value): value == state ? state : nil
    case .write(let value): value
    case .compareAndSet(let from, let to, .done): from == state ? to : nil
    case .compareAndSet(let from, _, .refused): from == state ? nil : state
    case .compareAndSet(let from, let to, .open): from == state ? to : nil
    }
  }

  func isPure(_ call: Int) -> Bool {
    switch steps[call] {
    case .read, .compareAndSet(_, _, .refused): true
    case .write, .compareAndSet: false
    }
  }

  func isOnTheWay(to goal: Int, _ state: StateID) -> Bool {
    if case .read(let value) = steps[goal] { value == state } else { true }
  }

  func mayTurn(_ call: Int, to goal: Int) -> Bool {
    guard case .read(let value) = steps[goal] else { return true }
    switch steps[call] {
    case .write(let written), .compareAndSet(_, let written, _): return written == value
    case .read: return false
    }
  }
}
