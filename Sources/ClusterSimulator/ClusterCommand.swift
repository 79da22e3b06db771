// What clients of the simulated cluster ask for, and its bytes in a log entry.

import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC

struct ClusterCommand: Equatable {
  enum Kind: Equatable {
    case put(value: [UInt8], lease: Int64 = 0)
    /// An empty end: the key alone.
    case delete(end: [UInt8])
    /// Puts one value where the key was last changed at `mod`, else the other into the key that follows.
    case transaction(mod: Int64, value: [UInt8], otherwise: [UInt8], otherKey: [UInt8])
    case compact(Int64)
    case grant(lease: Int64, ttl: Int64)
    case revoke(lease: Int64)
  }

  /// Whose answer it is.
  var id: UInt64
  var key: [UInt8] = []
  var kind: Kind

  // MARK: Bytes: id, kind, then fields with a length of two bytes each

  func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    func number(_ value: UInt64) {
      for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * shift))) }
    }
    func field(_ text: [UInt8]) {
      bytes += [UInt8(truncatingIfNeeded: text.count), UInt8(truncatingIfNeeded: text.count >> 8)] + text
    }
    number(id)
    switch kind {
    case .put(let value, let lease):
      bytes.append(1)
      number(UInt64(bitPattern: lease))
      field(key)
      field(value)
    case .delete(let end):
      bytes.append(2)
      field(key)
      field(end)
    case .transaction(let mod, let value, let otherwise, let otherKey):
      bytes.append(3)
      number(UInt64(bitPattern: mod))
      for text in [key, value, otherwise, otherKey] { field(text) }
    case .compact(let revision):
      bytes.append(4)
      number(UInt64(bitPattern: revision))
    case .grant(let lease, let ttl):
      bytes.append(5)
      number(UInt64(bitPattern: lease))
      number(UInt64(bitPattern: ttl))
    case .revoke(let lease):
      bytes.append(6)
      number(UInt64(bitPattern: lease))
    }
    return bytes
  }

  init(id: UInt64, key: [UInt8] = [], kind: Kind) {
    self.id = id
    self.key = key
    self.kind = kind
  }

  /// nil for bytes that `encoded` does not make.
  init?(_ bytes: [UInt8]) {
    var at = 0
    func number() -> UInt64? {
      guard at + 8 <= bytes.count else { return nil }
      defer { at += 8 }
      return (0..<8).reduce(0) { $0 | UInt64(bytes[at + $1]) << UInt64(8 * $1) }
    }
    func field() -> [UInt8]? {
      guard at + 2 <= bytes.count else { return nil }
      let end = at + 2 + (Int(bytes[at]) | Int(bytes[at + 1]) << 8)
      guard end <= bytes.count else { return nil }
      defer { at = end }
      return Array(bytes[(at + 2)..<end])
    }
    guard let id = number(), at < bytes.count else { return nil }
    self.id = id
    let tag = bytes[at]
    at += 1
    switch tag {
    case 1:
      guard let lease = number(), let key = field(), let value = field() else { return nil }
      self.key = key
      kind = .put(value: value, lease: Int64(bitPattern: lease))
    case 2:
      guard let key = field(), let end = field() else { return nil }
      self.key = key
      kind = .delete(end: end)
    case 3:
      guard let mod = number(), let key = field(), let value = field(), let otherwise = field(), let otherKey = field()
      else { return nil }
      self.key = key
      kind = .transaction(mod: Int64(bitPattern: mod), value: value, otherwise: otherwise, otherKey: otherKey)
    case 4:
      guard let revision = number() else { return nil }
      kind = .compact(Int64(bitPattern: revision))
    case 5:
      guard let lease = number(), let ttl = number() else { return nil }
      kind = .grant(lease: Int64(bitPattern: lease), ttl: Int64(bitPattern: ttl))
    case 6:
      guard let lease = number() else { return nil }
      kind = .revoke(lease: Int64(bitPattern: lease))
    default: return nil
    }
    guard at == bytes.count else { return nil }
  }

  // MARK: Applying

  /// The answer's body, or why it was refused.
  func apply(_ writer: StoreWriter, _ batch: WriteBatch, term: UInt64) -> Result<[UInt8], MVCCError> {
    var out = OutBuffer()
    defer { out.free() }
    do throws(MVCCError) {
      switch kind {
      case .put(let value, let lease):
        try withPointers([key, value]) { (fields) throws(MVCCError) in
          var command = PutCommand(key: fields[0], value: fields[1])
          command.lease = lease
          command.prevKV = true
          try writer.put(batch, command, term: term, into: &out)
        }
      case .delete(let end):
        try withPointers([key, end]) { (fields) throws(MVCCError) in
          var command = DeleteRangeCommand(key: fields[0], rangeEnd: fields[1])
          command.prevKV = true
          try writer.deleteRange(batch, command, term: term, into: &out)
        }
      case .transaction(let mod, let value, let otherwise, let otherKey):
        try withPointers([key, value, otherwise, otherKey]) { (fields) throws(MVCCError) in
          var comparison = Comparison(key: fields[0])
          comparison.target = .modRevision
          comparison.number = mod
          var transaction = Transaction()
          transaction.comparisons = [comparison]
          transaction.success = [
            .put(PutCommand(key: fields[0], value: fields[1])), .range(RangeQuery(key: fields[3])),
          ]
          transaction.failure = [
            .range(RangeQuery(key: fields[0])), .put(PutCommand(key: fields[3], value: fields[2])),
          ]
          try writer.transaction(batch, transaction, term: term, into: &out)
        }
      case .compact(let revision): try writer.compact(batch, to: revision, term: term, into: &out)
      case .grant(let lease, let ttl): try writer.grantLease(batch, lease, ttl: ttl, term: term, into: &out)
      case .revoke(let lease): try writer.revokeLease(batch, lease, term: term, into: &out)
      }
      return .success(Array(out.bytes))
    } catch {
      return .failure(error)
    }
  }
}

/// The fields in one piece of memory for as long as `body` runs.
func withPointers(
  _ fields: [[UInt8]], _ body: ([UnsafeRawBufferPointer]) throws(MVCCError) -> Void
) throws(MVCCError) {
  let result: Result<Void, MVCCError> = fields.flatMap { $0 }.withUnsafeBytes { all in
    var at = 0
    let views = fields.map { field -> UnsafeRawBufferPointer in
      defer { at += field.count }
      return UnsafeRawBufferPointer(rebasing: all[at..<(at + field.count)])
    }
    do throws(MVCCError) { return .success(try body(views)) } catch { return .failure(error) }
  }
  try result.get()
}
