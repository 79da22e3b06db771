// Random commands and ranges with every option, against the naive store; answers compared field by field.
import NeedletailBackend
import NeedletailBytes
import NeedletailMVCC
import Testing

@Suite struct ModelTests {
  /// Few keys give deep histories, many give wide trees; long and binary ones bend the tree's prefixes.
  private struct Workload {
    var generator: SeededGenerator
    var keys: [Bytes]

    init(seed: UInt64, keyCount: Int) {
      generator = SeededGenerator(seed)
      keys = []
      for i in 0..<keyCount {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: keys.append([UInt8.random(in: 0...255, using: &generator)])
        case 1: keys.append(Bytes(repeating: 0x61, count: Int.random(in: 1...1000, using: &generator)))
        case 2: keys.append(Bytes(repeating: 0xff, count: Int.random(in: 1...40, using: &generator)))
        case 3: keys.append((0..<9).map { _ in UInt8.random(in: 0...255, using: &generator) })
        default: keys.append(Bytes("/registry/pods/ns-\(i % 7)/pod-\(i)".utf8))
        }
      }
    }

    mutating func key() -> Bytes {
      Int.random(in: 0..<400, using: &generator) == 0 ? [] : keys[Int.random(in: 0..<keys.count, using: &generator)]
    }

    mutating func end(_ key: Bytes) -> Bytes {
      switch Int.random(in: 0..<8, using: &generator) {
      case 0, 1: return []
      case 2: return [0]
      case 3:
        // The prefix's successor, as clients ask for prefixes.
        var end = Bytes(key.prefix(Int.random(in: 1...max(1, key.count), using: &generator)))
        while let last = end.last, last == 255 { end.removeLast() }
        if let last = end.last { end[end.count - 1] = last + 1 } else { end = [0] }
        return end
      case 4: return key + [0]
      default: return keys[Int.random(in: 0..<keys.count, using: &generator)]
      }
    }

    mutating func value() -> Bytes {
      let length: Int
      switch Int.random(in: 0..<60, using: &generator) {
      case 0: length = Int.random(in: 1500...20_000, using: &generator)
      case 1...6: length = 0
      default: length = Int.random(in: 1...120, using: &generator)
      }
      return Bytes(repeating: UInt8.random(in: 0...255, using: &generator), count: length)
    }

