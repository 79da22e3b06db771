// Windows of changes: asked for, decoded, and as the naive store has them.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

/// A change as a watcher gets it.
struct WatchedEvent: Equatable {
  var isDelete = false
  var kv = KeyValue()
  var previous: KeyValue?

  init(isDelete: Bool, kv: KeyValue, previous: KeyValue?) {
    self.isDelete = isDelete
    self.kv = kv
    self.previous = previous
  }

  /// An element of a WatchResponse's events.
  init(_ bytes: Bytes) throws {
    for (number, field) in try decodeWire(bytes) {
      switch (number, field) {
      case (1, .varint(let v)):
        guard v == 1 else { throw WireError() }
        isDelete = true
      case (2, .bytes(let v)): kv = try KeyValue(v)
      case (3, .bytes(let v)): previous = try KeyValue(v)
      default: throw WireError()
      }
    }
  }

  static func all(_ bytes: Bytes) throws -> [WatchedEvent] {
    try decodeWire(bytes).map { number, field in
      guard number == 11, case .bytes(let v) = field else { throw WireError() }
      return try WatchedEvent(v)
    }
  }
}

struct WindowSpec {
  var after: UInt64
  var key: Bytes
  var end: Bytes
  var withPrevious = false
  var window = EventWindow()

  func wants(_ key: Bytes) -> Bool {
    if end.isEmpty { return key == self.key }
    if key.lexicographicallyPrecedes(self.key) { return false }
    return end == [0] || key.lexicographicallyPrecedes(end)
  }
}

extension Fixture {
  /// One window, and where it ends.
  func changes(_ spec: WindowSpec) throws -> (events: [WatchedEvent], reached: UInt64) {
    let view = reader.pin()
    defer { reader.unpin() }
    var out = OutBuffer()
    defer { out.free() }
    let reached = try store.changes(view, after: spec.after, spec.window, wants: { spec.wants(Bytes($0)) }) {
      $0.append(to: &out, withPrevious: spec.withPrevious)
    }
    return (try WatchedEvent.all(Bytes(out.bytes)), reached)
  }

  /// All windows up to the newest revision, each beginning where the one before ended.
  func allChanges(_ spec: WindowSpec) throws -> [WatchedEvent] {
    var spec = spec
    var events: [WatchedEvent] = []
    while true {
      let (some, reached) = try changes(spec)
      try #require(some.allSatisfy { UInt64($0.kv.mod) > spec.after && UInt64($0.kv.mod) <= reached })
      if reached == spec.after { return events }
      events += some
      spec.after = reached
    }
  }

  /// What the writer captured since the last call.
  func capturedChanges(after: UInt64, through: UInt64, withPrevious: Bool) throws -> [WatchedEvent] {
    let taken = writer.capture?.take(after: after, through: through)
    let block = try #require(taken)
    var out = OutBuffer()
    defer { out.free() }
    block.forEach(after: after) { $0.append(to: &out, withPrevious: withPrevious) }
    return try WatchedEvent.all(Bytes(out.bytes))
  }
}

extension NaiveStore {
  /// Changes above `after`, straight from the list of what happened.
  func changes(_ spec: WindowSpec) throws(MVCCError) -> [WatchedEvent] {
    if Int64(spec.after) >= revision { return [] }
    if Int64(spec.after) + 1 < compacted { throw .compacted }
    return changes.filter { $0.main > Int64(spec.after) && spec.wants($0.key) }.map { change in
      // The previous pair is what a read at the revision before would find.
      let isReadable = change.main - 1 >= compacted
      let previous = spec.withPrevious && isReadable ? version(change.key, at: change.main - 1) : nil
      guard let kv = change.kv else {
        return WatchedEvent(isDelete: true, kv: KeyValue(key: change.key, mod: change.main), previous: previous)
      }
      return WatchedEvent(isDelete: false, kv: kv, previous: kv.create == kv.mod ? nil : previous)
    }
  }
}
