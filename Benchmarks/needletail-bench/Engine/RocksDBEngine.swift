// RocksDB through its C interface: pinned gets (no copy), batched multi-get, an iterator per reader, sorted loads through an
// SST file that is ingested. A block cache that holds everything, bloom filters, no compression (the values are random).
import CRocksDB
import Glibc

private func check(_ error: UnsafeMutablePointer<CChar>?, _ what: String) throws {
  guard let error else { return }
  defer { rocksdb_free(error) }
  throw BenchError("rocksdb: \(what): \(String(cString: error))")
}

final class RocksDBEngine: Engine {
  static var configuration: String {
    "block cache for everything, bloom 10 bits, no compression, WAL on, compacted after loads"
  }

  fileprivate let database: OpaquePointer
  fileprivate let family: OpaquePointer
  private let options: OpaquePointer
  private let tableOptions: OpaquePointer
  private let lazyWrites: OpaquePointer
  private let durableWrites: OpaquePointer
  private let directory: String
  private var sorted: OpaquePointer?

  init(directory: String, count: UInt64) throws {
    self.directory = directory
    let configured: OpaquePointer = rocksdb_options_create()
    options = configured
    rocksdb_options_set_create_if_missing(options, 1)
    rocksdb_options_set_compression(options, Int32(rocksdb_no_compression))
    rocksdb_options_increase_parallelism(options, 2)
    tableOptions = rocksdb_block_based_options_create()
    let cache = rocksdb_cache_create_lru(max(1 << 30, Int(count) * 640))
    rocksdb_block_based_options_set_block_cache(tableOptions, cache)
    rocksdb_cache_destroy(cache)
    rocksdb_block_based_options_set_filter_policy(tableOptions, rocksdb_filterpolicy_create_bloom_full(10))
    rocksdb_options_set_block_based_table_factory(options, tableOptions)
    lazyWrites = rocksdb_writeoptions_create()
    durableWrites = rocksdb_writeoptions_create()
    rocksdb_writeoptions_set_sync(durableWrites, 1)

    var error: UnsafeMutablePointer<CChar>?
    var family: OpaquePointer?
    var opened: OpaquePointer?
    "default".withCString { name in
      var names: UnsafePointer<CChar>? = name
      var familyOptions: OpaquePointer? = configured
      opened = rocksdb_open_column_families(configured, directory, 1, &names, &familyOptions, &family, &error)
    }
    try check(error, "open")
    guard let opened, let family else { throw BenchError("rocksdb: no database") }
    database = opened
    self.family = family
  }

  func write(_ records: RecordBlock, durable: Bool) throws {
    let batch = rocksdb_writebatch_create()
    defer { rocksdb_writebatch_destroy(batch) }
    for i in 0..<records.count {
      rocksdb_writebatch_put(
        batch, records.key(i).assumingMemoryBound(to: CChar.self), Record.keyLength,
        records.value(i).assumingMemoryBound(to: CChar.self), Record.valueLength)
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_write(database, durable ? durableWrites : lazyWrites, batch, &error)
    try check(error, "write")
  }

  func sync() throws {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_flush_wal(database, 1, &error)
    try check(error, "flush_wal")
  }

  private var sortedPath: String { directory + "/sorted.sst" }

  func beginBulk() throws {
    let environment = rocksdb_envoptions_create()
    defer { rocksdb_envoptions_destroy(environment) }
    sorted = rocksdb_sstfilewriter_create(environment, options)
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_sstfilewriter_open(sorted, sortedPath, &error)
    try check(error, "sstfilewriter_open")
  }

  func bulk(_ records: RecordBlock) throws {
    var error: UnsafeMutablePointer<CChar>?
    for i in 0..<records.count {
      rocksdb_sstfilewriter_put(
        sorted, records.key(i).assumingMemoryBound(to: CChar.self), Record.keyLength,
        records.value(i).assumingMemoryBound(to: CChar.self), Record.valueLength, &error)
      if error != nil { break }
    }
    try check(error, "sstfilewriter_put")
  }

  func endBulk() throws {
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_sstfilewriter_finish(sorted, &error)
    rocksdb_sstfilewriter_destroy(sorted)
    sorted = nil
    try check(error, "sstfilewriter_finish")
    let ingest = rocksdb_ingestexternalfileoptions_create()
    defer { rocksdb_ingestexternalfileoptions_destroy(ingest) }
    rocksdb_ingestexternalfileoptions_set_move_files(ingest, 1)
    sortedPath.withCString { path in
      var paths: UnsafePointer<CChar>? = path
      rocksdb_ingest_external_file(database, &paths, 1, ingest, &error)
    }
    try check(error, "ingest_external_file")
  }

  func settle() { rocksdb_compact_range(database, nil, 0, nil, 0) }

  func makeReader() throws -> RocksDBReader { RocksDBReader(self) }

  func close() {
    rocksdb_column_family_handle_destroy(family)
    rocksdb_close(database)
    rocksdb_writeoptions_destroy(lazyWrites)
    rocksdb_writeoptions_destroy(durableWrites)
    rocksdb_block_based_options_destroy(tableOptions)
    rocksdb_options_destroy(options)
  }
}

struct RocksDBReader: EngineReader {
  private static let batch = 64

