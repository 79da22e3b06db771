// Requests and answers of a file, paired: which process asked, on which line, and on which line it was answered. A process
// does one thing at a time; when it was told that it will never know, it may go on.

struct Journal<Request, Answer> {
  struct Entry {
    var request: Request
    var startLine: Int
    var time_ns: Int64
    /// nil: it may take effect at any later time, or never.
    var answer: Answer?
    var isRepeatable = false
  }

  private enum Mark {
    case start(Int)
    case end(Int)
    case givenUp(Int)
    /// What was given up by now has taken effect or never will.
    case barrier
  }

  private(set) var entries: [Entry] = []
  private var marks: [(mark: Mark, line: Int, time_ns: Int64)] = []
  private var open: [Int64: Int] = [:]

  mutating func begin(_ process: Int64, _ request: Request, line: Int, time_ns: Int64 = 0) throws(HistoryError) {
    if let earlier = open.updateValue(entries.count, forKey: process) {
      let line0 = entries[earlier].startLine
      throw HistoryError(line: line, "process \(process) begins a call while that of line \(line0) is open")
    }
    marks.append((.start(entries.count), line, time_ns))
    entries.append(Entry(request: request, startLine: line, time_ns: time_ns, answer: nil))
  }

  /// Something that may happen by itself from here on, any number of times.
  mutating func spawn(_ request: Request, line: Int, time_ns: Int64) {
    marks.append((.start(entries.count), line, time_ns))
    entries.append(Entry(request: request, startLine: line, time_ns: time_ns, answer: nil, isRepeatable: true))
  }

  /// The request that a line of this process ends.
  func request(of process: Int64, line: Int) throws(HistoryError) -> Request {
    guard let entry = open[process] else {
      throw HistoryError(line: line, "process \(process) ends a call that it has not begun")
    }
    return entries[entry].request
  }

  /// Ends the call that `request(of:line:)` has told of. Without an answer nobody knows what became of it.
  mutating func end(_ process: Int64, _ answer: Answer?, line: Int, time_ns: Int64 = 0) {
    guard let entry = open.removeValue(forKey: process) else { return }
    entries[entry].answer = answer
    marks.append((answer == nil ? .givenUp(entry) : .end(entry), line, time_ns))
  }

  mutating func barrier(line: Int, time_ns: Int64) { marks.append((.barrier, line, time_ns)) }

  /// The histories of all keys, in the order in which keys first come. An entry without a key has no effect and tells
  /// nothing. `append` tells the model of the call.
  func parts<M, Key: Hashable>(
    _ model: () -> M, key: (Entry) -> Key?, append: (inout M, Entry) -> Void
  ) -> [HistoryPart<M>] {
    var parts: [HistoryPart<M>] = []
    var numbers: [Key: Int] = [:]
    var places = [(part: Int, call: Int)?](repeating: nil, count: entries.count)
    var givenUp: [Int] = []
    for (mark, line, time_ns) in marks {
      switch mark {
      case .start(let entry):
        guard let key = key(entries[entry]) else { continue }
        let part = numbers[key] ?? parts.count
        if part == parts.count {
          numbers[key] = part
          parts.append(HistoryPart(model: model()))
        }
        let call = parts[part].history.begin(line: line, time_ns: time_ns, isRepeatable: entries[entry].isRepeatable)
        places[entry] = (part, call)
        append(&parts[part].model, entries[entry])
      case .end(let entry):
        guard let place = places[entry] else { continue }
        parts[place.part].history.end(place.call, line: line, time_ns: time_ns)
      case .givenUp(let entry): givenUp.append(entry)
      case .barrier:
        for entry in givenUp {
          if let place = places[entry] { parts[place.part].history.expire(place.call) }
        }
        givenUp.removeAll()
      }
    }
    return parts
  }
}

/// What one search works on: all calls on one key, or on the whole store.
struct HistoryPart<M> {
  var history = History()
  var model: M
}
