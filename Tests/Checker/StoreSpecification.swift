// A store as etcd's clients see it: a whole copy of the keys for every revision, and the leases.

struct StoreSpecification: Specification {
  struct Pair: Equatable {
    var value: String
    var create: Int
    var mod: Int
    var version: Int
    var lease: Int
  }

  enum Action {
    case put(String, String, lease: Int)
    case delete(String, end: String)
    case range(String, end: String)
  }

  enum Operation {
    case action(Action, previous: Bool)
    case rangeAt(Int)
    case page(limit: Int, keysOnly: Bool)
    case transaction(target: String, key: String, sign: String, operand: String, then: [Action], otherwise: [Action])
    case compact(Int)
    case grant(Int, ttl: Int)
    case revoke(Int)
    case expire(Int)
    case keepAlive(Int)
    case timeToLive(Int)
  }

  typealias Pairs = [String: Pair]

  private(set) var revision = 1
  private var compacted = 0
  private var past: [Int: Pairs] = [1: [:]]
  private var leases: [Int: Int] = [:]
  private var ttls: [Int: Int] = [:]

  private var pairs: Pairs { past[revision] ?? [:] }

  // MARK: Doing

  mutating func apply(_ operation: Operation, start: Int, wanted: String?) -> (answer: String, notBefore: Int)? {
    switch operation {
    case .action(let action, let previous):
      if let refusal = refusal([action]) { return (refusal, 0) }
      let result = perform([action])[0]
      return (":type :ok, :revision \(revision), " + Self.text(result, previous), 0)
    case .rangeAt(let at):
      if at > revision { return (":type :fail, :error :future-revision", 0) }
      if at < compacted { return (":type :fail, :error :compacted", 0) }
      let found = (past[at] ?? [:]).sorted { $0.key < $1.key }
      return (":type :ok, :revision \(revision), :count \(found.count), :kvs [\(Self.text(found))]", 0)
    case .page(let limit, let keysOnly):
      let all = pairs.sorted { $0.key < $1.key }
      let shown = all.prefix(limit == 0 ? all.count : limit)
      let text = Self.text(shown.map { ($0.key, $0.value) }, hidesValue: keysOnly)
      return (":type :ok, :revision \(revision), :count \(all.count), :kvs [\(text)]", 0)
    case .transaction(let target, let key, let sign, let operand, let then, let otherwise):
      let succeeded = holds(target, key, sign, operand)
      let actions = succeeded ? then : otherwise
      if let refusal = refusal(actions) { return (refusal, 0) }
      let results = perform(actions).map(Self.result).joined(separator: " ")
      return (":type :ok, :revision \(revision), :succeeded \(succeeded), :results [\(results)]", 0)
    case .compact(let at):
      if at > revision { return (":type :fail, :error :future-revision", 0) }
      if at <= compacted { return (":type :fail, :error :compacted", 0) }
      compacted = at
      return (":type :ok, :revision \(revision)", 0)
    default: return applyLease(operation, start, wanted)
    }
  }

  private mutating func applyLease(
    _ operation: Operation, _ start: Int, _ wanted: String?
  ) -> (answer: String, notBefore: Int)? {
    switch operation {
    case .grant(let lease, let ttl):
      if leases[lease] != nil { return (":type :fail, :error :lease-exists", 0) }
      leases[lease] = start + ttl
      ttls[lease] = ttl
      return (":type :ok, :revision \(revision)", 0)
    case .revoke(let lease):
      if leases[lease] == nil { return (":type :fail, :error :lease-not-found", 0) }
      end(lease)
      return (":type :ok, :revision \(revision)", 0)
    case .expire(let lease):
      guard let earliest = leases[lease] else { return nil }
      end(lease)
      return ("", earliest)
    case .keepAlive(let lease):
      guard let earliest = leases[lease], let ttl = ttls[lease] else { return (":type :ok, :ttl 0", 0) }
      if wanted == ":type :ok, :ttl 0" { return (":type :ok, :ttl 0", earliest) }
      leases[lease] = max(earliest, start + ttl)
      return (":type :ok, :ttl \(ttl)", 0)
    case .timeToLive(let lease):
      guard let earliest = leases[lease] else { return (":type :ok, :ttl -1", 0) }
      if wanted == ":type :ok, :ttl -1" { return (":type :ok, :ttl -1", earliest) }
      let keys = pairs.filter { $0.value.lease == lease }.keys.sorted().map { "\"\($0)\"" }.joined(separator: " ")
      return (":type :ok, :ttl 0, :keys [\(keys)]", 0)
    default: return nil
    }
  }

