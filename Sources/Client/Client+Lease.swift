// Keeping a lease alive with async/await.

import NeedletailRPC

extension Client {
  /// Renews a lease three times a TTL until it is over, the loop is left, or its task is cancelled. Each answer comes; the
  /// sequence ends with the lease, and with an error where it can't be kept.
  public func keepingAlive(_ id: Int64) -> AsyncThrowingStream<LeaseResponse, any Error> {
    let driver = driver
    let name = KeptName()
    return AsyncThrowingStream { continuation in
      continuation.onTermination = { _ in
        driver.run { loop in
          name.isOver = true
          if let lease = name.lease { loop.leases.drop(lease) }
        }
      }
      let isTaken = driver.run { loop in
        guard !name.isOver else { return }
        name.lease = loop.leases.keep(id) {
          continuation.yield($0)
        } ended: {
          continuation.finish(throwing: $0)
        }
      }
      if !isTaken { continuation.finish(throwing: ClientError.closed) }
    }
  }
}

/// What the client's thread knows of a lease. Unchecked: that thread alone touches it.
private final class KeptName: @unchecked Sendable {
  var lease: LeaseKeeper.Kept?
  var isOver = false
}
