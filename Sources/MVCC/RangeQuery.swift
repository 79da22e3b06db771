// A decoded range request, and the conventions by which key and range_end name an interval.

import NeedletailBytes

/// Pointers into the request and plain numbers: building one costs no allocation.
package struct RangeQuery {
  package enum Order: UInt8, Sendable {
    case none = 0
    case ascend = 1
    case descend = 2
  }

  package enum Target: UInt8, Sendable {
    case key = 0
    case version = 1
    case createRevision = 2
    case modRevision = 3
    case value = 4
  }

  package var key: UnsafeRawBufferPointer
  package var rangeEnd: UnsafeRawBufferPointer
  /// 0 or less: no limit.
  package var limit: Int64 = 0
  /// 0 or less: the latest.
  package var revision: Int64 = 0
  package var order: Order = .none
  package var target: Target = .key
  /// False where a part of a transaction named an order or a target that etcd doesn't know: refused by validation.
  package var hasValidSort = true
  package var keysOnly = false
  package var countOnly = false
  /// 0: no bound. Inclusive.
  package var minModRevision: Int64 = 0
  package var maxModRevision: Int64 = 0
  package var minCreateRevision: Int64 = 0
  package var maxCreateRevision: Int64 = 0
  /// Where the answer goes out in frames as it is written: where they are cut.
  package var cuts: UnsafeMutablePointer<FrameCuts>?
  /// Term for the answer's header.
  package var term: UInt64 = 0

  package init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer = .init(start: nil, count: 0)) {
    self.key = key
    self.rangeEnd = rangeEnd
  }

  /// One key, the latest revision, nothing else asked: what nearly every request is.
  @inline(__always)
  var isPlainGet: Bool {
    rangeEnd.count == 0 && revision <= 0 && !keysOnly && !countOnly && !hasFilters
  }

  @inline(__always)
  var hasFilters: Bool {
    minModRevision | maxModRevision | minCreateRevision | maxCreateRevision != 0
  }

  func passes(createRevision: UInt64, modRevision: UInt64) -> Bool {
    let create = Int64(clamping: createRevision)
    let mod = Int64(clamping: modRevision)
    return (minModRevision == 0 || mod >= minModRevision) && (maxModRevision == 0 || mod <= maxModRevision)
      && (minCreateRevision == 0 || create >= minCreateRevision)
      && (maxCreateRevision == 0 || create <= maxCreateRevision)
  }
}

/// [lower, upper) over user keys. No range_end: the key alone. range_end "\0": everything from the key on.
struct KeyRange {
  enum Kind {
    case single
    case bounded
    case unbounded
  }

  var lower: UnsafeRawBufferPointer
  var upper: UnsafeRawBufferPointer
  var kind: Kind

  init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer) {
    lower = key
    upper = rangeEnd
    kind = rangeEnd.count == 0 ? .single : rangeEnd.count == 1 && rangeEnd[0] == 0 ? .unbounded : .bounded
  }

  private init(kind: Kind) {
    lower = UnsafeRawBufferPointer(start: nil, count: 0)
    upper = lower
    self.kind = kind
  }

  static var everything: KeyRange { KeyRange(kind: .unbounded) }

  /// No key can lie in it.
  var isEmpty: Bool { kind == .bounded && compareBytes(lower, upper) >= 0 }

  /// For keys known to be ≥ `lower`.
  @inline(__always)
  func isBelowUpper(_ key: UnsafeRawBufferPointer) -> Bool {
    switch kind {
    case .unbounded: true
    case .bounded: compareBytes(key, upper) < 0
    case .single: compareBytes(key, lower) == 0
    }
  }

  func contains(_ key: UnsafeRawBufferPointer) -> Bool { compareBytes(key, lower) >= 0 && isBelowUpper(key) }
}
