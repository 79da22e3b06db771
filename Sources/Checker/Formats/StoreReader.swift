// Requests and answers of a line of this project's histories.

struct StoreReader {
  var names = StoreNames()

  private static let second_ns: Int64 = 1_000_000_000

  // MARK: Requests

  mutating func request(_ line: EDNMap) throws(HistoryError) -> StoreRequest {
    switch try line.keyword("f") {
    case "put":
      return .single(
        .put(
          key: names.key(try line.string("key")), value: names.value(try line.string("value")),
          lease: lease(try line.optionalInteger("lease") ?? 0)))
    case "delete": return .single(.delete(names.range(try line.string("key"), try line.optionalString("end"))))
    case "range": return .single(.range(try query(line)))
    case "txn":
      return .transaction(
        comparisons: try comparisons(line), success: try actions(line, "then"), failure: try actions(line, "else"))
    case "compact": return .compact(try revision(try line.integer("at"), line))
    case "grant": return .grant(lease: try leaseNumber(line), ttl_ns: try ttl(line))
    case "revoke": return .revoke(lease: try leaseNumber(line))
    case "keepalive": return .keepAlive(lease: try leaseNumber(line))
    case "ttl": return .timeToLive(lease: try leaseNumber(line))
    case let name: throw line.failure(":f is :\(name)")
    }
  }

  private mutating func query(_ line: EDNMap) throws(HistoryError) -> RangeQuery {
    var query = RangeQuery(keys: names.range(try line.string("key"), try line.optionalString("end")))
    if let at = try line.optionalInteger("at") { query.revision = try revision(at, line) }
    query.limit = Int(min(try count(try line.optionalInteger("limit") ?? 0, line), Int64(Int32.max)))
    query.isCountOnly = try line.flag("count-only")
    query.isKeysOnly = try line.flag("keys-only")
    return query
  }

  /// `[:value "key" := "text"]`, `[:mod "key" :< 5]` and so on.
  private mutating func comparisons(_ line: EDNMap) throws(HistoryError) -> [StoreComparison] {
    var all: [StoreComparison] = []
    for element in try line.optionalVector("if") ?? [] {
      guard case .vector(let parts) = element, parts.count == 4, case .keyword(let target) = parts[0],
        case .string(let key) = parts[1], case .keyword(let sign) = parts[2], let relation = relation(sign)
      else { throw line.failure("a comparison that is not [:target \"key\" :sign value]") }
      let kind: StoreComparison.Target
      switch (target, parts[3]) {
      case ("value", .string(let value)): kind = .value(names.value(value))
      case ("create", .integer(let number)): kind = .create(try revision(number, line, least: 0))
      case ("mod", .integer(let number)): kind = .mod(try revision(number, line, least: 0))
      case ("version", .integer(let number)): kind = .version(try revision(number, line, least: 0))
      case ("lease", .integer(let number)): kind = .lease(lease(number))
      default: throw line.failure("a comparison of :\(target) with what it does not have")
      }
      all.append(StoreComparison(key: names.key(key), target: kind, relation: relation))
    }
    return all
  }

  private func relation(_ sign: String) -> StoreComparison.Relation? {
    switch sign {
    case "=": .equal
    case "!=": .notEqual
    case "<": .less
    case ">": .greater
    default: nil
    }
  }

  /// `[:put "key" "value" lease]`, `[:delete "key" end]`, `[:range "key" end]`; lease and end may be left out.
  private mutating func actions(_ line: EDNMap, _ name: String) throws(HistoryError) -> [StoreAction] {
    var all: [StoreAction] = []
    for element in try line.optionalVector(name) ?? [] {
      guard case .vector(let parts) = element, parts.count > 1, case .keyword(let kind) = parts[0],
        case .string(let key) = parts[1]
      else { throw line.failure("an operation that is not [:kind \"key\" …]") }
      switch (kind, parts.count > 2 ? parts[2] : .none, parts.count > 3 ? parts[3] : .none) {
      case ("put", .string(let value), .none):
        all.append(.put(key: names.key(key), value: names.value(value), lease: nil))
      case ("put", .string(let value), .integer(let id)):
        all.append(.put(key: names.key(key), value: names.value(value), lease: lease(id)))
      case ("delete", .none, .none): all.append(.delete(names.range(key, nil)))
      case ("delete", .string(let end), .none): all.append(.delete(names.range(key, end)))
      case ("range", .none, .none): all.append(.range(RangeQuery(keys: names.range(key, nil))))
      case ("range", .string(let end), .none): all.append(.range(RangeQuery(keys: names.range(key, end))))
      default: throw line.failure(":\(kind) with arguments that it does not have")
      }
    }
    return all
  }

  // MARK: Answers

