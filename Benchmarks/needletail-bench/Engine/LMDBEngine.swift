// LMDB: a read transaction kept for the reader's life and renewed, mdb_get into the mapping, MDB_APPEND for sorted loads.
// Batches that need not be durable run with MDB_NOSYNC and one mdb_env_sync at the end, as its own benchmarks do.
import CLMDB
import Glibc

private func check(_ code: Int32, _ what: String) throws {
  if code != MDB_SUCCESS { throw BenchError("lmdb: \(what): \(String(cString: mdb_strerror(code)))") }
}

private enum LMDBFlag {
  static let noSync: UInt32 = 0x10000
  static let readOnly: UInt32 = 0x20000
  static let writeMap: UInt32 = 0x80000
  static let mapAsync: UInt32 = 0x100000
  static let noTLS: UInt32 = 0x200000
  static let append: UInt32 = 0x20000
}

class LMDBEngine: Engine {
  class var configuration: String { "MDB_NOSYNC for batches that need not be durable, read transactions renewed" }
  class var extraFlags: UInt32 { 0 }

  fileprivate let environment: OpaquePointer
  fileprivate let database: MDB_dbi
  private var bulkTransaction: OpaquePointer?
  private var syncing = true

  required init(directory: String, count: UInt64) throws {
    var created: OpaquePointer?
    try check(mdb_env_create(&created), "mdb_env_create")
    guard let created else { throw BenchError("lmdb: no environment") }
    environment = created
    // Room for trees that random inserts leave two thirds full, twice over.
    try check(mdb_env_set_mapsize(created, max(1 << 30, Int(count) * 1600)), "mdb_env_set_mapsize")
    try check(mdb_env_open(created, directory, LMDBFlag.noTLS | Self.extraFlags, 0o600), "mdb_env_open")
    var transaction: OpaquePointer?
    try check(mdb_txn_begin(created, nil, 0, &transaction), "mdb_txn_begin")
    var opened: MDB_dbi = 0
    try check(mdb_dbi_open(transaction, nil, 0, &opened), "mdb_dbi_open")
    try check(mdb_txn_commit(transaction), "mdb_txn_commit")
    database = opened
  }

  private func setSyncing(_ wanted: Bool) throws {
    if wanted == syncing { return }
    let flags = LMDBFlag.noSync | (Self.extraFlags & LMDBFlag.writeMap != 0 ? LMDBFlag.mapAsync : 0)
    try check(mdb_env_set_flags(environment, flags, wanted ? 0 : 1), "mdb_env_set_flags")
    syncing = wanted
  }

  private func put(_ records: RecordBlock, _ transaction: OpaquePointer?, flags: UInt32) throws {
    for i in 0..<records.count {
      var key = MDB_val(mv_size: Record.keyLength, mv_data: UnsafeMutableRawPointer(mutating: records.key(i)))
      var value = MDB_val(mv_size: Record.valueLength, mv_data: UnsafeMutableRawPointer(mutating: records.value(i)))
      try check(mdb_put(transaction, database, &key, &value, flags), "mdb_put")
    }
  }

  func write(_ records: RecordBlock, durable: Bool) throws {
    try setSyncing(durable)
    var transaction: OpaquePointer?
    try check(mdb_txn_begin(environment, nil, 0, &transaction), "mdb_txn_begin")
    try put(records, transaction, flags: 0)
    try check(mdb_txn_commit(transaction), "mdb_txn_commit")
  }

  func sync() throws { try check(mdb_env_sync(environment, 1), "mdb_env_sync") }

  func beginBulk() throws { try setSyncing(false) }

  func bulk(_ records: RecordBlock) throws {
    try check(mdb_txn_begin(environment, nil, 0, &bulkTransaction), "mdb_txn_begin")
    try put(records, bulkTransaction, flags: LMDBFlag.append)
    try check(mdb_txn_commit(bulkTransaction), "mdb_txn_commit")
  }

  func endBulk() throws { try sync() }

  func settle() {}

  func makeReader() throws -> LMDBReader { try LMDBReader(self) }

