// Paths that requests may name, as a table of hashes that is fixed when it is made: a path is looked up where the header
// field lies, without a copy.
import Glibc

/// A trivial handle; `free` once.
package struct HTTP2Routes {
  private struct Slot {
    var path: UnsafeMutablePointer<UInt8>?
    var count = 0
    var route = HTTP2Route()
  }

  private let slots: UnsafeMutablePointer<Slot>
  private let capacity: Int

  package init(_ routes: [(path: String, route: HTTP2Route)]) {
    var capacity = 16
    while capacity < routes.count * 4 { capacity *= 2 }
    self.capacity = capacity
    slots = .allocate(capacity: capacity)
    slots.initialize(repeating: Slot(), count: capacity)
    for (path, route) in routes { add(Array(path.utf8), route) }
  }

  private func add(_ path: [UInt8], _ route: HTTP2Route) {
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, path.count))
    copy.initialize(from: path, count: path.count)
    var at = hash(UnsafeRawPointer(copy), path.count)
    while slots[at].path != nil { at = (at + 1) & (capacity - 1) }
    slots[at] = Slot(path: copy, count: path.count, route: route)
  }

  /// Of the last bytes: they tell methods apart.
  @inline(__always)
  private func hash(_ path: UnsafeRawPointer, _ count: Int) -> Int {
    var value = UInt(bitPattern: count)
    var at = max(0, count &- 12)
    while at < count {
      value = value &* 31 &+ UInt(path.load(fromByteOffset: at, as: UInt8.self))
      at &+= 1
    }
    return Int(bitPattern: value & UInt(bitPattern: capacity &- 1))
  }

  /// Number 0 where there is no such path.
  package func find(_ path: UnsafeRawPointer, _ count: Int) -> HTTP2Route {
    var at = hash(path, count)
    while let candidate = slots[at].path {
      if slots[at].count == count, memcmp(candidate, path, count) == 0 { return slots[at].route }
      at = (at &+ 1) & (capacity &- 1)
    }
    return HTTP2Route()
  }

  package func free() {
    for i in 0..<capacity { slots[i].path?.deallocate() }
    slots.deallocate()
  }
}

/// Where a path leads.
package struct HTTP2Route {
  /// The face's number for it; 0 = nowhere.
  package var number: UInt16 = 0
  /// Whether messages are served one by one as they come, or all together when the client has sent its last.
  package var isStream = false
  /// Whether who answers on it has a budget, and sends no more while the client takes nothing.
  package var hasBudget = false

  package init() {}

  package init(number: UInt16, isStream: Bool, hasBudget: Bool) {
    self.number = number
    self.isStream = isStream
    self.hasBudget = hasBudget
  }
}
