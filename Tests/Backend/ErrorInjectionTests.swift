// A fault at every operation: a typed error, then a database that takes no more writes but still answers, and a disk that
// opens as one of the states it may hold. A full disk is no fault: the batch fails and the next one works.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

struct ErrorInjectionTests {
  @Test(arguments: seeds(3)) func everyOperation(seed: UInt64) throws {
    let pageSize = 512
    let largeValues = seed % 2 == 0
    let steps = largeValues ? 8 : 16
    let total = try run(seed, pageSize, steps, largeValues, faults: [:]).operations
    #expect(total > 10)
    // Values that make the file grow make slow images: a slice of their operations will do.
    let stride = largeValues ? max(1, total / 24) : 1
    var outcomes: [SimulatedPageStore.Fault: Int] = [:]
    for operation in Swift.stride(from: Int(seed) % stride, to: total, by: stride) {
      for fault in SimulatedPageStore.Fault.allCases {
        let outcome = try run(seed, pageSize, steps, largeValues, faults: [operation: fault])
        if let failure = outcome.failure {
          Issue.record("seed \(seed) \(fault) at operation \(operation): \(failure)")
          return
        }
        if outcome.sawError { outcomes[fault, default: 0] += 1 }
      }
    }
    #expect(outcomes.count == SimulatedPageStore.Fault.allCases.count)
  }

  private struct Outcome {
    var operations = 0
    var sawError = false
    var failure: String?
  }

  private func run(
    _ seed: UInt64, _ pageSize: Int, _ steps: Int, _ largeValues: Bool, faults: [Int: SimulatedPageStore.Fault]
  ) throws -> Outcome {
    let store = SimulatedPageStore()
    store.faults = faults
    store.poisonsReleased = true
    var outcome = Outcome()
    let explorer = CrashExplorer(seed: seed, pageSize: pageSize)
    let database: Database
    do {
      database = try Database(store: store, path: "faulty", options: options(pageSize: pageSize))
    } catch {
      outcome.sawError = true
      explorer.verify(
        store.processCrash(), 1, [ModelState()], "process crash in open", always: faults.values.contains(.lost))
      explorer.explore(store, level: 2, nil, [ModelState()])
      outcome.failure = explorer.failure
      return outcome
    }
    let workload = Workload(
      seed: seed, store: store, database: database, state: ModelState(), largeValues: largeValues)
    do {
      for _ in 0..<steps {
        do {
          try workload.step()
        } catch DatabaseError.noSpace {
          // Nothing happened, nothing is latched: what follows works.
          outcome.sawError = true
        }
        try workload.compareAll()
      }
      outcome.operations = store.operations
    } catch let error as DatabaseError {
      outcome.sawError = true
      do { try expectLatched(workload, error) } catch { outcome.failure = "\(error)" }
      explorer.verify(store.processCrash(), 1, workload.legal, "process crash", always: faults.values.contains(.lost))
      for _ in 0..<2 { explorer.explore(store, level: 2, nil, workload.legal) }
    }
    if outcome.failure == nil {
      // A batch that failed while it was written has taken pages that only opening anew gives back.
      do {
        let report = try database.check()
        if !report.isClean { throw Difference("check: \(report.problems)") }
      } catch { outcome.failure = "\(error)" }
    }
    outcome.failure = outcome.failure ?? explorer.failure ?? store.violations.first
    workload.finish()
    return outcome
  }

  private func expectLatched(_ workload: Workload, _ error: DatabaseError) throws {
    guard case .io = error else { throw Difference("\(error) is no I/O error") }
    let before = workload.store.operations
    for attempt in 0..<3 {
      do {
        if attempt == 1 {
          try workload.database.checkpoint()
        } else {
          try workload.database.write { try $0.put(try $0.openTree("more"), [1], [2]) }
        }
        throw Difference("the database took a write after \(error)")
      } catch DatabaseError.latched(let cause) {
        guard cause == error.description else { throw Difference("latched by \(cause), not \(error)") }
      }
    }
    guard workload.store.operations == before else { throw Difference("a latched database went to the disk") }
    try workload.compareAll()
  }

  @Test func diskFullForAWhile() throws {
    let store = SimulatedPageStore()
    store.poisonsReleased = true
    let database = try Database(store: store, path: "full", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    var entries: [[UInt8]: [UInt8]] = [:]
    store.spaceLimit = store.size
    var refusals = 0
    for i in 0..<400 {
      let key: [UInt8] = [UInt8(i >> 8), UInt8(i & 255)]
      // Both ways of running out: inside `put` for a large value, at publication for small ones.
      let values =
        i % 2 == 0 ? [[UInt8](repeating: UInt8(i & 255), count: 20_000)] : Array(repeating: [1, 2, 3], count: 1)
      do {
        try database.write { for value in values { try $0.put(tree, key, value) } }
        entries[key] = values[0]
      } catch DatabaseError.noSpace {
        refusals += 1
        try database.withSnapshot { try $0.tree(tree).compare(entries) }
        try database.expectSound()
        if refusals == 3 { try database.checkpoint() }
        if refusals == 6 { store.spaceLimit = .max }
      }
    }
    #expect(refusals == 6)
    try database.withSnapshot { try $0.tree(tree).compare(entries) }
    try database.expectSound()
    try database.checkpoint()
    let image = store.processCrash()
    let again = try Database(store: image, path: "again", options: options(pageSize: 512))
    try again.withSnapshot { try $0.tree(tree).compare(entries) }
  }

  /// Deleting makes room on a full disk once the deletion is durable.
  @Test func deletingFreesAFullDisk() throws {
    let store = SimulatedPageStore()
    let database = try Database(store: store, path: "full", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    store.spaceLimit = store.size
    let value = [UInt8](repeating: 7, count: 50_000)
    var stored = 0
    for i in 0..<100 {
      do {
        try database.write { try $0.put(tree, [UInt8(i)], value) }
        stored += 1
      } catch DatabaseError.noSpace { break }
    }
    #expect(stored > 10 && stored < 100)
    try database.checkpoint()
    for i in 0..<5 { #expect(try database.write { try $0.delete(tree, [UInt8(i)]) }) }
    try database.checkpoint()
    try database.write { try $0.put(tree, [200], value) }
    try database.expectSound()
  }
}