  func close() { mdb_env_close(environment) }
}

/// LMDB that writes through its map.
final class LMDBWriteMapEngine: LMDBEngine {
  override class var configuration: String {
    "MDB_WRITEMAP; MDB_NOSYNC | MDB_MAPASYNC for batches that need not be durable"
  }
  override class var extraFlags: UInt32 { LMDBFlag.writeMap }
}

struct LMDBReader: EngineReader {
  private let transaction: OpaquePointer
  private let cursor: OpaquePointer
  private let database: MDB_dbi

  init(_ engine: LMDBEngine) throws {
    var opened: OpaquePointer?
    try check(mdb_txn_begin(engine.environment, nil, LMDBFlag.readOnly, &opened), "mdb_txn_begin")
    var cursor: OpaquePointer?
    try check(mdb_cursor_open(opened, engine.database, &cursor), "mdb_cursor_open")
    guard let opened, let cursor else { throw BenchError("lmdb: no read transaction") }
    mdb_txn_reset(opened)
    transaction = opened
    self.cursor = cursor
    database = engine.database
  }

  mutating func measure(_ test: ReadTest, _ plan: ReadPlan) throws -> Measurement { try test.run(&self, plan) }

  @inline(__always)
  func begin() throws { try check(mdb_txn_renew(transaction), "mdb_txn_renew") }

  @inline(__always)
  func end() { mdb_txn_reset(transaction) }

  @inline(__always)
  func get(_ key: UnsafeRawPointer) throws -> UInt64? {
    var wanted = MDB_val(mv_size: Record.keyLength, mv_data: UnsafeMutableRawPointer(mutating: key))
    var found = MDB_val()
    let code = mdb_get(transaction, database, &wanted, &found)
    if code == MDB_NOTFOUND { return nil }
    guard code == MDB_SUCCESS, let data = found.mv_data else { throw BenchError("lmdb: mdb_get: \(code)") }
    return Record.digest(data, found.mv_size)
  }

  /// LMDB has no batched lookup.
  func multiget(_ keys: UnsafeRawPointer, count: Int) throws -> UInt64 {
    var sum: UInt64 = 0
    for i in 0..<count { sum &+= try get(keys + i &* Record.keyLength) ?? 0 }
    return sum
  }

  func scan(from key: UnsafeRawPointer, limit: Int) throws -> (records: Int, sum: UInt64) {
    try check(mdb_cursor_renew(transaction, cursor), "mdb_cursor_renew")
    var foundKey = MDB_val(mv_size: Record.keyLength, mv_data: UnsafeMutableRawPointer(mutating: key))
    var value = MDB_val()
    var code = mdb_cursor_get(cursor, &foundKey, &value, MDB_SET_RANGE)
    var records = 0
    var sum: UInt64 = 0
    while code == MDB_SUCCESS, let keyData = foundKey.mv_data, let data = value.mv_data {
      sum &+= Record.digest(key: keyData, foundKey.mv_size, value: data, value.mv_size)
      records &+= 1
      if records == limit { return (records, sum) }
      code = mdb_cursor_get(cursor, &foundKey, &value, MDB_NEXT)
    }
    if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get") }
    return (records, sum)
  }

  /// LMDB keeps no counts in its branches: it walks.
  func count(from: UnsafeRawPointer, to: UnsafeRawPointer) throws -> UInt64 {
    try check(mdb_cursor_renew(transaction, cursor), "mdb_cursor_renew")
    var key = MDB_val(mv_size: Record.keyLength, mv_data: UnsafeMutableRawPointer(mutating: from))
    var value = MDB_val()
    var code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    var total: UInt64 = 0
    while code == MDB_SUCCESS, let data = key.mv_data {
      if memcmp(data, to, Record.keyLength) >= 0 { return total }
      total &+= 1
      code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    }
    if code != MDB_NOTFOUND { try check(code, "mdb_cursor_get") }
    return total
  }

  func close() {
    mdb_cursor_close(cursor)
    mdb_txn_abort(transaction)
  }
}
