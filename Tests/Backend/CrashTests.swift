// A crash at every operation of small workloads: what opens afterwards is the last acknowledged checkpoint or the one at
// work, whole, with no page leaked, and goes on from there, also when the recovery crashes in its turn.

import Testing

@testable import NeedletailBackend
@testable import NeedletailSimulator

/// Opens crash images and compares. The first failure is kept and ends the exploration.
final class CrashExplorer {
  private(set) var images = 0
  /// Those of recoveries that crashed in their turn.
  private(set) var deeper = 0
  private(set) var failure: String?
  private var random: SeededGenerator
  private let pageSize: Int
  /// Crashes within crashes.
  private static let levelsMax = 3

  init(seed: UInt64, pageSize: Int) {
    random = SeededGenerator(seed: seed ^ 0xC0FFEE)
    self.pageSize = pageSize
  }

  func fail(_ text: String) { failure = failure ?? text }

  /// Explores every operation of `store` from here on.
  func watch(_ store: SimulatedPageStore, level: Int = 1, legal: @escaping () -> [ModelState]) {
    store.poisonsReleased = true
    store.observer = { [unowned store] operation in self.explore(store, level: level, operation, legal()) }
  }

  func explore(
    _ store: SimulatedPageStore, level: Int, _ operation: SimulatedPageStore.Operation?, _ legal: [ModelState]
  ) {
    let all = SimulatedPageStore.Survival.allCases
    let survivals = level == 1 ? all : [all[random.below(all.count)]]
    for survival in survivals where failure == nil {
      let image = store.powerCut(survival, using: &random)
      verify(image, level, legal, "level \(level) \(survival) at \(store.operations): \(describe(operation))")
    }
    guard failure == nil, level == 1 || random.below(4) == 0 else { return }
    verify(
      store.processCrash(), level, legal, "level \(level) process crash at \(store.operations): \(describe(operation))")
  }

  private func describe(_ operation: SimulatedPageStore.Operation?) -> String { operation.map { "\($0)" } ?? "end" }

  /// `image` must open as one of the `legal` states.
  func verify(_ image: SimulatedPageStore, _ level: Int, _ legal: [ModelState], _ label: String, always: Bool = false) {
    images += 1
    if level > 1 { deeper += 1 }
    image.poisonsReleased = true
    let goesDeeper = level < Self.levelsMax && (always || random.below(20) == 0)
    if goesDeeper { watch(image, level: level + 1) { legal } }
    do {
      let database = try Database(store: image, path: "image", options: options(pageSize: pageSize))
      let number = try database.withSnapshot { $0.word(0) }
      guard let state = legal.first(where: { $0.number == number }) else {
        throw Difference("state \(number), legal are \(legal.map { $0.number })")
      }
      try database.compare(state)
      try database.expectSound()
      if goesDeeper {
        try live(on: image, database, state, level)
      } else {
        database.close()
      }
      if let violation = image.violations.first { throw Difference(violation) }
    } catch {
      fail("\(label): \(error)")
    }
  }

  /// A few more batches and a checkpoint after a recovery, crashes included.
  private func live(
    on image: SimulatedPageStore, _ database: Database, _ state: ModelState, _ level: Int
  ) throws {
    let workload = Workload(seed: random.next(), store: image, database: database, state: state)
    watch(image, level: level + 1) { [unowned workload] in workload.legal }
    for _ in 0..<3 { try workload.batch() }
    try workload.checkpoint()
    try workload.batch()
    try workload.compareAll()
    try database.expectSound()
    image.observer = nil
    workload.finish()
  }
}

struct CrashTests {
  @Test(arguments: seeds(12)) func everyOperation(seed: UInt64) throws {
    try explore(seed: seed, steps: 14, pageSize: seed % 5 == 0 ? 1024 : 512, largeValues: false)
  }

  /// Values that make the file grow.
  @Test(arguments: seeds(3)) func growing(seed: UInt64) throws {
    try explore(seed: seed &+ 1000, steps: 10, pageSize: seed % 2 == 0 ? 4096 : 512, largeValues: true)
  }

  @Test(arguments: [512, 4096, 8192, 65536]) func creation(pageSize: Int) throws {
    let explorer = CrashExplorer(seed: 7, pageSize: pageSize)
    for _ in 0..<3 {
      let fresh = SimulatedPageStore()
      explorer.watch(fresh) { [ModelState()] }
      let database = try Database(store: fresh, path: "fresh", options: options(pageSize: pageSize))
      explorer.explore(fresh, level: 1, nil, [ModelState()])
      database.close()
    }
    #expect(explorer.failure == nil)
    #expect(explorer.images > 60)
  }

