// The write side of leases: granting, revoking, checkpointing, and which keys are attached to which.
import NeedletailBackend
import NeedletailBytes

extension StoreWriter {
  /// etcd's bound of a TTL in seconds.
  package static let leaseTTLMax: Int64 = 9_000_000_000

  /// Appends a LeaseGrantResponse body to `out`. The id and the TTL are those the proposer has chosen.
  package func grantLease(
    _ batch: WriteBatch, _ id: Int64, ttl: Int64, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try alarms.check(needsSpace: true)
    guard id != 0 else { throw .leaseNotFound }
    guard ttl <= StoreWriter.leaseTTLMax else { throw .leaseTTLTooLarge }
    guard try lease(batch, id) == nil else { throw .leaseExists }
    try putLease(batch, id, LeaseRecord(ttl: ttl))
    let start = out.reserve(AnswerHeader.maxSize + 22)
    var at = store.header.write(start, revision: revision, term: term)
    at = writeVarint(UInt64(bitPattern: id), writeByte(2 << 3, at))
    if ttl != 0 { at = writeVarint(UInt64(bitPattern: ttl), writeByte(3 << 3, at)) }
    out.advance(at - start)
  }

  /// Appends a LeaseRevokeResponse body to `out`. The lease's keys are deleted in one revision, in key order.
  package func revokeLease(
    _ batch: WriteBatch, _ id: Int64, term: UInt64, into out: inout OutBuffer
  ) throws(MVCCError) {
    try alarms.check(needsSpace: false)
    guard try lease(batch, id) != nil else { throw .leaseNotFound }
    let tree: TreeView
    do { tree = try batch.view(store.lease) } catch { throw .storage(error) }
    var keys = try LeaseKeys.all(of: id, tree, nameMax: store.database.maxKeyLength)
    if mutant(.appliesInHashOrder) { keys = Array(Set(keys)) }
    beginChange()
    for key in keys {
      let failure: MVCCError? = key.withUnsafeBytes { key in
        do throws(MVCCError) {
          // Deleting takes the attachment away too.
          guard let record = try find(batch, store.current, key) else { throw .corrupt("a lease's key is not there") }
          try delete(batch, key, record, main: revision + 1, keepsPrevious: false)
          return nil
        } catch {
          return error
        }
      }
      if let failure { throw failure }
    }
    endChange()
    LeaseName.build(id, in: &leaseName)
    try remove(batch, store.lease, leaseName.bytes)
    let start = out.reserve(AnswerHeader.maxSize)
    out.advance(store.header.write(start, revision: revision, term: term) - start)
  }

  /// Notes what is left of a lease, so that a restart goes on from there. A lease that is gone is passed over.
  package func checkpointLease(_ batch: WriteBatch, _ id: Int64, remaining: Int64) throws(MVCCError) {
    guard var record = try lease(batch, id) else { return }
    record.remaining = max(0, min(remaining, record.ttl))
    try putLease(batch, id, record)
  }

  func lease(_ batch: WriteBatch, _ id: Int64) throws(MVCCError) -> LeaseRecord? {
    LeaseName.build(id, in: &leaseName)
    return try find(batch, store.lease, leaseName.bytes).map { (bytes) throws(MVCCError) in try LeaseRecord(bytes) }
  }

  private func putLease(_ batch: WriteBatch, _ id: Int64, _ record: LeaseRecord) throws(MVCCError) {
    LeaseName.build(id, in: &leaseName)
    let name = leaseName.bytes
    try record.withBytes { (bytes) throws(MVCCError) in try put(batch, store.lease, name, bytes) }
  }

  // MARK: Attachments. Called after a key's own edits: `key` must not lie in pages.

  /// Moves a key from one lease to another; 0 is none.
  func attach(_ batch: WriteBatch, _ key: UnsafeRawBufferPointer, from old: Int64, to new: Int64) throws(MVCCError) {
    guard old != new else { return }
    if old != 0 { try detach(batch, key, from: old) }
    guard new != 0 else { return }
    let isLong = LeaseName.build(new, key, nameMax: store.database.maxKeyLength, in: &leaseName)
    leaseKeys.removeAll()
    if isLong {
      if let found = try find(batch, store.lease, leaseName.bytes) { leaseKeys.append(found) }
      appendLongKey(key)
    }
    try put(batch, store.lease, leaseName.bytes, leaseKeys.bytes)
  }

  func detach(_ batch: WriteBatch, _ key: UnsafeRawBufferPointer, from old: Int64) throws(MVCCError) {
    guard LeaseName.build(old, key, nameMax: store.database.maxKeyLength, in: &leaseName) else {
      return try remove(batch, store.lease, leaseName.bytes)
    }
    guard let found = try find(batch, store.lease, leaseName.bytes) else { throw .corrupt("a lease lacks its key") }
    leaseKeys.removeAll()
    var rest = LongLeaseKeys(found)
    while let other = try rest.next() {
      if compareBytes(other, key) != 0 { appendLongKey(other) }
    }
    if leaseKeys.isEmpty {
      try remove(batch, store.lease, leaseName.bytes)
    } else {
      try put(batch, store.lease, leaseName.bytes, leaseKeys.bytes)
    }
  }

  private func appendLongKey(_ key: UnsafeRawBufferPointer) {
    leaseKeys.reserve(4).storeBytes(of: UInt32(key.count).littleEndian, as: UInt32.self)
    leaseKeys.advance(4)
    leaseKeys.append(key)
  }
}
