// What a program has to do next.

/// In this order, where storage writes are not asynchronous: store the hard state, the snapshot and the entries, durably
/// if `mustSync`; then send the messages; then apply the committed entries; then call `advance`. Where they are, the
/// messages to `Node.appendThread` and `Node.applyThread` say all that, and what to do after.
package struct Ready: Equatable, Sendable {
  /// Nil: as it was.
  package var softState: SoftState?
  /// Empty: as it was.
  package var hardState = HardState()
  package var readStates: [ReadState] = []
  /// To append to storage, where they replace all from the first one's index on.
  package var entries: [Entry] = []
  /// Replaces storage's log and the state machine. Empty: none.
  package var snapshot = Snapshot()
  /// To apply to the state machine.
  package var committedEntries: [Entry] = []
  package var messages: [Message] = []
  /// Messages may leave only when the hard state and the entries are durable.
  package var mustSync = false

  package init() {}
}