  mutating func answer(_ line: EDNMap, to request: StoreRequest) throws(HistoryError) -> StoreAnswer {
    var revision: Int64?
    if let header = try line.optionalInteger("revision") { revision = try self.revision(header, line) }
    switch request {
    case .single(.put): return .single(.put(previous: try previousPair(line)), revision: revision)
    case .single(.delete):
      let count = try count(try line.integer("deleted"), line)
      return .single(.delete(count: count, previous: try previousPairs(line)), revision: revision)
    case .single(.range(let query)):
      let found = try pairs(line.optionalVector("kvs") ?? [], line, keysOnly: query.isKeysOnly)
      let count = try count(try line.integer("count"), line)
      return .single(.range(RangeResult(count: count, pairs: found)), revision: revision)
    case .transaction:
      let succeeded = try line.flag("succeeded")
      return .transaction(succeeded: succeeded, try results(line), revision: revision)
    case .compact, .grant, .revoke: return .done(revision: revision)
    case .keepAlive:
      guard try line.integer("ttl") > 0 else { return .gone }
      return .kept(ttl_ns: try ttl(line))
    case .timeToLive:
      guard try line.integer("ttl") >= 0 else { return .gone }
      guard let keys = try line.optionalVector("keys") else { return .lives(keys: nil) }
      var numbers: [Int] = []
      for key in keys {
        guard case .string(let text) = key else { throw line.failure("a key that is no string") }
        numbers.append(names.key(text))
      }
      return .lives(keys: numbers.sorted())
    case .expire: throw line.failure("nobody asks for this")
    }
  }

  /// `[:put]`, `[:delete count]`, `[:range count [pairs]]`.
  private mutating func results(_ line: EDNMap) throws(HistoryError) -> [ActionResult] {
    var all: [ActionResult] = []
    for element in try line.optionalVector("results") ?? [] {
      guard case .vector(let parts) = element else { throw line.failure("a result that is no vector") }
      switch (parts.first, parts.count > 1 ? parts[1] : .none, parts.count > 2 ? parts[2] : .none) {
      case (.keyword("put"), .none, .none): all.append(.put(previous: .not))
      case (.keyword("delete"), .integer(let number), .none):
        all.append(.delete(count: try count(number, line), previous: .not))
      case (.keyword("range"), .integer(let number), .vector(let found)):
        all.append(
          .range(RangeResult(count: try count(number, line), pairs: try pairs(found, line, keysOnly: false))))
      default: throw line.failure("a result that is of no kind")
      }
    }
    return all
  }

  /// `:prev nil` says that there was none; without `:prev` it was not asked for.
  private mutating func previousPair(_ line: EDNMap) throws(HistoryError) -> Reported<ObservedPair?> {
    guard let previous = line.entries["prev"] else { return .not }
    return previous == .none ? .yes(nil) : .yes(try pair(previous, line, keysOnly: false))
  }

  private mutating func previousPairs(_ line: EDNMap) throws(HistoryError) -> Reported<[ObservedPair]> {
    guard let previous = try line.optionalVector("prev") else { return .not }
    return .yes(try pairs(previous, line, keysOnly: false))
  }

  private mutating func pairs(_ elements: [EDN], _ line: EDNMap, keysOnly: Bool) throws(HistoryError) -> [ObservedPair]
  {
    var all: [ObservedPair] = []
    for element in elements { all.append(try pair(element, line, keysOnly: keysOnly)) }
    return all
  }

  /// `["key" "value" create mod version lease]`.
  private mutating func pair(_ element: EDN, _ line: EDNMap, keysOnly: Bool) throws(HistoryError) -> ObservedPair {
    guard case .vector(let parts) = element, parts.count == 6, case .string(let key) = parts[0],
      case .string(let value) = parts[1], case .integer(let create) = parts[2], case .integer(let mod) = parts[3],
      case .integer(let version) = parts[4], case .integer(let id) = parts[5]
    else { throw line.failure("a pair that is not [\"key\" \"value\" create mod version lease]") }
    return ObservedPair(
      key: names.key(key), value: keysOnly ? nil : names.value(value), create: try revision(create, line),
      mod: try revision(mod, line), version: try revision(version, line), lease: lease(id))
  }

  // MARK: Numbers

  private mutating func lease(_ id: Int64) -> Int? { id == 0 ? nil : names.lease(id) }

  private mutating func leaseNumber(_ line: EDNMap) throws(HistoryError) -> Int {
    guard let number = lease(try line.integer("lease")) else { throw line.failure(":lease is 0") }
    return number
  }

  private func ttl(_ line: EDNMap) throws(HistoryError) -> Int64 {
    min(try count(try line.integer("ttl"), line), StoreReader.second_ns) * StoreReader.second_ns
  }

  private func revision(_ number: Int64, _ line: EDNMap, least: Int64 = 1) throws(HistoryError) -> Int64 {
    guard number >= least, number <= Int64(UInt32.max) else { throw line.failure("a revision of \(number)") }
    return number
  }

  private func count(_ number: Int64, _ line: EDNMap) throws(HistoryError) -> Int64 {
    guard number >= 0 else { throw line.failure("a count of \(number)") }
    return number
  }
}
