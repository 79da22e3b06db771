// The whole of a store: revisions, versions, transactions, compaction and leases, as etcd's clients see them. Nothing can
// be split by key: the revision in each answer orders all writes, and that is what makes histories quick to check. What is
// open is only where the writes went whose answers never came.
//
// What no answer can tell any more is taken out of a state: versions behind a compaction, and when a lease may run out
// once it may. Wrong guesses of long ago then end in one state, instead of being tried in all combinations.
//
// Two things that later answers tell are held against a write at once, so that a wrong guess dies where it is made: an
// answered write owns its revision, and a pair that anyone ever saw with modification revision r was made by the write of r.

struct StoreModel: Model {
  struct Step {
    var request: StoreRequest
    /// nil: nobody knows what became of it.
    var answer: StoreAnswer?
    /// When it was sent.
    var start_ns: Int64
    var isPure: Bool
    /// Its answer says that it made the revision of its header.
    var makesRevision: Bool
  }

  private(set) var steps: [Step] = []
  var states: StoreStates
  let names: StoreNames
  private var draft: StoreDraft
  /// The answered call that made a revision.
  private var owners: [Int64: Int] = [:]
  /// Pairs that were seen, by modification revision.
  private var seen: [Int64: [ObservedPair]] = [:]

  init(_ names: StoreNames) {
    self.names = names
    states = StoreStates(keyCount: names.keys.count, leaseCount: names.leases.count)
    draft = StoreDraft(states)
  }

  var byteCount: Int { states.byteCount }

  mutating func append(_ request: StoreRequest, _ answer: StoreAnswer?, start_ns: Int64) {
    let makes = answer.map { StoreModel.makesRevision(request, $0) } ?? false
    steps.append(
      Step(
        request: request, answer: answer, start_ns: start_ns,
        isPure: answer.map { StoreModel.isPure(request, $0, makesRevision: makes) } ?? false, makesRevision: makes))
    guard let answer else { return }
    if makes, let revision = answer.revision { owners[revision] = steps.count - 1 }
    for pair in answer.pairs {
      if seen[pair.mod]?.contains(pair) != true { seen[pair.mod, default: []].append(pair) }
    }
  }

  private static func makesRevision(_ request: StoreRequest, _ answer: StoreAnswer) -> Bool {
    switch (request, answer) {
    case (_, .single(let result, _)): result.makesRevision
    case (_, .transaction(_, let results, _)): results.contains { $0.makesRevision }
    default: false
    }
  }

  private static func isPure(_ request: StoreRequest, _ answer: StoreAnswer, makesRevision: Bool) -> Bool {
    switch answer {
    case .single, .transaction: !makesRevision
    case .gone, .lives, .refused: true
    case .done, .kept: false
    }
  }

  // MARK: Model

  mutating func initialState() -> StateID {
    draft = StoreDraft(states)
    draft.revision = 1
    return states.intern(draft)
  }

  func isPure(_ call: Int) -> Bool { steps[call].isPure }

  func isOverdue(_ call: Int, in state: StateID) -> Bool {
    guard let revision = steps[call].answer?.revision else { return false }
    let now = states.revision(of: state)
    return steps[call].makesRevision ? now >= revision : now > revision
  }

  mutating func apply(_ call: Int, to state: StateID, by time_ns: Int64) -> StateID? {
    let step = steps[call]
    states.load(state, into: &draft)
    let before = draft.revision
    guard execute(step, by: time_ns) else { return nil }
    if step.isPure { return state }
    if draft.revision > before {
      // Revisions have 32 bits in a state, which no history's length comes near.
      guard draft.revision <= Int64(UInt32.max), owners[draft.revision].map({ $0 == call }) ?? true else { return nil }
      for pair in seen[draft.revision] ?? [] where !isMade(pair) { return nil }
    }
    if let revision = step.answer?.revision, revision != draft.revision { return nil }
    draft.forgetTimes(until: time_ns)
    let after = states.intern(draft)
    return step.answer == nil && after == state ? nil : after
  }

  /// Whether the newest version of the pair's key is the pair.
  private func isMade(_ pair: ObservedPair) -> Bool {
    guard let number = draft[pair.key] else { return false }
    return matches(pair, states.version(number))
  }

  func matches(_ pair: ObservedPair, _ version: StoreStates.Version) -> Bool {
    version.mod == pair.mod && version.version == pair.version && version.create == pair.create
      && version.lease == pair.lease && (pair.value.map { $0 == version.value } ?? true)
  }

