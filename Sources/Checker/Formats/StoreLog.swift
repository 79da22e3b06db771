// Histories of this project's own clients, for the whole-store model. The first line is `{:history :needletail, :version 1}`,
// then one map a line; docs/checker.md has all fields.

struct StoreLog {
  private var journal = Journal<StoreRequest, Outcome>()
  private var reader = StoreReader()
  /// Leases that were asked for so far: from there on they may run out.
  private var granted: Set<Int> = []

  enum Outcome {
    case answered(StoreAnswer)
    /// It has no effect and tells nothing.
    case void
  }

  /// 30 years, so that sums of times stay in range.
  private static let timeMax_ns: Int64 = 1_000_000_000 * 1_000_000_000

  init(_ bytes: [UInt8]) throws(HistoryError) {
    var lines: [EDNMap] = []
    for (number, text) in Lines(bytes) { lines.append(try EDNMap(text, line: number)) }
    guard let first = lines.first else { throw HistoryError("the file is empty") }
    guard try first.keyword("history") == "needletail", try first.integer("version") == 1 else {
      throw first.failure("not version 1 of this format")
    }
    lines.removeFirst()
    // Once to learn the keys, whose order gives them their numbers; then for good.
    try read(lines)
    reader.names.sortKeys()
    journal = Journal()
    try read(lines)
  }

  func part() -> HistoryPart<StoreModel> {
    let parts = journal.parts({ StoreModel(reader.names) }) { entry -> Int? in
      switch (entry.request, entry.answer) {
      case (_, .void): nil
      // Unanswered, these have no effect, or only make leases live longer: without them the check is no stricter.
      case (.keepAlive, nil), (.timeToLive, nil), (.single(.range), nil): nil
      default: 0
      }
    } append: { model, entry in
      var answer: StoreAnswer?
      if case .answered(let told) = entry.answer { answer = told }
      model.append(entry.request, answer, start_ns: entry.time_ns)
    }
    return parts.first ?? HistoryPart(model: StoreModel(reader.names))
  }

  private mutating func read(_ lines: [EDNMap]) throws(HistoryError) {
    var now: Int64 = 0
    granted = []
    for line in lines {
      let time = try line.integer("time")
      guard time >= now, time <= StoreLog.timeMax_ns else { throw line.failure(":time goes back, or beyond 30 years") }
      now = time
      try add(line, time)
    }
  }

  private mutating func add(_ line: EDNMap, _ time_ns: Int64) throws(HistoryError) {
    let type = try line.keyword("type")
    if type == "barrier" { return journal.barrier(line: line.line, time_ns: time_ns) }
    let process = try line.integer("process")
    if type == "invoke" {
      let request = try reader.request(line)
      try journal.begin(process, request, line: line.line, time_ns: time_ns)
      if case .grant(let lease, _) = request, granted.insert(lease).inserted {
        journal.spawn(.expire(lease: lease), line: line.line, time_ns: time_ns)
      }
      return
    }
    let request = try journal.request(of: process, line: line.line)
    journal.end(process, try outcome(type, line, of: request), line: line.line, time_ns: time_ns)
  }

  private mutating func outcome(
    _ type: String, _ line: EDNMap, of request: StoreRequest
  ) throws(HistoryError) -> Outcome? {
    switch type {
    case "ok": return .answered(try reader.answer(line, to: request))
    case "info": return nil
    case "fail":
      let error = try line.keyword("error")
      if error == "refused" { return .void }
      guard let refusal = StoreRefusal(rawValue: error) else { throw line.failure(":error is :\(error)") }
      return .answered(.refused(refusal))
    default: throw line.failure(":type is :\(type)")
    }
  }
}
