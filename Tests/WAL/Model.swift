@testable import NeedletailWAL

/// The naive log: a list of everything appended. A recovered log is right if it is the meaning of some prefix of that
/// list which holds at least everything acknowledged.
struct Model {
  enum Record {
    case entry(Entry)
    case hardState(HardState)
    case snapshot(LogMark)
  }

  private(set) var records: [Record] = []
  private var groups: [UInt64] = []
  private(set) var now = Collected()
  private var lastMark = LogMark()
  /// Records acknowledged.
  private(set) var acknowledged = 0
  private(set) var acknowledgedIndex: UInt64 = 0
  /// Entries at or below may be gone.
  var recycled: UInt64 = 0
  /// Records that were recovered at the last open: they are durable whatever happens.
  var last: LogMark { lastMark }

  mutating func append(_ record: Record, group: UInt64) {
    records.append(record)
    groups.append(group)
    Self.apply(record, &now, &lastMark)
  }

  private static func apply(_ record: Record, _ state: inout Collected, _ last: inout LogMark) {
    switch record {
    case .entry(let entry):
      state.take(entry)
      last = LogMark(index: entry.index, term: entry.term)
    case .hardState(let hardState): state.hardState = hardState
    case .snapshot(let mark):
      let known = state.entries.contains { $0.index == mark.index && $0.term == mark.term }
      if mark.index > last.index || (!known && mark.index >= (state.entries.first?.index ?? .max)) { last = mark }
      state.take(mark)
    }
  }

  mutating func acknowledge(_ point: DurablePoint) {
    while acknowledged < groups.count, groups[acknowledged] <= point.group { acknowledged += 1 }
    acknowledgedIndex = point.index
  }

  /// The number of records that the recovered state is the meaning of; nil when it is none that is legal.
  func prefix(of log: Collected, last recoveredLast: LogMark) -> Int? {
    var state = Collected()
    var last = LogMark()
    for count in 0...records.count {
      if count > 0 { Self.apply(records[count - 1], &state, &last) }
      guard count >= acknowledged, last == recoveredLast, state.hardState == log.hardState,
        state.snapshot == log.snapshot
      else { continue }
      let missing = state.entries.count - log.entries.count
      guard missing >= 0, Array(state.entries.suffix(log.entries.count)) == log.entries,
        state.entries.prefix(missing).allSatisfy({ $0.index <= recycled })
      else { continue }
      return count
    }
    return nil
  }

  /// After a crash: what was recovered is the log now, and durable.
  mutating func restart(at count: Int) {
    let kept = Array(records.prefix(count))
    records = []
    groups = []
    now = Collected()
    lastMark = LogMark()
    for record in kept { append(record, group: 0) }
    acknowledged = count
    acknowledgedIndex = lastMark.index
  }
}

/// Drives a log over a simulated disk with random but legal calls, and keeps the model beside it.
final class Driver {
  let device: SimulatedLogDevice
  let options: WALOptions
  let random: SharedRandom
  private(set) var model: Model
  private(set) var wal: WAL?
  private var term: UInt64

  init(_ device: SimulatedLogDevice, _ options: WALOptions, seed: UInt64, model: Model = Model(), eagerness: Int = 25) {
    self.device = device
    self.options = options
    self.model = model
    let random = SharedRandom(seed)
    self.random = random
    term = max(model.last.term, 1)
    device.chooseCompletion = { random.below($0) }
    device.isEager = { random.chance(eagerness) }
  }

  func open() throws {
    wal = try WAL.open(device: device, options: options) { _ in }
  }

  /// Forgets the log without a closing mark, as a killed process does.
  func abandon() { wal = nil }

  func close() {
    wal?.close()
    wal = nil
  }

  func step() throws {
    guard let wal else { return }
    switch random.below(100) {
    case 0..<52: try append(wal)
    case 52..<57: try supersede(wal)
    case 57..<62:
      let state = HardState(term: term, vote: UInt64(random.below(3)), commit: model.acknowledgedIndex)
      model.append(.hardState(state), group: try wal.append(state))
    case 62..<65: try snapshot(wal)
    case 65..<85: try wal.submit()
    case 85..<97: try reap(wal, wait: random.chance(30))
    default: try recycle(wal)
    }
  }

  func append(_ wal: WAL) throws {
    let size = random.chance(4) ? random.below(11_000) : random.chance(30) ? random.below(3000) : random.below(200)
    let entry = Entry(index: model.last.index + 1, term: term, payload: payload(model.last.index + 1, size))
    model.append(.entry(entry), group: try wal.append(entry))
  }

  private func supersede(_ wal: WAL) throws {
    let floor = max(model.recycled, model.now.snapshot?.index ?? 0)
    guard model.last.index > floor else { return }
    let index = floor + 1 + UInt64(random.below(Int(model.last.index - floor)))
    term += 1
    let entry = Entry(index: index, term: term, payload: payload(index &+ term, random.below(300)))
    model.append(.entry(entry), group: try wal.append(entry))
  }

  private func snapshot(_ wal: WAL) throws {
    let mark: LogMark
    if random.chance(20) {
      mark = LogMark(index: model.last.index + 1 + UInt64(random.below(10)), term: term)
    } else {
      guard let entry = model.now.entries.last(where: { $0.index <= model.acknowledgedIndex }) else { return }
      mark = LogMark(index: entry.index, term: entry.term)
    }
    model.append(.snapshot(mark), group: try wal.append(snapshot: mark))
  }

  func reap(_ wal: WAL, wait: Bool) throws { model.acknowledge(try wal.reap(wait: wait)) }

  private func recycle(_ wal: WAL) throws {
    guard model.acknowledgedIndex > 0 else { return }
    let index = UInt64(random.below(Int(model.acknowledgedIndex) + 1))
    model.recycled = max(model.recycled, index)
    try wal.recycle(through: index)
  }

  /// Takes up after a crash.
  func recovered(_ count: Int) { model.restart(at: count) }
}
