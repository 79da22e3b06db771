import Glibc

/// Aligned memory where one group is put together and from where it is written.
///
/// A group is bound to its place only when it is sealed: until then its records lack chain and header checksum, so a
/// switch of segments in between costs nothing.
final class GroupBuffer {
  /// Index among the log's buffers, and the number of the write in flight from it.
  let slot: Int
  let memory: UnsafeMutableRawBufferPointer
  /// Memory of a group with one record too large for `memory`.
  private var large: UnsafeMutableRawBufferPointer?
  private(set) var used = GroupHeader.size
  private(set) var records = 0

  init(slot: Int, capacity: Int) {
    self.slot = slot
    memory = .allocate(byteCount: capacity, alignment: blockSize)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit {
    large?.deallocate()
    memory.deallocate()
  }

  var isEmpty: Bool { records == 0 }
  var span: Int { roundUp(used, blockSize) }

  /// Whether a record of `size` bytes (header included) goes in without making the group larger than wished.
  func hasRoom(_ size: Int) -> Bool { used + size <= memory.count }

  private var current: UnsafeMutableRawBufferPointer { large ?? memory }

  /// Adds a record. A record over the buffer's room is taken by an empty group only.
  func append(kind: RecordHeader.Kind, index: UInt64, term: UInt64, payload: UnsafeRawBufferPointer) {
    let size = RecordHeader.recordSize(payload.count)
    if !hasRoom(size) {
      precondition(isEmpty && large == nil, "a large record needs a group of its own")
      large = .allocate(byteCount: roundUp(used + size, blockSize), alignment: blockSize)
    }
    guard let p = current.baseAddress.map({ $0 + used }) else { return }
    RecordHeader.put(p, kind: kind, index: index, term: term, payload: payload)
    if let source = payload.baseAddress, payload.count > 0 {
      (p + RecordHeader.size).copyMemory(from: source, byteCount: payload.count)
    }
    let written = RecordHeader.size + payload.count
    memset(p + written, 0, size - written)
    used += size
    records += 1
  }

  /// Fills in what depends on the group's place. Returns the bytes to write and the chain after the last record.
  func seal(at position: LogPosition, durable: LogPosition, last: LogMark, chain: UInt32, salt: UInt32)
    -> (bytes: UnsafeRawBufferPointer, chain: UInt32)
  {
    guard let base = current.baseAddress else { return (UnsafeRawBufferPointer(start: nil, count: 0), chain) }
    var link = chain
    var at = GroupHeader.size
    while at < used {
      link = RecordHeader.seal(base + at, chain: link, salt: salt)
      at += RecordHeader.recordSize(Int(UnsafeRawPointer(base).u32(at + 8)))
    }
    GroupHeader(position: position, length: used, records: records, durable: durable, last: last, chain: chain)
      .put(base, salt: salt)
    memset(base + used, 0, span - used)
    return (UnsafeRawBufferPointer(start: base, count: span), link)
  }

  func reset() {
    large?.deallocate()
    large = nil
    used = GroupHeader.size
    records = 0
  }
}