  // MARK: Execution, on the draft; false where the answer says otherwise

  private mutating func execute(_ step: Step, by time_ns: Int64) -> Bool {
    if case .refused(let refusal) = step.answer { return refuses(step.request, refusal) }
    switch step.request {
    case .single(let action):
      guard permits([action]) else { return false }
      let next = draft.revision + 1
      switch step.answer {
      case .single(let result, let revision): return perform(action, next, result) && fits(revision)
      default: return perform(action, next, nil)
      }
    case .transaction: return executeTransaction(step)
    case .compact(let revision):
      guard revision > draft.compacted, revision <= draft.revision else { return false }
      draft.compacted = revision
      for key in 0..<states.keyCount { draft[key] = draft[key].flatMap { states.cut($0, at: revision) } }
      return true
    case .grant(let lease, let ttl_ns):
      guard draft[lease: lease] == nil else { return false }
      draft[lease: lease] = step.start_ns + ttl_ns
      return true
    case .revoke(let lease): return end(lease)
    case .expire(let lease):
      guard let earliest = draft[lease: lease], time_ns >= earliest else { return false }
      return end(lease)
    case .keepAlive(let lease): return keepAlive(lease, step, by: time_ns)
    case .timeToLive(let lease): return timeToLive(lease, step, by: time_ns)
    }
  }

  private func fits(_ revision: Int64?) -> Bool { revision.map { $0 == draft.revision } ?? true }

  private mutating func executeTransaction(_ step: Step) -> Bool {
    guard case .transaction(let comparisons, let success, let failure) = step.request else { return false }
    let succeeded = comparisons.allSatisfy(holds)
    let actions = succeeded ? success : failure
    guard permits(actions) else { return false }
    let next = draft.revision + 1
    guard case .transaction(let answered, let results, let revision) = step.answer else {
      for action in actions where !perform(action, next, nil) { return false }
      return true
    }
    guard answered == succeeded, results.count == actions.count else { return false }
    for (action, result) in zip(actions, results) where !perform(action, next, result) { return false }
    return fits(revision)
  }

  /// Runs an action as part of revision `next`, which it begins unless an earlier one has.
  private mutating func perform(_ action: StoreAction, _ next: Int64, _ expected: ActionResult?) -> Bool {
    switch (action, expected) {
    case (.put(let key, let value, let lease), nil):
      put(key, value, lease, next)
      return true
    case (.put(let key, let value, let lease), .put(let previous)):
      if case .yes(let pair) = previous, !isNewest(pair, of: key) { return false }
      put(key, value, lease, next)
      return true
    case (.delete(let keys), nil):
      for key in keys where newest(key) != nil { remove(key, next) }
      return true
    case (.delete(let keys), .delete(let count, let previous)):
      let found = keys.filter { newest($0) != nil }
      guard found.count == count else { return false }
      if case .yes(let pairs) = previous {
        guard pairs.map(\.key) == found, pairs.allSatisfy({ isNewest($0, of: $0.key) }) else { return false }
      }
      for key in found { remove(key, next) }
      return true
    case (.range, nil): return true
    case (.range(let query), .range(let result)): return range(query, is: result)
    default: return false
    }
  }

  private func newest(_ key: Int) -> StoreStates.Version? {
    guard let version = draft[key].map(states.version), !version.isDeletion else { return nil }
    return version
  }

  /// The newest version of the key at `revision`, which is not compacted.
  private func version(_ key: Int, at revision: Int64) -> StoreStates.Version? {
    var number = draft[key]
    while let at = number {
      let version = states.version(at)
      if version.mod <= revision { return version.isDeletion ? nil : version }
      number = version.older
    }
    return nil
  }

  private func isNewest(_ pair: ObservedPair?, of key: Int) -> Bool {
    guard let version = newest(key) else { return pair == nil }
    return pair.map { $0.key == key && matches($0, version) } ?? false
  }

  private mutating func put(_ key: Int, _ value: Int32, _ lease: Int?, _ revision: Int64) {
    let old = newest(key)
    let version = StoreStates.Version(
      older: draft[key], value: value, create: old?.create ?? revision, mod: revision, version: (old?.version ?? 0) + 1,
      lease: lease)
    draft[key] = states.number(version)
    draft.revision = revision
  }

