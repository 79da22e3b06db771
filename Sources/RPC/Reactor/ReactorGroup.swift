// The reactors of one server as they know each other: their mailboxes, loads and counters.

import Synchronization

/// Trivial handle; made before the reactors' threads start, freed after all of them ended and nobody posts any more.
@usableFromInline
package struct ReactorGroup: @unchecked Sendable {
  // Sendable: mailboxes are thread safe, loads atomic, and the arrays themselves never change.
  package let count: Int
  private let mailboxes: UnsafeMutablePointer<Mailbox>
  private let counterSets: UnsafeMutablePointer<ReactorCounters>
  /// Connections that each reactor has or is about to be given.
  private let loads: UnsafeMutablePointer<Atomic<Int>>

  package init(count: Int) throws(ReactorError) {
    precondition(count >= 1 && count <= Int(UInt16.max))
    self.count = count
    mailboxes = .allocate(capacity: count)
    counterSets = .allocate(capacity: count)
    loads = .allocate(capacity: count)
    for i in 0..<count {
      (mailboxes + i).initialize(to: try Mailbox())
      (counterSets + i).initialize(to: ReactorCounters())
      (loads + i).initialize(to: Atomic(0))
    }
  }

  package func mailbox(_ reactor: Int) -> Mailbox {
    precondition(reactor >= 0 && reactor < count)
    return mailboxes[reactor]
  }
  package func counters(_ reactor: Int) -> ReactorCounters {
    precondition(reactor >= 0 && reactor < count)
    return counterSets[reactor]
  }
  package func connections(_ reactor: Int) -> Int { loads[reactor].load(ordering: .relaxed) }

  /// The answer of a request, from any thread.
  package func reply(to address: ReplyAddress, status: UInt32, body: UnsafeRawBufferPointer) {
    mailbox(Int(address.reactor)).reply(to: address, status: status, body: body)
  }

  /// Asks every reactor to stop within the time given.
  package func stop(within_ms: Int32) {
    for i in 0..<count { mailboxes[i].stop(within_ms: within_ms) }
  }

  /// The reactor with the fewest connections, the accepting one among equals last, counted one more.
  func assign(acceptor: Int) -> Int {
    var best = acceptor
    var least = loads[acceptor].load(ordering: .relaxed)
    for step in 1..<max(count, 1) where count > 1 {
      let candidate = (acceptor + step) % count
      let load = loads[candidate].load(ordering: .relaxed)
      if load < least {
        best = candidate
        least = load
      }
    }
    loads[best].wrappingAdd(1, ordering: .relaxed)
    return best
  }
  func release(_ reactor: Int) { loads[reactor].wrappingSubtract(1, ordering: .relaxed) }

  package func free() {
    for i in 0..<count {
      mailboxes[i].free()
      counterSets[i].free()
      (loads + i).deinitialize(count: 1)
    }
    mailboxes.deallocate()
    counterSets.deallocate()
    loads.deallocate()
  }
}
