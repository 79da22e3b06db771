// When the time of one reactor's deferred calls runs out: whoever waits is then told so, whatever becomes of the call.
//
// A call with a deadline takes a ticket, which travels with its answer's address. The answer gives the ticket back and hears
// whether it comes too late; so a ticket that expired stays taken until then, and no answer meets another call's ticket.
// Taking and giving back cost a few stores. The earliest deadline is only known as a lower bound, and looked for again when
// that has come: with calls that are answered long before, about once in the time that they are given.
import NeedletailRPC

package struct CallDeadlines {
  private struct Entry {
    var address: ReplyAddress
    /// 0: free, or expired.
    var at_ns: UInt64
    var isExpired = false
  }

  /// Tickets are places in here plus one; 0 is none.
  private var entries: [Entry] = []
  private var free: [UInt32] = []
  /// No call's time runs out before this.
  package private(set) var next_ns = UInt64.max

  package init() {}

  /// Tickets that are out.
  package var count: Int { entries.count - free.count }

  /// The call's ticket, which its answer's address must carry.
  package mutating func begin(_ address: ReplyAddress, at_ns: UInt64) -> UInt32 {
    next_ns = min(next_ns, at_ns)
    let entry = Entry(address: address, at_ns: max(at_ns, 1))
    if let place = free.popLast() {
      entries[Int(place)] = entry
      return place + 1
    }
    entries.append(entry)
    return UInt32(entries.count)
  }

  /// Gives a ticket back. False where the call has been answered because its time ran out.
  package mutating func end(_ ticket: UInt32) -> Bool {
    let place = Int(ticket) - 1
    guard entries.indices.contains(place) else { return true }
    let isExpired = entries[place].isExpired
    entries[place].isExpired = false
    entries[place].at_ns = 0
    free.append(UInt32(place))
    return !isExpired
  }

  /// The calls whose time has run out since the last look.
  package mutating func takeExpired(now_ns: UInt64) -> [ReplyAddress] {
    guard now_ns >= next_ns else { return [] }
    next_ns = .max
    var expired: [ReplyAddress] = []
    for place in entries.indices where entries[place].at_ns != 0 {
      if entries[place].at_ns <= now_ns {
        entries[place].at_ns = 0
        entries[place].isExpired = true
        expired.append(entries[place].address)
      } else {
        next_ns = min(next_ns, entries[place].at_ns)
      }
    }
    return expired
  }
}
