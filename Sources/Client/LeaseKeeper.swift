// Keeping leases alive: one stream of pings for all leases of a client, opened again whenever it is lost. No threads here.

import NeedletailRPC

package final class LeaseKeeper {
  /// One lease that is kept.
  package final class Kept {
    package let id: Int64
    /// Seconds that the last answer gave it; 0 before the first.
    package fileprivate(set) var ttl: Int64 = 0
    /// When the next ping is due, and when the lease is surely over if no answer comes.
    fileprivate var due: Instant
    fileprivate var end: Instant
    fileprivate var isOver = false
    fileprivate let answered: (LeaseResponse) -> Void
    fileprivate let ended: (ClientError?) -> Void

    fileprivate init(
      _ id: Int64, ttl: Int64, answered: @escaping (LeaseResponse) -> Void, ended: @escaping (ClientError?) -> Void
    ) {
      self.id = id
      self.answered = answered
      self.ended = ended
      due = .now
      end = ttl > 0 ? .now + .seconds(min(ttl, 1 << 30)) : .never
    }
  }

  private let dispatcher: Dispatcher
  private var call: StreamCall?
  private var kept: [Kept] = []

  package init(_ dispatcher: Dispatcher) { self.dispatcher = dispatcher }

  /// Pings three times a TTL. `ended` is called at most once: with nil when the lease is over, because the server says so
  /// or no answer came for as long as it lived; else with why it can't be kept. `ttl`: what it has now, 0 = not known.
  package func keep(
    _ id: Int64, ttl: Int64 = 0, answered: @escaping (LeaseResponse) -> Void, ended: @escaping (ClientError?) -> Void
  ) -> Kept {
    let lease = Kept(id, ttl: ttl, answered: answered, ended: ended)
    kept.append(lease)
    if call == nil { open() }
    return lease
  }

  /// Lets a lease run out.
  package func drop(_ lease: Kept) {
    lease.isOver = true
    kept.removeAll { $0 === lease }
    guard kept.isEmpty, let call else { return }
    dispatcher.close(call)
    self.call = nil
  }

  /// Sends the pings that are due, and ends what has run out; returns when it must be called again.
  package func turn() -> Instant {
    let now = Instant.now
    for lease in kept where lease.end <= now { end(lease, nil) }
    var next = Instant.never
    for lease in kept {
      if lease.due <= now, let call, dispatcher.send(LeaseRequestView(lease.id).encoded(), on: call) {
        // Until the answer says more.
        lease.due = now + interval(lease)
      }
      next = min(next, lease.end, call?.isOpen == true ? lease.due : .never)
    }
    return next
  }

  private func interval(_ lease: Kept) -> Duration { .milliseconds(max(100, min(lease.ttl, 1 << 30) * 1000 / 3)) }

  private func open() {
    let call = StreamCall(
      .leaseKeepAlive, opened: { [unowned self] in begin() }, received: { [unowned self] in take($0) },
      ended: { [unowned self] in lost($0) })
    self.call = call
    dispatcher.open(call)
  }

  private func begin() -> [[UInt8]] {
    let now = Instant.now
    for lease in kept { lease.due = now + interval(lease) }
    return kept.map { LeaseRequestView($0.id).encoded() }
  }

  private func take(_ body: UnsafeRawBufferPointer) {
    guard let response = try? LeaseResponse(body) else { return }
    let now = Instant.now
    for lease in kept where lease.id == response.id {
      guard response.ttl > 0 else {
        end(lease, nil)
        continue
      }
      lease.ttl = response.ttl
      lease.due = now + interval(lease)
      lease.end = now + .seconds(min(response.ttl, 1 << 30))
      lease.answered(response)
    }
  }

  private func lost(_ error: ClientError) -> Bool {
    switch error {
    case .disconnected, .outcomeUnknown, .unreachable:
      // Those that were never answered have no end of their own.
      if case .unreachable = error { for lease in kept where lease.end == .never { end(lease, error) } }
      return !kept.isEmpty
    case .server(let status) where status.code == .unavailable: return !kept.isEmpty
    default: break
    }
    for lease in kept { end(lease, error) }
    return false
  }

  private func end(_ lease: Kept, _ error: ClientError?) {
    guard !lease.isOver else { return }
    lease.isOver = true
    kept.removeAll { $0 === lease }
    lease.ended(error)
    if kept.isEmpty, let call {
      dispatcher.close(call)
      self.call = nil
    }
  }
}
