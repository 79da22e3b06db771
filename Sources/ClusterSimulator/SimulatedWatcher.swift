// A watcher of the simulated cluster: it is attached to one member at a time, and takes its place with it to the next.

import NeedletailBytes
import NeedletailMVCC
import NeedletailRPC
import NeedletailRaft

struct SimulatedWatcher {
  let number: Int
  /// nil: all keys.
  let key: [UInt8]?
  /// Who it is attached to; nil while it looks for somebody.
  var member: NodeID?
  /// The process that it is attached to.
  var life = 0
  /// Everything up to this revision was given to it.
  var position: Int64
  /// It has been given everything that its member has, and gets what comes from each commit.
  var isSynced = false

  func wants(_ key: UnsafeRawBufferPointer) -> Bool { self.key.map { $0.elementsEqual(key) } ?? true }

  func wants(_ event: WatchEvent) -> Bool { key.map { $0 == event.kv.key } ?? true }
}

/// Changes as they go over the wire.
struct EventWire {
  private var out = OutBuffer()

  mutating func add(_ event: ChangeEvent) { event.append(to: &out, withPrevious: true) }

  /// What a client reads from that; the memory is given back.
  mutating func take() throws -> [WatchEvent] {
    defer { out.free() }
    return try WatchResponse(out.bytes).events
  }
}
