import Testing

@testable import NeedletailWAL

/// Errors at every operation of the disk.
@Suite struct FaultTests {
  private static let faults: [SimulatedLogDevice.Fault] = [.error(5), .error(28), .short]

  /// Whatever fails, it fails for good, with one error; and reopened the log holds all that was acknowledged.
  @Test(arguments: faults)
  func everyOperation(_ fault: SimulatedLogDevice.Fault) throws {
    var point = 0
    var latched = 0
    var retried = 0
    while true {
      point += 1
      let device = SimulatedLogDevice()
      let driver = Driver(device, smallOptions(), seed: 5)
      device.faults = [point: fault]
      var thrown: WALError?
      do throws(WALError) {
        try open(driver)
        for _ in 0..<90 { try step(driver) }
      } catch { thrown = error }
      if device.operations < point { break }
      if let thrown, let wal = driver.wal {
        // No more faults: only the log's own memory of the error can make it throw.
        device.faults = [:]
        if case .noSpace = thrown, wal.failure == nil {
          retried += 1
          try wal.submit()
          while wal.groupsInFlight > 0 { try driver.reap(wal, wait: true) }
        } else {
          latched += 1
          expectLatched(wal, thrown)
        }
      }
      let random = SharedRandom(UInt64(point))
      let image = device.crashImage { _ in random.chance(50) }
      let found = try replay(image, smallOptions())
      #expect(
        driver.model.prefix(of: found.log, last: found.report.last) != nil,
        "\(fault) at operation \(point): \(found.report), thrown \(String(describing: thrown))")
    }
    #expect(latched > 20)
    if fault == .error(28) { #expect(retried > 0) }
  }

  private func open(_ driver: Driver) throws(WALError) {
    do { try driver.open() } catch let error as WALError { throw error } catch { throw .replayRefused("\(error)") }
  }

  private func step(_ driver: Driver) throws(WALError) {
    do { try driver.step() } catch let error as WALError { throw error } catch { throw .replayRefused("\(error)") }
  }

  private func expectLatched(_ wal: WAL, _ error: WALError) {
    for _ in 0..<2 {
      #expect(throws: error) { try wal.append(Entry(index: wal.last.index + 1, term: 9, payload: [1])) }
      #expect(throws: error) { try wal.append(HardState()) }
      #expect(throws: error) { try wal.append(snapshot: LogMark(index: 1, term: 1)) }
      #expect(throws: error) { try wal.append(metadata: []) }
      #expect(throws: error) { try wal.submit() }
      #expect(throws: error) { try wal.reap(wait: true) }
      #expect(throws: error) { try wal.reap(wait: false) }
      #expect(throws: error) { try wal.recycle(through: 1) }
      #expect(throws: error) { try wal.check() }
    }
    wal.close()
    #expect(throws: error) { try wal.submit() }
  }

  /// A short write acknowledged loses data: the check above would see it.
  @Test func ignoringShortWritesLoses() throws {
    var options = smallOptions()
    options.mutant = .ignoreShortWrites
    var lost = 0
    for point in 8..<60 {
      let device = SimulatedLogDevice()
      let driver = Driver(device, options, seed: 5)
      device.faults = [point: .short]
      try? driver.open()
      for _ in 0..<40 where (try? driver.step()) == nil { break }
      if let wal = driver.wal { while wal.groupsInFlight > 0, (try? driver.reap(wal, wait: true)) != nil {} }
      let image = device.crashImage { _ in false }
      let found = try? replay(image, smallOptions())
      if found.flatMap({ driver.model.prefix(of: $0.log, last: $0.report.last) }) == nil { lost += 1 }
    }
    #expect(lost > 0)
  }

  /// The disk fills up: the log says so, keeps what it has, and goes on once there is room.
  @Test func fullDisk() throws {
    let device = SimulatedLogDevice()
    device.capacity = 100 << 10
    let wal = try WAL.open(device: device, options: smallOptions()) { _ in }
    var index: UInt64 = 0
    var refused: WALError?
    while refused == nil, index < 2000 {
      let entry = Entry(index: index + 1, term: 1, payload: payload(index, 500))
      do throws(WALError) {
        try wal.append(entry)
        index += 1
        if index % 4 == 0 { try wal.submit() }
      } catch { refused = error }
    }
    guard case .noSpace = refused else {
      Issue.record("\(String(describing: refused))")
      return
    }
    #expect(wal.failure == nil && wal.hasOpenGroup)
    guard case .noSpace = #expect(throws: WALError.self, performing: { try wal.submit() }) else { return }
    device.capacity = 1 << 20
    try wal.submit()
    while wal.groupsInFlight > 0 { try wal.reap(wait: true) }
    #expect(wal.durable.index == index)
    wal.close()
    let found = try replay(device, smallOptions())
    #expect(found.report.last.index == index && found.log.entries.count == Int(index))
  }

  /// Opening fails cleanly at every operation, and works afterwards.
  @Test func everyOperationOfOpening() throws {
    let device = SimulatedLogDevice()
    let driver = Driver(device, smallOptions(), seed: 6)
    try driver.open()
    for _ in 0..<80 { try driver.step() }
    device.killProcess()
    let base = device.crashImage { _ in true }
    let expected = try replay(base.crashImage { _ in true }, smallOptions())
    var point = 0
    while true {
      point += 1
      let image = base.crashImage { _ in true }
      image.faults = [point: .error(5)]
      if (try? replay(image, smallOptions())) != nil, image.operations < point { break }
      image.faults = [:]
      let again = try replay(image, smallOptions())
      #expect(again.log == expected.log && again.report.last == expected.report.last, "error at \(point)")
    }
    #expect(point > 15)
  }
}