  private enum Result {
    case put(old: (String, Pair)?)
    case deleted([(String, Pair)])
    case found([(String, Pair)])
  }

  private mutating func perform(_ actions: [Action]) -> [Result] {
    var pairs = self.pairs
    var changed = false
    var results: [Result] = []
    for action in actions {
      switch action {
      case .put(let key, let value, let lease):
        let old = pairs[key]
        results.append(.put(old: old.map { (key, $0) }))
        pairs[key] = Pair(
          value: value, create: old?.create ?? revision + 1, mod: revision + 1, version: (old?.version ?? 0) + 1,
          lease: lease)
        changed = true
      case .delete(let key, let end):
        let gone = Self.within(pairs, key, end)
        for (key, _) in gone { pairs[key] = nil }
        changed = changed || !gone.isEmpty
        results.append(.deleted(gone))
      case .range(let key, let end): results.append(.found(Self.within(pairs, key, end)))
      }
    }
    if changed {
      revision += 1
      past[revision] = pairs
    }
    return results
  }

  private static func within(_ pairs: Pairs, _ key: String, _ end: String) -> [(String, Pair)] {
    pairs.filter { end.isEmpty ? $0.key == key : $0.key >= key && (end == "\\x00" || $0.key < end) }
      .sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }

  private func refusal(_ actions: [Action]) -> String? {
    for case .put(_, _, let lease) in actions where lease != 0 && leases[lease] == nil {
      return ":type :fail, :error :lease-not-found"
    }
    return nil
  }

  private func holds(_ target: String, _ key: String, _ sign: String, _ operand: String) -> Bool {
    let pair = pairs[key]
    if target == "value" {
      guard let value = pair?.value else { return false }
      let other = operand.filter { $0 != "\"" }
      return sign == "=" ? value == other : sign == "!=" ? value != other : sign == "<" ? value < other : value > other
    }
    let number = Int(operand) ?? 0
    let found: Int
    switch target {
    case "create": found = pair?.create ?? 0
    case "mod": found = pair?.mod ?? 0
    case "version": found = pair?.version ?? 0
    default: found = pair?.lease ?? 0
    }
    return sign == "="
      ? found == number : sign == "!=" ? found != number : sign == "<" ? found < number : found > number
  }

  private mutating func end(_ lease: Int) {
    let left = pairs.filter { $0.value.lease != lease }
    if left.count < pairs.count {
      past[revision + 1] = left
      revision += 1
    }
    leases[lease] = nil
  }

  // MARK: Texts

  private static func text(_ pairs: [(key: String, value: Pair)], hidesValue: Bool = false) -> String {
    pairs.map { key, pair in
      let value = hidesValue ? "" : pair.value
      return "[\"\(key)\" \"\(value)\" \(pair.create) \(pair.mod) \(pair.version) \(pair.lease)]"
    }.joined(separator: " ")
  }

  private static func text(_ result: Result, _ previous: Bool) -> String {
    switch result {
    case .put(let old): previous ? ":prev \(old.map { text([$0]) } ?? "nil")" : ":f :put"
    case .deleted(let gone): ":deleted \(gone.count)" + (previous ? ", :prev [\(text(gone))]" : "")
    case .found(let pairs): ":count \(pairs.count), :kvs [\(text(pairs))]"
    }
  }

  private static func result(_ result: Result) -> String {
    switch result {
    case .put: "[:put]"
    case .deleted(let gone): "[:delete \(gone.count)]"
    case .found(let pairs): "[:range \(pairs.count) [\(text(pairs))]]"
    }
  }

