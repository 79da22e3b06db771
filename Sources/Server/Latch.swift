// The first failure that the server can't work around: said once, remembered, and the end of the process.
import Glibc
import Logging

/// Sendable: the reason is guarded by the monitor.
package final class Latch: @unchecked Sendable {
  private let logger: Logger
  private let onFailure: @Sendable (String) -> Void
  private let monitor = Monitor()
  private var reason: String?

  /// `onFailure` is called once, on the thread that failed, and need not return.
  package init(_ logger: Logger, onFailure: @escaping @Sendable (String) -> Void) {
    self.logger = logger
    self.onFailure = onFailure
  }

  /// Nil while all is well.
  package var failure: String? { monitor.locked { reason } }

  package func fail(_ reason: String) {
    let isFirst = monitor.locked {
      guard self.reason == nil else { return false }
      self.reason = reason
      return true
    }
    guard isFirst else { return }
    logger.critical("stopping after a failure: \(reason)")
    onFailure(reason)
  }
}