    mutating func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &generator) == 0 }

    mutating func put(_ keyLimit: Int) -> PutSpec {
      var spec = PutSpec(key: chance(300) ? Bytes(repeating: 7, count: keyLimit + 1) : key())
      spec.prevKV = chance(3)
      spec.ignoreValue = chance(12)
      spec.ignoreLease = chance(12)
      spec.lease = chance(4) ? Int64.random(in: 0...4, using: &generator) - 1 : 0
      spec.value = spec.ignoreValue && !chance(6) ? [] : value()
      return spec
    }

    mutating func delete() -> DeleteSpec {
      var spec = DeleteSpec(key: key())
      spec.prevKV = chance(3)
      let end = chance(2) ? [] : end(spec.key)
      // Emptying the store each time would leave nothing to compare.
      spec.end = end == [0] && !chance(8) ? [] : end
      return spec
    }

    mutating func compare(_ latest: Int64) -> CompareSpec {
      var spec = CompareSpec(key: key())
      spec.end = chance(3) ? end(spec.key) : []
      spec.target = chance(30) ? 9 : Int32.random(in: 0...4, using: &generator)
      spec.relation = chance(30) ? -1 : Int32.random(in: 0...3, using: &generator)
      spec.number =
        chance(2) ? Int64.random(in: 0...4, using: &generator) : Int64.random(in: 0...latest, using: &generator)
      spec.value = chance(2) ? [] : value()
      return spec
    }

    mutating func txn(_ latest: Int64, _ keyLimit: Int, depth: Int) -> TxnSpec {
      let onlyReads = chance(4)
      var spec = TxnSpec()
      for _ in 0..<Int.random(in: 0...2, using: &generator) { spec.compares.append(compare(latest)) }
      func operations(_ workload: inout Workload) -> [OperationSpec] {
        (0..<Int.random(in: 0...(workload.chance(20) ? 8 : 3), using: &workload.generator)).map { _ in
          switch Int.random(in: 0..<12, using: &workload.generator) {
          case 0...3 where !onlyReads: return .put(workload.put(keyLimit))
          case 4...5 where !onlyReads: return .delete(workload.delete())
          case 6...8 where depth < 3: return .txn(workload.txn(latest, keyLimit, depth: depth + 1))
          case 9 where workload.chance(40): return .none
          default: return .range(workload.range(latest))
          }
        }
      }
      spec.success = operations(&self)
      spec.failure = operations(&self)
      return spec
    }

    mutating func range(_ latest: Int64) -> RangeSpec {
      var spec = RangeSpec(key: key())
      spec.end = chance(3) ? [] : end(spec.key)
      if chance(2) { spec.revision = Int64.random(in: -1...(latest + (chance(10) ? 2 : 0)), using: &generator) }
      if chance(2) { spec.limit = Int64.random(in: -1...12, using: &generator) }
      if chance(3) { spec.order = RangeQuery.Order(rawValue: UInt8.random(in: 0...2, using: &generator)) ?? .none }
      if chance(3) { spec.target = RangeQuery.Target(rawValue: UInt8.random(in: 0...4, using: &generator)) ?? .key }
      spec.keysOnly = chance(5)
      spec.countOnly = chance(6)
      if chance(6) { spec.minMod = Int64.random(in: 0...latest, using: &generator) }
      if chance(6) { spec.maxMod = Int64.random(in: 0...latest, using: &generator) }
      if chance(6) { spec.minCreate = Int64.random(in: 0...latest, using: &generator) }
      if chance(6) { spec.maxCreate = Int64.random(in: 0...latest, using: &generator) }
      return spec
    }
  }

  private func outcome<T>(_ body: () throws -> T) throws -> Result<T, MVCCError> {
    do { return .success(try body()) } catch let error as MVCCError { return .failure(error) }
  }

  private func changeLeases(
    _ workload: inout Workload, _ fixture: Fixture, _ naive: inout NaiveStore, _ seed: UInt64
  ) throws {
    let id = Int64.random(in: 0...4, using: &workload.generator) - 1
    switch Int.random(in: 0..<6, using: &workload.generator) {
    case 0...2 where id != 0:
      let ttl: Int64 = workload.chance(9) ? 9_000_000_001 : Int64.random(in: 1...100, using: &workload.generator)
      let got = try outcome { try fixture.grant(id, ttl: ttl) }
      try #require(try got == outcome { try naive.grant(id, ttl: ttl) }, "seed \(seed)")
    case 3:
      let remaining = Int64.random(in: -1...120, using: &workload.generator)
      try fixture.checkpoint(id, remaining: remaining)
      naive.checkpoint(id, remaining: remaining)
    default:
      let got = try outcome { try fixture.revoke(id) }
      try #require(try got == outcome { try naive.revoke(id) }, "seed \(seed)")
    }
    try #require(try fixture.leases() == naive.leases, "seed \(seed)")
    for id in Int64(-1)...3 {
      try #require(try fixture.keys(of: id) == (id == 0 ? [] : naive.keys(of: id)), "seed \(seed): keys of \(id)")
    }
  }

  private func changeAlarms(_ workload: inout Workload, _ fixture: Fixture, _ naive: inout NaiveStore) throws {
    let alarm = Alarm(
      workload.chance(4) ? .corrupt : .noSpace, member: UInt64.random(in: 0...1, using: &workload.generator))
    if naive.alarms.contains(alarm) || (!naive.alarms.isEmpty && workload.chance(2)) {
      #expect(try fixture.lower(alarm) == (naive.alarms.remove(alarm).map { [$0] } ?? []))
    } else {
      #expect(try fixture.raise(alarm) == [alarm])
      naive.alarms.insert(alarm)
    }
    #expect(try fixture.alarms() == naive.alarms.sorted())
  }

  /// What watchers get: windows of the past cut anywhere, and what the writer captured since `captured`.
  private func compareChanges(
    _ workload: inout Workload, _ fixture: Fixture, _ naive: NaiveStore, captured: inout UInt64, _ seed: UInt64
  ) throws {
    let latest = UInt64(naive.revision)
    let low = Int64.random(in: -2...40, using: &workload.generator)
    var spec = WindowSpec(after: UInt64(max(0, naive.revision - low)), key: workload.key(), end: [])
    if workload.chance(20) {
      spec.after = UInt64(max(0, naive.compacted - 2 + Int64.random(in: 0...3, using: &workload.generator)))
    }
    spec.end = workload.end(spec.key)
    spec.withPrevious = workload.chance(2)
    if !workload.chance(3) {
      spec.window.rowsMax = Int.random(in: 1...20, using: &workload.generator)
      spec.window.changesMax = Int.random(in: 1...10, using: &workload.generator)
      spec.window.bytesMax = Int.random(in: 1...2000, using: &workload.generator)
    }
    let got = try outcome { try fixture.allChanges(spec) }
    let want = try outcome { try naive.changes(spec) }
    if got != want { try #require(Bool(false), "seed \(seed): \(spec): \(got) instead of \(want)") }
    let all = WindowSpec(after: captured, key: [0], end: [0], withPrevious: spec.withPrevious)
    let block = try fixture.capturedChanges(after: captured, through: latest, withPrevious: spec.withPrevious)
    // No compaction is beyond the revision that the last capture ended with.
    if try block != naive.changes(all) {
      try #require(Bool(false), "seed \(seed): captured since \(captured): \(block)")
    }
    captured = latest
  }

  private func run(seed: UInt64, keyCount: Int, operations: Int) throws {
    var workload = Workload(seed: seed, keyCount: keyCount)
    let fixture = try Fixture()
    var naive = NaiveStore()
    var done = 0
    var (succeeded, refused) = (0, 0)
    var captured: UInt64 = 1
    while done < operations {
      // One commit of a few commands, then ranges on the new snapshot.
      var commands: [(StoreWriter, WriteBatch, inout OutBuffer) throws(MVCCError) -> Void] = []
      var wanted: [(isPut: Bool, Result<WriteAnswer, MVCCError>)] = []
      for _ in 0..<(workload.chance(4) ? Int.random(in: 1...20, using: &workload.generator) : 1) {
        if workload.chance(4) {
          let spec = workload.delete()
          commands.append(Fixture.delete(spec.key, spec.end, spec.prevKV))
          wanted.append((false, try outcome { try naive.delete(spec) }))
        } else {
          let spec = workload.put(fixture.store.keyLimit)
          commands.append(
            Fixture.put(spec.key, spec.value, spec.lease, spec.prevKV, spec.ignoreValue, spec.ignoreLease))
          wanted.append((true, try outcome { try naive.put(spec, keyLimit: fixture.store.keyLimit) }))
        }
      }
      let answers = try fixture.commit(commands)
      for (answer, want) in zip(answers, wanted) {
        let got = try outcome { try WriteAnswer(try answer.get(), isPut: want.isPut) }
        try #require(got == want.1, "seed \(seed), after \(done) operations")
      }
      for _ in 0..<2 {
        let spec = workload.txn(naive.revision, fixture.store.keyLimit, depth: 0)
        let got = try outcome { try fixture.txn(spec, operationsMax: 7) }
        let want = try outcome { try naive.txn(spec, operationsMax: 7, keyLimit: fixture.store.keyLimit) }
        if got != want { try #require(Bool(false), "seed \(seed), after \(done): \(spec): \(got), not \(want)") }
        if case .success = got { succeeded += 1 } else { refused += 1 }
        done += 1
      }
      done += commands.count
      for _ in 0..<3 {
        let spec = workload.range(naive.revision)
        let got = try outcome { try fixture.range(spec) }
        let want = try outcome { try naive.range(spec) }
        if got != want { try #require(Bool(false), "seed \(seed), after \(done): \(spec): \(got) instead of \(want)") }
        done += 1
      }
      try compareChanges(&workload, fixture, naive, captured: &captured, seed)
      if workload.chance(200) {
        let revision = Int64.random(in: (naive.compacted - 1)...(naive.revision + 1), using: &workload.generator)
        let got = try outcome { try fixture.compact(revision) }
        let want = try outcome { try naive.compact(revision) }
        try #require(got == want, "seed \(seed), after \(done): compaction to \(revision)")
      }
      if workload.chance(12) { try changeLeases(&workload, fixture, &naive, seed) }
      if workload.chance(naive.alarms.isEmpty ? 150 : 4) { try changeAlarms(&workload, fixture, &naive) }
      if workload.chance(300) {
        let revision = Int64.random(in: (naive.compacted - 1)...(naive.revision + 1), using: &workload.generator)
        let (got, want) = (try outcome { try fixture.hash(revision) }, try outcome { try naive.hash(revision) })
        try #require(got == want, "seed \(seed), after \(done): hash at \(revision)")
      }
      // Removal goes on between the commands, at times not at all before the next compaction.
      if workload.chance(5) {
        _ = try fixture.removeCompacted(rows: Int.random(in: 1...60, using: &workload.generator))
      }
      if workload.chance(2000) { try fixture.reopen() }
    }
    try #require(try fixture.hash() == naive.hash(0), "seed \(seed): the last hash")
    while try fixture.removeCompacted(rows: 50) {}
    let oldest = naive.compacted
    try #require(try fixture.hash(oldest) == naive.hash(oldest), "seed \(seed): the oldest hash")
    try #require(naive.compacted > 0)
    #expect(try fixture.entries(fixture.store.graveyard) == UInt64(naive.deadKeys), "graveyard after all removal")
    #expect(try fixture.entries(fixture.store.log) == UInt64(naive.changesFromCompacted), "log after all removal")
    for _ in 0..<200 {
      let spec = workload.range(naive.revision)
      let got = try outcome { try fixture.range(spec) }
      let want = try outcome { try naive.range(spec) }
      if got != want { try #require(Bool(false), "seed \(seed), at the end: \(spec): \(got) instead of \(want)") }
    }
    // A workload whose transactions were all refused, or none, would show little.
    #expect(succeeded * 4 > refused && refused * 50 > succeeded, "\(succeeded) transactions, \(refused) refused")
  }

  @Test(arguments: [3, 40, 400])
  func answersEqualTheNaiveStores(keyCount: Int) throws {
    let seed = TestSettings.seed("model test, \(keyCount) keys")
    try run(seed: seed, keyCount: keyCount, operations: TestSettings.operations(8_000))
  }
}
