// Needletail's engine. A transaction is a pin of the reader's slot. It has no log of its own: a durable commit here is a batch and
// a checkpoint (three syncs), where the server's durability comes from its write-ahead log and costs one.
import NeedletailBackend

final class BackendEngine: Engine {
  static var configuration: String {
    "4 KiB pages; durable commits are checkpoints, without the server's log; bulk is appends; batches are announced 16 keys ahead; "
      + "multiget is one batched lookup; checksums verified at a page's first read"
  }

  private let database: Database
  private let tree: TreeID

  init(directory: String, count: UInt64) throws {
    database = try Database.open(directory + "/tree")
    tree = try database.write { try $0.openTree("records") }
  }

  func write(_ records: RecordBlock, durable: Bool) throws {
    try database.write { batch in
      for i in 0..<records.count {
        if i % ahead == 0 { prefetch(batch, records, from: i) }
        try batch.put(
          tree, UnsafeRawBufferPointer(start: records.key(i), count: Record.keyLength),
          UnsafeRawBufferPointer(start: records.value(i), count: Record.valueLength))
      }
    }
    if durable { try database.checkpoint() }
  }

  /// Edits known beforehand are announced some at a time.
  private let ahead = 16

  private func prefetch(_ batch: WriteBatch, _ records: RecordBlock, from first: Int) {
    withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: ahead) { keys in
      let count = min(ahead, records.count - first)
      for i in 0..<count {
        keys[i] = UnsafeRawBufferPointer(start: records.key(first + i), count: Record.keyLength)
      }
      batch.prefetch(tree, UnsafeBufferPointer(rebasing: keys[0..<count]))
    }
  }

  func sync() throws { try database.checkpoint() }

  func beginBulk() {}
  func bulk(_ records: RecordBlock) throws {
    try database.write { batch in
      for i in 0..<records.count {
        try batch.append(
          tree, UnsafeRawBufferPointer(start: records.key(i), count: Record.keyLength),
          UnsafeRawBufferPointer(start: records.value(i), count: Record.valueLength))
      }
    }
  }
  func endBulk() throws { try sync() }

  func settle() {}

  func makeReader() throws -> BackendReader { BackendReader(handle: try database.makeReader(), tree: tree) }

  func close() { database.close() }
}

struct BackendReader: EngineReader {
  private let handle: ReaderHandle
  private let tree: TreeID
  private var view: TreeView?

  init(handle: ReaderHandle, tree: TreeID) {
    self.handle = handle
    self.tree = tree
  }

  mutating func measure(_ test: ReadTest, _ plan: ReadPlan) throws -> Measurement { try test.run(&self, plan) }

  @inline(__always)
  mutating func begin() { view = handle.pin().tree(tree) }

  @inline(__always)
  mutating func end() {
    view = nil
    handle.unpin()
  }

  @inline(__always)
  private func pinned() throws -> TreeView {
    guard let view else { throw BenchError("backend: a read outside of a transaction") }
    return view
  }

  @inline(__always)
  func get(_ key: UnsafeRawPointer) throws -> UInt64? {
    guard let value = try pinned().get(UnsafeRawBufferPointer(start: key, count: Record.keyLength)),
      let start = value.baseAddress
    else { return nil }
    return Record.digest(start, value.count)
  }

  func multiget(_ keys: UnsafeRawPointer, count: Int) throws -> UInt64 {
    try withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer.self, capacity: count) { list in
      try withUnsafeTemporaryAllocation(of: UnsafeRawBufferPointer?.self, capacity: count) { values in
        for i in 0..<count {
          list[i] = UnsafeRawBufferPointer(start: keys + i &* Record.keyLength, count: Record.keyLength)
        }
        guard let first = values.baseAddress else { return 0 }
        try pinned().get(UnsafeBufferPointer(list), into: first)
        var sum: UInt64 = 0
        for i in 0..<count {
          if let value = values[i], let start = value.baseAddress { sum &+= Record.digest(start, value.count) }
        }
        return sum
      }
    }
  }

  func scan(from key: UnsafeRawPointer, limit: Int) throws -> (records: Int, sum: UInt64) {
    var cursor = try pinned().cursor()
    var records = 0
    var sum: UInt64 = 0
    var found = try cursor.seek(UnsafeRawBufferPointer(start: key, count: Record.keyLength))
    while found {
      let (key, value) = try (cursor.key, cursor.value)
      if let keyStart = key.baseAddress, let start = value.baseAddress {
        sum &+= Record.digest(key: keyStart, key.count, value: start, value.count)
      }
      records &+= 1
      if records == limit { break }
      found = try cursor.next()
    }
    return (records, sum)
  }

  func count(from: UnsafeRawPointer, to: UnsafeRawPointer) throws -> UInt64 {
    let view = try pinned()
    return try view.rank(UnsafeRawBufferPointer(start: to, count: Record.keyLength))
      &- view.rank(UnsafeRawBufferPointer(start: from, count: Record.keyLength))
  }

  func close() { handle.free() }
}
