import Testing

@testable import NeedletailWAL

/// Power cuts at every operation of the simulated disk.
@Suite struct CrashTests {
  /// What the power cut leaves of each write that was not durable.
  enum Fate: CaseIterable { case whole, torn, nothing }

  /// Every operation × every combination of whole, torn and lost groups.
  @Test(arguments: seeds(1...3))
  func everyOperation(_ seed: UInt64) throws {
    var options = smallOptions()
    options.segmentSize = 64 << 10
    var images = 0
    var deepest = 0
    var point = 0
    while true {
      point += 1
      let driver = Driver(SimulatedLogDevice(), options, seed: seed, eagerness: 8)
      guard run(driver, steps: 110, cutAt: point) else { break }
      let writes = pendingWrites(driver.device)
      deepest = max(deepest, writes)
      // Torn writes are drawn twice.
      let choices = combinations(min(writes, 4))
      for fates in choices + choices.filter({ $0.contains(.torn) }) {
        let random = SharedRandom(UInt64(images) &+ seed)
        let keepsNames = random.below(3)
        let image = driver.device.crashImage { volatile in
          switch volatile {
          case .name: keepsNames == 0 ? false : keepsNames == 1 ? true : random.chance(50)
          case .size: random.chance(50)
          case .sector(let write, _, let sector):
            switch fates[write % fates.count] {
            case .whole: true
            case .nothing: false
            case .torn: sector == 0 ? random.chance(60) : random.chance(50)
            }
          }
        }
        images += 1
        let found = try replay(image, options)
        guard driver.model.prefix(of: found.log, last: found.report.last) != nil else {
          Issue.record("seed \(seed), cut at \(point), \(fates): recovered \(found.report), \(found.log.entries.count)")
          return
        }
      }
      driver.abandon()
    }
    print("power cuts: seed \(seed), \(point - 1) operations, \(images) images")
    #expect(deepest >= 3, "the workload keeps several groups in flight")
    #expect(images > 5 * point, "\(images)")
  }

  /// A second power cut at every operation of the recovery from the first.
  @Test func duringRecovery() throws {
    for seed in 10...15 as ClosedRange<UInt64> {
      let random = SharedRandom(seed)
      let driver = Driver(SimulatedLogDevice(), smallOptions(), seed: seed)
      _ = run(driver, steps: 60, cutAt: 60 + random.below(40))
      let choice = random.random.state
      func crash(_ device: SimulatedLogDevice, _ salt: UInt64) -> SimulatedLogDevice {
        let random = SharedRandom(choice &+ salt)
        return device.crashImage { _ in random.chance(60) }
      }
      let expected = try replay(crash(driver.device, 0), smallOptions())
      let count = driver.model.prefix(of: expected.log, last: expected.report.last)
      #expect(count != nil)
      var point = 0
      var finished = false
      while !finished {
        point += 1
        let first = crash(driver.device, 0)
        first.faults = [point: .powerCut]
        finished = (try? replay(first, smallOptions())) != nil
        for salt in 1...3 as ClosedRange<UInt64> {
          let again = try replay(crash(first, salt), smallOptions())
          #expect(again.log == expected.log, "seed \(seed), second cut at \(point)")
          #expect(again.report.last == expected.report.last)
        }
      }
      #expect(point > 15)
    }
  }

  /// A killed process leaves bytes in the page cache that are not durable. What the next process reads, it must sync
  /// before it trusts it.
  @Test(arguments: [nil, .trustWithoutSync] as [WALMutant?])
  func killThenPowerCut(_ mutant: WALMutant?) throws {
    var options = smallOptions()
    options.mutant = mutant
    var lost = 0
    for seed in 20..<40 as Range<UInt64> {
      let driver = Driver(SimulatedLogDevice(), options, seed: seed)
      _ = run(driver, steps: 50, cutAt: 25 + Int(seed))
      driver.device.killProcess()
      // Everything the second process recovers it may act on: none of it may go.
      guard let seen = try? replay(driver.device, options) else {
        lost += 1
        continue
      }
      let image = driver.device.crashImage { _ in false }
      guard let after = try? replay(image, smallOptions()), after.log == seen.log else {
        lost += 1
        continue
      }
    }
    #expect(mutant == nil ? lost == 0 : lost > 0)
  }

  /// Several lives in a row, with random crashes between.
  @Test func manyLives() throws {
    for seed in seedFromEnvironment().map({ [$0] }) ?? seeds(100...129) { try live(seed) }
  }

  private func live(_ seed: UInt64) throws {
    let hint = "replay: NEEDLETAIL_WAL_SEED=\(seed) swift test --filter manyLives"
    let random = SharedRandom(seed)
    var device = SimulatedLogDevice(maximumInFlight: 1 + random.below(5))
    var model = Model()
    for life in 0..<8 {
      let driver = Driver(device, smallOptions(), seed: seed &* 1000 &+ UInt64(life), model: model)
      let isClean = random.chance(20)
      _ = run(driver, steps: 20 + random.below(120), cutAt: isClean ? 0 : 10 + random.below(200))
      if isClean { driver.close() }
      #expect(!device.sawChangedBuffer, "\(hint)")
      let percent = [0, 30, 60, 100][random.below(4)]
      if random.chance(30) { device.killProcess() } else { device = device.crashImage { _ in random.chance(percent) } }
      let found: (log: Collected, report: RecoveryReport)
      do {
        found = try replay(device, smallOptions())
      } catch {
        Issue.record("life \(life): \(error); \(hint)")
        return
      }
      guard let count = driver.model.prefix(of: found.log, last: found.report.last) else {
        Issue.record("life \(life): recovered \(found.report); \(hint)")
        return
      }
      driver.recovered(count)
      model = driver.model
      driver.abandon()
    }
  }

  /// The rules are needed: a log without them fails these very checks.
  @Test func mutantsFail() throws {
    for mutant in [WALMutant.naiveCorruptionRule, .acknowledgeOutOfOrder] {
      var options = smallOptions()
      options.mutant = mutant
      var failures = 0
      for seed in 1..<40 as Range<UInt64> {
        let driver = Driver(SimulatedLogDevice(), options, seed: seed)
        _ = run(driver, steps: 60, cutAt: 40 + Int(seed))
        let random = SharedRandom(seed)
        let image = driver.device.crashImage { volatile in
          if case .sector(let write, _, _) = volatile { return write % 2 == 1 }
          return random.chance(50)
        }
        guard let found = try? replay(image, options),
          driver.model.prefix(of: found.log, last: found.report.last) != nil
        else {
          failures += 1
          continue
        }
      }
      #expect(failures > 0, "\(mutant)")
    }
  }

  // MARK: Helpers

  /// Opens and drives the log until the power cut; false if it came to the end of the steps without one.
  private func run(_ driver: Driver, steps: Int, cutAt: Int) -> Bool {
    if cutAt > 0 { driver.device.faults = [driver.device.operations + cutAt: .powerCut] }
    do {
      try driver.open()
      for _ in 0..<steps { try driver.step() }
      return false
    } catch {
      return true
    }
  }

  private func pendingWrites(_ device: SimulatedLogDevice) -> Int {
    var highest = -1
    _ = device.crashImage { volatile in
      if case .sector(let write, _, _) = volatile { highest = max(highest, write) }
      return false
    }
    return highest + 1
  }

  private func combinations(_ count: Int) -> [[Fate]] {
    guard count > 0 else { return [[.nothing]] }
    return (0..<count).reduce([[]]) { lists, _ in lists.flatMap { list in Fate.allCases.map { list + [$0] } } }
  }
}
