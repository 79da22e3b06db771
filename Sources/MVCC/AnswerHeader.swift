// The ResponseHeader in front of every answer: cluster_id 1, member_id 2, revision 3, raft_term 4.
// The ids never change, so their bytes are made once and stored as three words per answer.

struct AnswerHeader: Sendable {
  /// Tag, length, ids, revision and term at their longest; `write` may touch this many bytes.
  static let maxSize = 2 + 24 + 11 + 11

  private var ids: (UInt64, UInt64, UInt64) = (0, 0, 0)
  private var idsCount = 0

  init(_ identity: StoreIdentity) {
    var count = 0
    withUnsafeMutableBytes(of: &ids) { bytes in
      guard let start = bytes.baseAddress else { return }
      var at = start
      if identity.clusterID != 0 { at = writeVarint(identity.clusterID, writeByte(1 << 3, at)) }
      if identity.memberID != 0 { at = writeVarint(identity.memberID, writeByte(2 << 3, at)) }
      count = at - start
    }
    idsCount = count
  }

  /// What an answer's header says.
  enum Scope {
    /// The answer of a request: ids, revision and term.
    case whole(term: UInt64)
    /// A part of a transaction's answer: the revision alone.
    case part
  }

  @inline(__always)
  func write(_ p: UnsafeMutableRawPointer, revision: UInt64, _ scope: Scope) -> UnsafeMutableRawPointer {
    guard case .whole(let term) = scope else {
      let at = writeVarint(revision, writeByte(3 << 3, p + 2))
      p.storeBytes(of: AnswerTag.header, as: UInt8.self)
      p.storeBytes(of: UInt8(truncatingIfNeeded: at - p - 2), toByteOffset: 1, as: UInt8.self)
      return at
    }
    return write(p, revision: revision, term: term)
  }

  /// Writes field 1 of an answer at `p`, which has room for `maxSize` bytes; returns the byte after it.
  @inline(__always)
  func write(_ p: UnsafeMutableRawPointer, revision: UInt64, term: UInt64) -> UnsafeMutableRawPointer {
    // At most 22 + 11 + 11 bytes: the length takes one.
    p.storeBytes(of: AnswerTag.header, as: UInt8.self)
    let body = p + 2
    body.storeBytes(of: ids.0, as: UInt64.self)
    body.storeBytes(of: ids.1, toByteOffset: 8, as: UInt64.self)
    body.storeBytes(of: ids.2, toByteOffset: 16, as: UInt64.self)
    var at = body + idsCount
    if revision != 0 { at = writeVarint(revision, writeByte(3 << 3, at)) }
    if term != 0 { at = writeVarint(term, writeByte(4 << 3, at)) }
    p.storeBytes(of: UInt8(truncatingIfNeeded: at - body), toByteOffset: 1, as: UInt8.self)
    return at
  }
}

/// Tags of the answers' other fields.
enum AnswerTag {
  static let header: UInt8 = 1 << 3 | 2
  static let rangeKVs: UInt8 = 2 << 3 | 2
  static let rangeMore: UInt8 = 3 << 3
  static let rangeCount: UInt8 = 4 << 3
  static let putPrevKV: UInt8 = 2 << 3 | 2
  static let deleted: UInt8 = 2 << 3
  static let deletePrevKVs: UInt8 = 3 << 3 | 2
  static let keyValueKey: UInt8 = 1 << 3 | 2
}

/// Most bytes that a KeyValue takes beside its key and fields: two tags and two lengths.
let keyValueOverhead = 2 + 10 + 10

/// Writes a KeyValue message under `tag`: the key, then the fields as they lie in the record. Room needed:
/// `keyValueOverhead + key.count + fields.count`.
@inline(__always)
func writeKeyValue(
  _ p: UnsafeMutableRawPointer, tag: UInt8, key: UnsafeRawBufferPointer, fields: UnsafeRawBufferPointer
) -> UnsafeMutableRawPointer {
  var at = writeKey(p, tag: tag, key: key, fieldsSize: fields.count)
  if let source = fields.baseAddress { at.copyMemory(from: source, byteCount: fields.count) }
  at += fields.count
  return at
}

/// The beginning of a KeyValue message, up to where `fieldsSize` bytes of fields 2…6 follow.
@inline(__always)
func writeKey(
  _ p: UnsafeMutableRawPointer, tag: UInt8, key: UnsafeRawBufferPointer, fieldsSize: Int
) -> UnsafeMutableRawPointer {
  let size = 1 &+ varintSize(UInt64(key.count)) &+ key.count &+ fieldsSize
  var at = writeVarint(UInt64(size), writeByte(tag, p))
  at = writeVarint(UInt64(key.count), writeByte(AnswerTag.keyValueKey, at))
  if let source = key.baseAddress { at.copyMemory(from: source, byteCount: key.count) }
  return at + key.count
}