  private mutating func remove(_ key: Int, _ revision: Int64) {
    let version = StoreStates.Version(older: draft[key], value: 0, create: 0, mod: revision, version: 0, lease: nil)
    draft[key] = states.number(version)
    draft.revision = revision
  }

  private func range(_ query: RangeQuery, is result: RangeResult) -> Bool {
    var count: Int64 = 0
    for key in query.keys {
      guard let version = query.revision.map({ version(key, at: $0) }) ?? newest(key) else { continue }
      if !query.isCountOnly, query.limit == 0 || count < query.limit {
        guard count < result.pairs.count else { return false }
        let pair = result.pairs[Int(count)]
        guard pair.key == key, matches(pair, version) else { return false }
      }
      count += 1
    }
    let shown = query.isCountOnly ? 0 : query.limit == 0 ? count : min(count, Int64(query.limit))
    return count == result.count && result.pairs.count == shown
  }

  private func holds(_ comparison: StoreComparison) -> Bool {
    let version = newest(comparison.key)
    switch comparison.target {
    case .value(let value):
      guard let version else { return false }
      if version.value == value { return comparison.relation == .equal }
      let isLess = names.values[Int(version.value)].lexicographicallyPrecedes(names.values[Int(value)])
      return comparison.relation.holds(isLess ? -1 : 1)
    case .create(let other): return comparison.relation.holds((version?.create ?? 0) - other)
    case .mod(let other): return comparison.relation.holds((version?.mod ?? 0) - other)
    case .version(let other): return comparison.relation.holds((version?.version ?? 0) - other)
    case .lease(let lease):
      let found = version?.lease.map { names.leases[$0] } ?? 0
      let other = lease.map { names.leases[$0] } ?? 0
      return comparison.relation.holds(found == other ? 0 : found < other ? -1 : 1)
    }
  }

  // MARK: Refusals: everything is looked at before anything is done

  private func permits(_ actions: [StoreAction]) -> Bool { refusal(of: actions) == nil }

  /// Puts first, then ranges, as etcd looks.
  private func refusal(of actions: [StoreAction]) -> StoreRefusal? {
    for case .put(_, _, let lease?) in actions where draft[lease: lease] == nil { return .leaseNotFound }
    for case .range(let query) in actions {
      guard let revision = query.revision else { continue }
      if revision > draft.revision { return .futureRevision }
      if revision < draft.compacted { return .compacted }
    }
    return nil
  }

  private func refuses(_ request: StoreRequest, _ refusal: StoreRefusal) -> Bool {
    switch request {
    case .single(let action): self.refusal(of: [action]) == refusal
    case .transaction(let comparisons, let success, let failure):
      self.refusal(of: comparisons.allSatisfy(holds) ? success : failure) == refusal
    case .compact(let revision):
      switch refusal {
      case .compacted: revision <= draft.compacted
      case .futureRevision: revision > draft.revision
      default: false
      }
    case .grant(let lease, _): refusal == .leaseExists && draft[lease: lease] != nil
    case .revoke(let lease): refusal == .leaseNotFound && draft[lease: lease] == nil
    case .expire, .keepAlive, .timeToLive: false
    }
  }

  // MARK: Leases

  private func keys(of lease: Int) -> [Int] { (0..<states.keyCount).filter { newest($0)?.lease == lease } }

  /// The lease ends, and its keys with it, all in one revision.
  private mutating func end(_ lease: Int) -> Bool {
    guard draft[lease: lease] != nil else { return false }
    let next = draft.revision + 1
    for key in keys(of: lease) { remove(key, next) }
    draft[lease: lease] = nil
    return true
  }

  private mutating func keepAlive(_ lease: Int, _ step: Step, by time_ns: Int64) -> Bool {
    switch (draft[lease: lease], step.answer) {
    case (let earliest?, .kept(let ttl_ns)):
      draft[lease: lease] = max(earliest, step.start_ns + ttl_ns)
      return true
    // Its time is over, and its end on the way.
    case (let earliest?, .gone): return time_ns >= earliest
    case (nil, .gone): return true
    default: return false
    }
  }

  private func timeToLive(_ lease: Int, _ step: Step, by time_ns: Int64) -> Bool {
    switch (draft[lease: lease], step.answer) {
    case (.some, .lives(let keys)): keys.map { $0 == self.keys(of: lease) } ?? true
    case (let earliest?, .gone): time_ns >= earliest
    case (nil, .gone): true
    default: false
    }
  }
}