  /// NEEDLETAIL_IMAGES crash images at the least, of seeds from NEEDLETAIL_FIRST (10,000) on, and how many there were.
  @Test(.enabled(if: setting("NEEDLETAIL_IMAGES") != nil)) func soak() throws {
    let wanted = setting("NEEDLETAIL_IMAGES") ?? 0
    let first = UInt64(setting("NEEDLETAIL_FIRST") ?? 10_000)
    var (images, deeper, violations, seed) = (0, 0, 0, first)
    while images < wanted {
      let grows = seed % 4 == 3
      let explorer = try explore(
        seed: seed, steps: grows ? 10 : 14, pageSize: grows && seed % 8 == 3 ? 4096 : seed % 5 == 0 ? 1024 : 512,
        largeValues: grows)
      if (images + explorer.images) / 5000 > images / 5000 {
        print("crash images: \(images + explorer.images), seed \(seed)")
      }
      images += explorer.images
      deeper += explorer.deeper
      violations += explorer.failure == nil ? 0 : 1
      seed += 1
    }
    print(
      "crash images: \(images) of seeds \(first)...\(seed - 1), \(deeper) of them of crashes during recovery,",
      "\(violations) violations")
  }

  @discardableResult private func explore(
    seed: UInt64, steps: Int, pageSize: Int, largeValues: Bool
  ) throws -> CrashExplorer {
    let explorer = CrashExplorer(seed: seed, pageSize: pageSize)
    let store = SimulatedPageStore()
    explorer.watch(store) { [ModelState()] }
    let database = try Database(store: store, path: "simulated", options: options(pageSize: pageSize))
    let workload = Workload(
      seed: seed, store: store, database: database, state: ModelState(), largeValues: largeValues)
    store.observer = { [unowned store, unowned workload] operation in
      explorer.explore(store, level: 1, operation, workload.legal)
      // The writer does not wait for a checkpoint: let it work in the middle of one.
      if workload.begun != nil, !workload.isWriting, workload.random.below(3) == 0 {
        do { try workload.batch() } catch { explorer.fail("batch during a checkpoint: \(error)") }
      }
    }
    for step in 0..<steps where explorer.failure == nil {
      try workload.step()
      do {
        try workload.compareAll()
        try database.expectSound()
      } catch {
        explorer.fail("after step \(step): \(error)")
      }
    }
    if explorer.failure == nil { explorer.explore(store, level: 1, nil, workload.legal) }
    store.observer = nil
    workload.finish()
    #expect(explorer.failure == nil, "seed \(seed)")
    #expect(store.violations.isEmpty, "seed \(seed)")
    #expect(explorer.images > 50)
    if let violation = store.violations.first { explorer.fail(violation) }
    return explorer
  }

  /// Each area of the bitmap must get what changed since that area was written, not since the last checkpoint.
  @Test func bothAreasKnowTheirChanges() throws {
    var free = FreeSpace(geometry: try PageGeometry(pageSize: 512), pages: 8192)
    for area in [0, 1] { _ = free.takeChangedGroups(area: area) }
    guard let pages = free.allocate(1) else {
      Issue.record("no page in an empty file")
      return
    }
    free.becameLive(pages[0], count: 1)
    for area in [0, 1] {
      let taken = free.takeChangedGroups(area: area).map { $0.group }
      let takenAgain = free.takeChangedGroups(area: area).map { $0.group }
      #expect(taken == [0])
      #expect(takenAgain == [])
    }
  }

  /// A life that a crash undid never shares transaction numbers with the next: page headers tell the two apart.
  @Test func transactionsAreNeverUsedTwice() throws {
    let store = SimulatedPageStore()
    var random = SeededGenerator(seed: 1)
    var database = try Database(store: store, path: "first", options: options(pageSize: 512))
    let tree = try database.write { try $0.openTree("t") }
    try database.checkpoint()
    for i in 0..<20 { try database.write { try $0.put(tree, [UInt8(i)], [1]) } }
    let last = database.statistics.transaction
    let image = store.powerCut(.all, using: &random)
    database = try Database(store: image, path: "second", options: options(pageSize: 512))
    #expect(database.statistics.transaction > last)
  }
}
