// The seam between the engine and whatever holds its bytes: a file, or in tests a simulated disk.

/// One contiguous write.
package struct PageRun {
  package let offset: UInt64
  package let bytes: UnsafeRawBufferPointer
  package init(offset: UInt64, bytes: UnsafeRawBufferPointer) {
    self.offset = offset
    self.bytes = bytes
  }
}

/// Bytes that are read through a fixed mapping and written by calls.
///
/// The writer and a checkpoint may write at once, to different bytes; only the writer grows. Any number read through
/// `base`. A write is visible through `base` when `write`
/// returns and durable when a later `sync` returns. After any failure nothing is promised about what was written, and
/// the caller must not write on.
package protocol PageStore: AnyObject, Sendable {
  /// Where byte 0 is mapped, for as long as the store is open; it never moves, also when the store grows.
  var base: UnsafeRawPointer { get }
  /// Bytes present. Reading beyond faults.
  var size: UInt64 { get }
  /// Largest size that `base` has room for.
  var capacity: UInt64 { get }
  /// Writes runs in ascending order of offset.
  func write(_ runs: [PageRun]) throws(DatabaseError)
  /// `write` for the writer's batches of pages, in whatever way is cheapest for them.
  func publish(_ runs: [PageRun]) throws(DatabaseError)
  func sync() throws(DatabaseError)
  /// Makes the store at least `size` bytes long, the new ones zeros with space behind them. Throws `noSpace` and
  /// leaves the store as it was when there is none.
  func grow(to size: UInt64) throws(DatabaseError)
  /// Cuts the store to `size` bytes: nobody reads behind them any more, and no durable state needs what is there.
  func truncate(to size: UInt64) throws(DatabaseError)
  /// These bytes hold nothing that any reader or any recovery needs; they will be overwritten before they are read.
  func release(offset: UInt64, count: UInt64)
  /// Again does nothing.
  func close()
}

extension PageStore {
  package func publish(_ runs: [PageRun]) throws(DatabaseError) { try write(runs) }

  /// A file has no use for the hint: its pages are reused soon.
  package func release(offset: UInt64, count: UInt64) {}
}
