// The seam between requests and the log. Whoever implements it puts proposals into an order, makes them durable, and hands
// them to the apply thread; one node does it alone, a cluster will agree on it.
import NeedletailRPC
import Synchronization

/// Where answers of writes go. Called from the apply and log threads; implemented by whoever owns the connections.
package protocol ReplySink: AnyObject, Sendable {
  /// `status` 0: `body` is the answer's message; else the error's text. The bytes are valid during the call only.
  func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer)

  /// Messages on streams of one reactor.
  func deliver(_ delivery: StreamDelivery, to reactor: UInt16)
}

extension ReplySink {
  /// Where nobody opens streams, there are no messages for them.
  package func deliver(_ delivery: StreamDelivery, to reactor: UInt16) {}
}

package protocol Consensus: AnyObject, Sendable {
  /// Queues a command: its answer comes through the `ReplySink`, after it is durable and applied, exactly once; none
  /// where nobody waits. Throws where it was surely not queued. Any thread; never blocks.
  func propose(_ tag: CommandTag, _ request: UnsafeRawBufferPointer, reply: ReplyAddress?) throws(StatusError)
}

/// Counters and states that threads tell each other; all monotone or rare.
package final class NodeStatus: Sendable {
  package let term: Atomic<UInt64>
  /// Highest entry that is durable.
  package let committed: Atomic<UInt64>
  /// Highest entry that readers can see.
  package let applied: Atomic<UInt64>
  /// Highest entry inside a durable checkpoint: what the log may forget.
  package let checkpointed: Atomic<UInt64>
  package let proposalsPending = Atomic<Int>(0)
  package let proposalBytesPending = Atomic<Int>(0)
  package let proposalsFailed = Atomic<UInt64>(0)
  package let checkpoints = Atomic<UInt64>(0)
  package let slowApplies = Atomic<UInt64>(0)
  /// From a group's submission to the log until it is durable; the log thread records.
  package let logWrites = LatencyHistogram()
  /// Commits of the tree, until readers see them; the apply thread records.
  package let commits = LatencyHistogram()
  /// The log cannot grow: writes are refused, reads go on.
  package let isLogFull = Atomic<Bool>(false)
  /// The tree cannot grow: applying waits.
  package let isApplyStalled = Atomic<Bool>(false)
  package let alarms = AlarmBoard()
  /// What the scrub of the tree's file has found.
  package let scrub = ScrubFigures()
  /// No further proposal is taken.
  package let isStopping = Atomic<Bool>(false)

  package init(term: UInt64, applied index: UInt64) {
    self.term = Atomic(term)
    committed = Atomic(index)
    applied = Atomic(index)
    checkpointed = Atomic(index)
  }

  deinit {
    logWrites.free()
    commits.free()
  }
}
