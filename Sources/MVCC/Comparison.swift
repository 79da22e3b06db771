// One condition of a transaction: a field of a key, or of every key in a range, against a constant.
import NeedletailBackend

package struct Comparison {
  package enum Target: Int32, Sendable {
    case version = 0
    case createRevision = 1
    case modRevision = 2
    case value = 3
    case lease = 4
  }

  package enum Relation: Int32, Sendable {
    case equal = 0
    case greater = 1
    case less = 2
    case notEqual = 3
  }

  package var key: UnsafeRawBufferPointer
  package var rangeEnd: UnsafeRawBufferPointer
  /// Nil for numbers that etcd doesn't know: the field then counts as equal to the constant.
  package var target: Target? = .version
  /// Nil for numbers that etcd doesn't know: the condition then holds.
  package var relation: Relation? = .equal
  /// The constant: a number for all targets but the value. Zero where the request gave none of the target's kind.
  package var number: Int64 = 0
  package var value = UnsafeRawBufferPointer(start: nil, count: 0)

  package init(key: UnsafeRawBufferPointer, rangeEnd: UnsafeRawBufferPointer = .init(start: nil, count: 0)) {
    self.key = key
    self.rangeEnd = rangeEnd
  }

  /// Whether it holds in `state`: for each key of the range, and where there is none, for a key whose numbers are zero;
  /// the value of no key compares with nothing.
  func holds(in state: StoreState, _ store: Store) throws(MVCCError) -> Bool {
    let range = KeyRange(key: key, rangeEnd: rangeEnd)
    var seen = false
    if range.kind == .single {
      if key.count <= store.keyLimit, let record = try state.current.find(key) {
        return holds(for: try RecordFields(try Version(record: record).fields))
      }
    } else if !range.isEmpty {
      var scan = LatestScan(state, range)
      var entry = ScanEntry()
      while try scan.next(&entry) {
        guard holds(for: try RecordFields(entry.fields)) else { return false }
        seen = true
      }
    }
    return seen || (target != .value && holds(for: .absent))
  }

  private func holds(for fields: RecordFields) -> Bool {
    let order: Int
    switch target {
    case .version: order = Comparison.order(fields.version, number)
    case .createRevision: order = Comparison.order(fields.createRevision, number)
    case .modRevision: order = Comparison.order(fields.modRevision, number)
    case .lease: order = Comparison.order(fields.lease, number)
    case .value: order = compareBytes(fields.value, value)
    case nil: order = 0
    }
    switch relation {
    case .equal: return order == 0
    case .notEqual: return order != 0
    case .greater: return order > 0
    case .less: return order < 0
    case nil: return true
    }
  }

  private static func order(_ a: UInt64, _ b: Int64) -> Int {
    let a = Int64(bitPattern: a)
    return a == b ? 0 : a < b ? -1 : 1
  }
}

extension RecordFields {
  /// What a comparison takes for a key that isn't there.
  static var absent: RecordFields {
    RecordFields(
      createRevision: 0, modRevision: 0, version: 0, value: UnsafeRawBufferPointer(start: nil, count: 0), lease: 0)
  }
}
