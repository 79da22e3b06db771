// Jepsen's log of a register: `INFO  jepsen.util - 3  :invoke  :cas  [1 4]`. Other loggers' lines, and those of the nemesis,
// say nothing of the register and are passed over.
//
// A compare-and-set that fails with the values it was given has met another value: the model holds it to that. One that
// fails in another way, and a read without an answer, has no effect and tells nothing.

struct JepsenLog {
  private enum Request: Equatable {
    case read
    case write(Int64)
    case compareAndSet(Int64, Int64)
  }

  private enum Answer {
    case read(Int64?)
    case done
    case refused
    /// It has no effect and tells nothing.
    case void
  }

  /// A line's fields behind the process.
  private struct Fields {
    var line: Int
    var process: Int64
    var type: String
    var function: String
    var value: EDN
  }

  private var journal = Journal<Request, Answer>()

  init(_ bytes: [UInt8]) throws(HistoryError) {
    for (number, text) in Lines(bytes) {
      guard let fields = try JepsenLog.fields(text, line: number) else { continue }
      try add(fields)
    }
  }

  func parts() -> [HistoryPart<RegisterModel>] {
    journal.parts(RegisterModel.init) { entry -> Int? in
      switch (entry.request, entry.answer) {
      case (.read, nil), (_, .void): nil
      default: 0
      }
    } append: { model, entry in
      model.append(JepsenLog.operation(entry.request, entry.answer))
    }
  }

  private static func operation(_ request: Request, _ answer: Answer?) -> RegisterModel.Operation {
    switch (request, answer) {
    case (.read, .read(let value)): .read(value)
    case (.read, _): .read(nil)
    case (.write(let value), _): .write(value)
    case (.compareAndSet(let from, let to), .refused): .compareAndSet(from: from, to: to, outcome: .refused)
    case (.compareAndSet(let from, let to), nil): .compareAndSet(from: from, to: to, outcome: .open)
    case (.compareAndSet(let from, let to), _): .compareAndSet(from: from, to: to, outcome: .done)
    }
  }

  // MARK: Lines

  /// `LEVEL  logger - process  type  function  value`; nil for a line that is not about the register.
  private static func fields(_ text: ArraySlice<UInt8>, line: Int) throws(HistoryError) -> Fields? {
    let isBlank: (UInt8) -> Bool = { $0 == 32 || $0 == 9 || $0 == 13 }
    let words = text.split(maxSplits: 6, whereSeparator: isBlank).map { String(decoding: $0, as: UTF8.self) }
    guard let level = words.first, ["INFO", "WARN", "DEBUG", "ERROR", "TRACE"].contains(level) else {
      throw HistoryError(line: line, "no line of a Jepsen log")
    }
    guard words.count > 1, words[1] == "jepsen.util" else { return nil }
    guard words.count > 3, words[2] == "-" else { throw HistoryError(line: line, "the line ends early") }
    if words[3].hasPrefix(":nemesis") { return nil }
    guard let process = Int64(words[3]), process >= 0 else { throw HistoryError(line: line, "no process: \(words[3])") }
    guard words.count == 7 else { throw HistoryError(line: line, "the line ends early") }
    let value = try EDN(ArraySlice(words[6].utf8), line: line)
    return Fields(line: line, process: process, type: words[4], function: words[5], value: value)
  }

  private mutating func add(_ fields: Fields) throws(HistoryError) {
    if fields.type == ":invoke" {
      return try journal.begin(fields.process, try JepsenLog.request(fields), line: fields.line)
    }
    let request = try journal.request(of: fields.process, line: fields.line)
    guard fields.function == JepsenLog.name(request) else {
      throw HistoryError(line: fields.line, "\(fields.function) ends what began as \(JepsenLog.name(request))")
    }
    journal.end(fields.process, try JepsenLog.answer(fields, to: request), line: fields.line)
  }

  private static func name(_ request: Request) -> String {
    switch request {
    case .read: ":read"
    case .write: ":write"
    case .compareAndSet: ":cas"
    }
  }

  private static func request(_ fields: Fields) throws(HistoryError) -> Request {
    switch (fields.function, fields.value) {
    case (":read", _): return .read
    case (":write", .integer(let value)): return .write(value)
    case (":cas", .vector(let values)):
      if values.count == 2, case .integer(let from) = values[0], case .integer(let to) = values[1] {
        return .compareAndSet(from, to)
      }
    default: break
    }
    throw HistoryError(line: fields.line, "\(fields.function) with arguments that it does not have")
  }

  private static func answer(_ fields: Fields, to request: Request) throws(HistoryError) -> Answer? {
    switch (fields.type, request) {
    case (":info", _): return nil
    case (":ok", .read):
      if fields.value == .none { return .read(nil) }
      guard case .integer(let value) = fields.value else {
        throw HistoryError(line: fields.line, "a read of something that is no integer")
      }
      return .read(value)
    case (":ok", _):
      guard try JepsenLog.request(fields) == request else {
        throw HistoryError(line: fields.line, "answered with other values than it was asked with")
      }
      return .done
    case (":fail", .compareAndSet):
      // Values: it was compared and refused. A reason: it never came so far.
      guard case .vector = fields.value else { return .void }
      guard try JepsenLog.request(fields) == request else {
        throw HistoryError(line: fields.line, "refused with other values than it was asked with")
      }
      return .refused
    case (":fail", _): return .void
    default: throw HistoryError(line: fields.line, "\(fields.type) is no kind of event")
    }
  }
}
