// Logs of a key-value service with get, put and append, a map a line:
// `{:process 0, :type :invoke, :f :append, :key "4", :value "x 0 1 y"}`. A key that was never put holds the empty text.

struct KeyValueLog {
  private enum Function: String { case get, put, append }

  private struct Request {
    var function: Function
    var key: [UInt8]
    var value: [UInt8]
  }

  private enum Answer {
    case got([UInt8])
    case done
    /// It has no effect and tells nothing.
    case void
  }

  private var journal = Journal<Request, Answer>()

  init(_ bytes: [UInt8]) throws(HistoryError) {
    for (number, text) in Lines(bytes) { try add(EDNMap(text, line: number)) }
  }

  func parts() -> [HistoryPart<TextModel>] {
    journal.parts(TextModel.init) { entry -> [UInt8]? in
      switch (entry.request.function, entry.answer) {
      case (.get, nil), (_, .void): nil
      default: entry.request.key
      }
    } append: { model, entry in
      switch (entry.request.function, entry.answer) {
      case (.get, .got(let value)): model.append(.get(value))
      case (.append, _): model.append(.append(entry.request.value))
      default: model.append(.put(entry.request.value))
      }
    }
  }

  private mutating func add(_ map: EDNMap) throws(HistoryError) {
    let process = try map.integer("process")
    let name = try map.keyword("f")
    guard let function = Function(rawValue: name) else { throw map.failure(":f is :\(name)") }
    let key = try map.string("key")
    let type = try map.keyword("type")
    if type == "invoke" {
      let value = function == .get ? [] : try map.string("value")
      return try journal.begin(process, Request(function: function, key: key, value: value), line: map.line)
    }
    let request = try journal.request(of: process, line: map.line)
    guard request.function == function, request.key == key else {
      throw map.failure("another function or key than process \(process) began with")
    }
    journal.end(process, try KeyValueLog.answer(type, map, to: request), line: map.line)
  }

  private static func answer(_ type: String, _ map: EDNMap, to request: Request) throws(HistoryError) -> Answer? {
    switch type {
    case "ok":
      if request.function == .get { return .got(try map.optionalString("value") ?? []) }
      guard try map.string("value") == request.value else { throw map.failure("answered with another value") }
      return .done
    case "fail": return .void
    case "info": return nil
    default: throw map.failure(":type is :\(type)")
    }
  }
}
