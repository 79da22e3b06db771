// One entry of the log.

package enum EntryKind: UInt8, Sendable {
  case normal = 0
  /// One change, in the older encoding.
  case configChange = 1
  case configChangeV2 = 2
}

package struct Entry: Equatable, Sendable {
  package var term: UInt64
  package var index: UInt64
  package var kind: EntryKind
  package var data: [UInt8]

  package init(term: UInt64 = 0, index: UInt64 = 0, kind: EntryKind = .normal, data: [UInt8] = []) {
    self.term = term
    self.index = index
    self.kind = kind
    self.data = data
  }

  package var id: EntryID { EntryID(term: term, index: index) }

  package var isConfigChange: Bool { kind != .normal }

  /// Bytes that the limits on messages and on applying count: those of etcd's encoding.
  package var encodedSize: UInt64 {
    var size = 2 + 1 + varintSize(term) + 1 + varintSize(index)
    if !data.isEmpty { size += 1 + varintSize(UInt64(data.count)) + data.count }
    return UInt64(size)
  }

  /// Bytes of data. Zero for the entry that begins a term, which no limit may refuse.
  package var payloadSize: UInt64 { UInt64(data.count) }
}

/// Where an entry stands: no two entries of one log, nor of two logs of one cluster, share it and differ.
package struct EntryID: Equatable, Sendable {
  package var term: UInt64
  package var index: UInt64

  package init(term: UInt64, index: UInt64) {
    self.term = term
    self.index = index
  }
}

extension RandomAccessCollection where Element == Entry {
  var encodedSize: UInt64 { reduce(0) { $0 + $1.encodedSize } }
  var payloadSize: UInt64 { reduce(0) { $0 + $1.payloadSize } }

  /// The longest prefix of at most `bytes` encoded bytes, and of one entry at least.
  package func prefix(encodedSizeMax bytes: UInt64) -> SubSequence {
    if bytes == Limits.unlimited { return self[...] }
    var size: UInt64 = 0
    var end = startIndex
    while end != endIndex {
      size += self[end].encodedSize
      if size > bytes, end != startIndex { break }
      end = index(after: end)
    }
    return self[..<end]
  }
}

func varintSize(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }
