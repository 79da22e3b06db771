// What an engine must do to take part. Every driver implements these as tightly as its interface allows; the loops that call
// them are generic, and compiled once for each engine: the compiler does that only where the concrete type is known, so each
// reader enters them itself (`measure`), and the loops call no witness table.

struct BenchError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// An open store, owned by the suite. Writers are called from one thread.
protocol Engine: AnyObject {
  associatedtype Reader: EngineReader

  /// Opens an empty store in an empty folder, laid out for `count` records.
  init(directory: String, count: UInt64) throws

  /// What configuration the figures hold for, for the record.
  static var configuration: String { get }

  /// One batch, one transaction. Durable: on disk when it returns.
  func write(_ records: RecordBlock, durable: Bool) throws

  /// Everything written so far is on disk when it returns.
  func sync() throws

  /// Sorted records into an empty store by the fastest way the engine has.
  func beginBulk() throws
  func bulk(_ records: RecordBlock) throws
  func endBulk() throws

  /// Background work that a load left behind is finished when it returns; not timed.
  func settle() throws

  func makeReader() throws -> Reader
  func close()
}

/// One thread's way of reading. Reads happen between `begin` and `end`, which are a transaction.
protocol EngineReader {
  mutating func begin() throws
  mutating func end()

  /// `Record.digest` of the value, or `nil` when the key is missing.
  mutating func get(_ key: UnsafeRawPointer) throws -> UInt64?

  /// The sum of the digests of `count` keys in a row.
  mutating func multiget(_ keys: UnsafeRawPointer, count: Int) throws -> UInt64

  /// Seeks the first key not below `key` and reads at most `limit` records forward: their number and digests' sum.
  mutating func scan(from key: UnsafeRawPointer, limit: Int) throws -> (records: Int, sum: UInt64)

  /// The number of keys in [from, to).
  mutating func count(from: UnsafeRawPointer, to: UnsafeRawPointer) throws -> UInt64

  mutating func close()

  /// Must be `try test.run(&self, plan)`, written where `Self` is concrete: it is what makes the loops specialised.
  mutating func measure(_ test: ReadTest, _ plan: ReadPlan) throws -> Measurement
}
