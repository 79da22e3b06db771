// Answers of compactions that were asked to wait: they leave when a durable checkpoint holds the removal, because only
// then are the pages free for good.
import NeedletailRPC

/// The apply thread adds, the checkpoint thread releases. Sendable: guarded by the monitor.
package final class PhysicalCompactions: @unchecked Sendable {
  private struct Waiting {
    let revision: UInt64
    let address: ReplyAddress
    let body: [UInt8]
  }

  private let monitor = Monitor()
  private var waiting: [Waiting] = []

  package init() {}

  func add(_ revision: UInt64, _ address: ReplyAddress, _ body: UnsafeRawBufferPointer) {
    let one = Waiting(revision: revision, address: address, body: [UInt8](body))
    monitor.locked { waiting.append(one) }
  }

  /// Answers all that waited for revisions up to `removed`.
  func release(through removed: UInt64, _ sink: any ReplySink) {
    let done = monitor.locked {
      let done = waiting.filter { $0.revision <= removed }
      if !done.isEmpty { waiting.removeAll { $0.revision <= removed } }
      return done
    }
    for one in done { one.body.withUnsafeBytes { sink.reply(to: one.address, status: 0, body: $0) } }
  }
}