  private static func text(_ action: Action) -> String {
    switch action {
    case .put(let key, let value, let lease): "[:put \"\(key)\" \"\(value)\" \(lease)]"
    case .delete(let key, let end): "[:delete \"\(key)\" \(end.isEmpty ? "nil" : "\"\(end)\"")]"
    case .range(let key, let end): "[:range \"\(key)\" \(end.isEmpty ? "nil" : "\"\(end)\"")]"
    }
  }

  static func request(_ operation: Operation) -> String? {
    let text: String
    switch operation {
    case .action(.put(let key, let value, let lease), _):
      text = ":f :put, :key \"\(key)\", :value \"\(value)\", :lease \(lease)"
    case .action(.delete(let key, let end), _): text = ":f :delete, " + keys(key, end)
    case .action(.range(let key, let end), _): text = ":f :range, " + keys(key, end)
    case .rangeAt(let at): text = ":f :range, :key \"a\", :end \"\\x00\", :at \(at)"
    case .page(let limit, let keysOnly):
      text = ":f :range, :key \"\", :end \"\\x00\", :limit \(limit), :keys-only \(keysOnly)"
    case .transaction(let target, let key, let sign, let operand, let then, let otherwise):
      text =
        ":f :txn, :if [[:\(target) \"\(key)\" :\(sign) \(operand)]], "
        + ":then [\(then.map(Self.text).joined(separator: " "))], "
        + ":else [\(otherwise.map(Self.text).joined(separator: " "))]"
    case .compact(let at): text = ":f :compact, :at \(at)"
    case .grant(let lease, let ttl): text = ":f :grant, :lease \(lease), :ttl \(ttl)"
    case .revoke(let lease): text = ":f :revoke, :lease \(lease)"
    case .keepAlive(let lease): text = ":f :keepalive, :lease \(lease)"
    case .timeToLive(let lease): text = ":f :ttl, :lease \(lease)"
    case .expire: return nil
    }
    return ":type :invoke, " + text
  }

  private static func keys(_ key: String, _ end: String) -> String {
    ":key \"\(key)\"" + (end.isEmpty ? "" : ", :end \"\(end)\"")
  }

  static func lost(_ operation: Operation) -> String { ":type :info" }
  static func line(process: Int, time: Int, _ text: String) -> String {
    "{:process \(process), :time \(time)000000000, \(text)}"
  }
  static var header: String { "{:history :needletail, :version 1}" }
  static var barrier: ((Int) -> String)? { { "{:type :barrier, :time \($0)000000000}" } }

  static func followers(_ operation: Operation) -> [Operation] {
    if case .grant(let lease, _) = operation { [.expire(lease)] } else { [] }
  }

  // MARK: Random operations

  private static let keyNames = ["a", "b", "c"]

  private static func action(_ random: inout SeededGenerator, _ value: Int, _ key: String) -> Action {
    switch random.below(10) {
    case 0...5: return .put(key, "v\(value)", lease: random.chance(30) ? 1 + random.below(2) : 0)
    case 6...7: return .delete(key, end: random.chance(30) ? "\\x00" : "")
    default: return .range(key, end: ["", "c", "\\x00"][random.below(3)])
    }
  }

  private static func branch(_ random: inout SeededGenerator, _ value: Int) -> [Action] {
    // Each key once: a store refuses more.
    keyNames.prefix(random.below(3)).enumerated().map { index, key in
      switch random.below(3) {
      case 0: .put(key, "v\(value).\(index)", lease: random.chance(20) ? 1 : 0)
      case 1: .delete(key, end: "")
      default: .range(key, end: "\\x00")
      }
    }
  }

  static func random(_ random: inout SeededGenerator, value: Int, of state: Self) -> Operation {
    let key = keyNames[random.below(3)]
    switch random.below(100) {
    case 0..<45: return .action(action(&random, value, key), previous: random.chance(30))
    case 45..<53: return .rangeAt(1 + random.below(state.revision + 1))
    case 53..<58: return .page(limit: random.below(3), keysOnly: random.chance(30))
    case 58..<73:
      let target = ["value", "create", "mod", "version", "lease"][random.below(5)]
      let operand = target == "value" ? "\"v\(random.below(max(1, value)))\"" : "\(random.below(state.revision + 1))"
      return .transaction(
        target: target, key: key, sign: ["=", "!=", "<", ">"][random.below(4)], operand: operand,
        then: branch(&random, value), otherwise: branch(&random, value))
    case 73..<78: return .compact(1 + random.below(state.revision + 1))
    case 78..<86: return .grant(1 + random.below(2), ttl: 1 + random.below(4))
    case 86..<90: return .revoke(1 + random.below(2))
    case 90..<95: return .keepAlive(1 + random.below(2))
    default: return .timeToLive(1 + random.below(2))
    }
  }
}