  private let engine: RocksDBEngine
  private let options: OpaquePointer
  private var snapshot: OpaquePointer?
  private let keys: UnsafeMutablePointer<UnsafePointer<CChar>?>
  private let sizes: UnsafeMutablePointer<Int>
  private let values: UnsafeMutablePointer<OpaquePointer?>
  private let errors: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

  init(_ engine: RocksDBEngine) {
    self.engine = engine
    options = rocksdb_readoptions_create()
    rocksdb_readoptions_set_verify_checksums(options, 0)
    keys = .allocate(capacity: Self.batch)
    sizes = .allocate(capacity: Self.batch)
    values = .allocate(capacity: Self.batch)
    errors = .allocate(capacity: Self.batch)
    keys.initialize(repeating: nil, count: Self.batch)
    sizes.initialize(repeating: Record.keyLength, count: Self.batch)
    values.initialize(repeating: nil, count: Self.batch)
    errors.initialize(repeating: nil, count: Self.batch)
  }

  mutating func measure(_ test: ReadTest, _ plan: ReadPlan) throws -> Measurement { try test.run(&self, plan) }

  @inline(__always)
  mutating func begin() {
    snapshot = rocksdb_create_snapshot(engine.database)
    rocksdb_readoptions_set_snapshot(options, snapshot)
  }

  @inline(__always)
  mutating func end() {
    rocksdb_readoptions_set_snapshot(options, nil)
    rocksdb_release_snapshot(engine.database, snapshot)
    snapshot = nil
  }

  @inline(__always)
  func get(_ key: UnsafeRawPointer) throws -> UInt64? {
    var error: UnsafeMutablePointer<CChar>?
    let slice = rocksdb_get_pinned(
      engine.database, options, key.assumingMemoryBound(to: CChar.self), Record.keyLength, &error)
    guard let slice else {
      try check(error, "get_pinned")
      return nil
    }
    defer { rocksdb_pinnableslice_destroy(slice) }
    var length = 0
    guard let value = rocksdb_pinnableslice_value(slice, &length) else { return nil }
    return Record.digest(value, length)
  }

  func multiget(_ packed: UnsafeRawPointer, count: Int) throws -> UInt64 {
    precondition(count <= Self.batch)
    for i in 0..<count { keys[i] = (packed + i &* Record.keyLength).assumingMemoryBound(to: CChar.self) }
    rocksdb_batched_multi_get_cf(engine.database, options, engine.family, count, keys, sizes, values, errors, false)
    var sum: UInt64 = 0
    for i in 0..<count {
      try check(errors[i], "batched_multi_get")
      guard let slice = values[i] else { continue }
      var length = 0
      if let value = rocksdb_pinnableslice_value(slice, &length) { sum &+= Record.digest(value, length) }
      rocksdb_pinnableslice_destroy(slice)
    }
    return sum
  }

  func scan(from key: UnsafeRawPointer, limit: Int) throws -> (records: Int, sum: UInt64) {
    let iterator = rocksdb_create_iterator(engine.database, options)
    defer { rocksdb_iter_destroy(iterator) }
    rocksdb_iter_seek(iterator, key.assumingMemoryBound(to: CChar.self), Record.keyLength)
    var records = 0
    var sum: UInt64 = 0
    while records < limit, rocksdb_iter_valid(iterator) != 0 {
      var keyLength = 0
      var length = 0
      guard let foundKey = rocksdb_iter_key(iterator, &keyLength), let value = rocksdb_iter_value(iterator, &length)
      else {
        break
      }
      sum &+= Record.digest(key: foundKey, keyLength, value: value, length)
      records &+= 1
      rocksdb_iter_next(iterator)
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_iter_get_error(iterator, &error)
    try check(error, "iterator")
    return (records, sum)
  }

  /// RocksDB keeps no exact counts: it walks.
  func count(from: UnsafeRawPointer, to: UnsafeRawPointer) throws -> UInt64 {
    let iterator = rocksdb_create_iterator(engine.database, options)
    defer { rocksdb_iter_destroy(iterator) }
    rocksdb_iter_seek(iterator, from.assumingMemoryBound(to: CChar.self), Record.keyLength)
    var total: UInt64 = 0
    while rocksdb_iter_valid(iterator) != 0 {
      var length = 0
      guard let key = rocksdb_iter_key(iterator, &length), memcmp(key, to, Record.keyLength) < 0 else { break }
      total &+= 1
      rocksdb_iter_next(iterator)
    }
    var error: UnsafeMutablePointer<CChar>?
    rocksdb_iter_get_error(iterator, &error)
    try check(error, "iterator")
    return total
  }

  func close() {
    rocksdb_readoptions_destroy(options)
    keys.deallocate()
    sizes.deallocate()
    values.deallocate()
    errors.deallocate()
  }
}
