// The oracle's transactions: etcd's steps one after the other, with sets and loops.
import NeedletailMVCC

extension NaiveStore {
  mutating func txn(_ spec: TxnSpec, operationsMax: Int, keyLimit: Int) throws(MVCCError) -> TxnResult {
    try NaiveStore.validate(spec, operationsMax, keyLimit)
    _ = try NaiveStore.changes(spec.success)
    _ = try NaiveStore.changes(spec.failure)
    if !spec.isReadOnly { try checkAlarms(needsSpace: NaiveStore.puts(spec)) }
    let path = choose(spec)
    var rest = path[...]
    try checkPuts(spec, &rest)
    rest = path[...]
    try checkRanges(spec, &rest)
    rest = path[...]
    beginTransaction()
    defer { endTransaction() }
    var result = try run(spec, &rest)
    result.revision = revision
    return result
  }

  /// Whether any branch puts anything.
  private static func puts(_ spec: TxnSpec) -> Bool {
    (spec.success + spec.failure).contains { operation in
      switch operation {
      case .put: true
      case .txn(let nested): puts(nested)
      case .range, .delete, .none: false
      }
    }
  }

  private static func validate(_ spec: TxnSpec, _ operationsMax: Int, _ keyLimit: Int) throws(MVCCError) {
    let longest = max(spec.compares.count, max(spec.success.count, spec.failure.count))
    if longest > operationsMax { throw .tooManyOperations }
    for compare in spec.compares where compare.key.isEmpty { throw .keyNotProvided }
    for operation in spec.success + spec.failure {
      switch operation {
      case .range(let spec): if spec.key.isEmpty { throw .keyNotProvided }
      case .put(let spec): try validate(spec, keyLimit)
      case .delete(let spec): if spec.key.isEmpty { throw .keyNotProvided }
      case .txn(let nested): try validate(nested, operationsMax - longest, keyLimit)
      case .none: throw .keyNotFound
      }
    }
  }

  private typealias Changes = (puts: Set<Bytes>, deletes: [(Bytes, Bytes)])

  private static func meets(_ deletes: [(Bytes, Bytes)], _ key: Bytes) -> Bool {
    deletes.contains { low, end in
      end.isEmpty ? key == low : !key.lexicographicallyPrecedes(low) && key.lexicographicallyPrecedes(end)
    }
  }

  private static func changes(_ operations: [OperationSpec]) throws(MVCCError) -> Changes {
    var puts: Set<Bytes> = []
    var deletes: [(Bytes, Bytes)] = []
    for case .delete(let spec) in operations { deletes.append((spec.key, spec.end)) }
    for case .txn(let nested) in operations {
      let success = try changes(nested.success)
      let failure = try changes(nested.failure)
      for key in success.puts {
        if puts.contains(key) || meets(deletes, key) { throw .duplicateKey }
      }
      for key in failure.puts {
        if puts.contains(key) && !success.puts.contains(key) || meets(deletes, key) { throw .duplicateKey }
      }
      puts.formUnion(success.puts)
      puts.formUnion(failure.puts)
      deletes += success.deletes + failure.deletes
    }
    for case .put(let spec) in operations {
      if puts.contains(spec.key) || meets(deletes, spec.key) { throw .duplicateKey }
      puts.insert(spec.key)
    }
    return (puts, deletes)
  }

  // MARK: Conditions

  private func choose(_ spec: TxnSpec) -> [Bool] {
    let holds = spec.compares.allSatisfy(holds)
    var path = [holds]
    for case .txn(let nested) in holds ? spec.success : spec.failure { path += choose(nested) }
    return path
  }

  private func holds(_ compare: CompareSpec) -> Bool {
    let found = state(compare.key, compare.end, at: revision)
    if found.isEmpty { return compare.target != 3 && holds(compare, KeyValue()) }
    return found.allSatisfy { holds(compare, $0) }
  }

  private func holds(_ compare: CompareSpec, _ kv: KeyValue) -> Bool {
    var (less, more) = (false, false)
    let number: Int64? =
      switch compare.target {
      case 0: kv.version
      case 1: kv.create
      case 2: kv.mod
      case 4: kv.lease
      default: nil
      }
    if let number {
      (less, more) = (number < compare.number, number > compare.number)
    } else if compare.target == 3 {
      less = kv.value.lexicographicallyPrecedes(compare.value)
      more = compare.value.lexicographicallyPrecedes(kv.value)
    }
    switch compare.relation {
    case 0: return !less && !more
    case 1: return more
    case 2: return less
    case 3: return less || more
    default: return true
    }
  }

  // MARK: What only the store can tell

  private func checkPuts(_ spec: TxnSpec, _ path: inout ArraySlice<Bool>) throws(MVCCError) {
    for operation in path.removeFirst() ? spec.success : spec.failure {
      if case .put(let put) = operation { try check(put) }
      if case .txn(let nested) = operation { try checkPuts(nested, &path) }
    }
  }

  private func checkRanges(_ spec: TxnSpec, _ path: inout ArraySlice<Bool>) throws(MVCCError) {
    for operation in path.removeFirst() ? spec.success : spec.failure {
      if case .range(let range) = operation, range.revision != 0 {
        if range.revision > revision { throw .futureRevision }
        if range.revision < (compacted == 0 && !wasCompactedToZero ? -1 : compacted) { throw .compacted }
      }
      if case .txn(let nested) = operation { try checkRanges(nested, &path) }
    }
  }

  private mutating func run(_ spec: TxnSpec, _ path: inout ArraySlice<Bool>) throws(MVCCError) -> TxnResult {
    var result = TxnResult()
    result.succeeded = path.removeFirst()
    for operation in result.succeeded ? spec.success : spec.failure {
      switch operation {
      case .range(let spec): result.responses.append(.range(try range(spec)))
      case .put(let spec): result.responses.append(.put(change(spec)))
      case .delete(let spec): result.responses.append(.delete(change(spec)))
      case .txn(let nested): result.responses.append(.txn(try run(nested, &path)))
      case .none: break
      }
    }
    return result
  }
}
