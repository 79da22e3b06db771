// The oracle's alarms, and its hash: the stream of docs/format-mvcc.md made from the list of all changes, and a table's
// CRC-32C over it.
import NeedletailMVCC

extension NaiveStore {
  func checkAlarms(needsSpace: Bool) throws(MVCCError) {
    if alarms.contains(where: { $0.kind == .corrupt }) { throw .corruptCluster }
    if needsSpace, alarms.contains(where: { $0.kind == .noSpace }) { throw .noSpace }
  }

  /// nil: refused as a read of that revision is.
  func hash(_ asked: Int64) throws(MVCCError) -> UInt32 {
    let at = asked <= 0 ? revision : asked
    if at < compacted { throw .compacted }
    if at > revision { throw .futureRevision }
    var stream: Bytes = []
    var latest: [Bytes: Change] = [:]
    for change in changes {
      defer { latest[change.key] = change }
      guard change.main > compacted, change.main <= at else { continue }
      stream.append(change.kv == nil ? 2 : 1)
      append(UInt64(change.main), 8, &stream)
      append(UInt64(change.sub), 4, &stream)
      appendCounted(change.key, &stream)
      if let before = latest[change.key] {
        if let kv = before.kv {
          stream.append(1)
          appendCounted(NaiveStore.fields(kv), &stream)
        } else if before.main > compacted {
          stream.append(2)
          append(UInt64(before.main), 8, &stream)
          append(UInt64(before.sub), 4, &stream)
        } else {
          stream.append(0)
        }
      } else {
        stream.append(0)
      }
    }
    for kv in state([0], [0], at: at) {
      stream.append(3)
      appendCounted(kv.key, &stream)
      appendCounted(NaiveStore.fields(kv), &stream)
    }
    return NaiveStore.crc32c(stream)
  }

  private func append(_ number: UInt64, _ size: Int, _ stream: inout Bytes) {
    for i in 0..<size { stream.append(UInt8(truncatingIfNeeded: number >> UInt64(8 * i))) }
  }

  private func appendCounted(_ bytes: Bytes, _ stream: inout Bytes) {
    append(UInt64(bytes.count), 4, &stream)
    stream += bytes
  }

  /// Fields 2…6 of a KeyValue in protobuf.
  private static func fields(_ kv: KeyValue) -> Bytes {
    var out: Bytes = []
    func varint(_ number: UInt64) {
      var rest = number
      while rest >= 128 {
        out.append(UInt8(rest & 127) | 128)
        rest >>= 7
      }
      out.append(UInt8(rest))
    }
    for (tag, number) in [(0x10, kv.create), (0x18, kv.mod), (0x20, kv.version)] {
      out.append(UInt8(tag))
      varint(UInt64(number))
    }
    if !kv.value.isEmpty {
      out.append(0x2a)
      varint(UInt64(kv.value.count))
      out += kv.value
    }
    if kv.lease != 0 {
      out.append(0x30)
      varint(UInt64(bitPattern: kv.lease))
    }
    return out
  }

  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
  }

  private static func crc32c(_ bytes: Bytes) -> UInt32 {
    ~bytes.reduce(UInt32.max) { crc, byte in crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] }
  }
}
