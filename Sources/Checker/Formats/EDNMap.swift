// A map of a history's line, with errors that name what is missing or of another kind.

struct EDNMap {
  let entries: [String: EDN]
  let line: Int

  init(_ text: ArraySlice<UInt8>, line: Int) throws(HistoryError) {
    guard case .map(let entries) = try EDN(text, line: line) else {
      throw HistoryError(line: line, "the line is no map")
    }
    self.entries = entries
    self.line = line
  }

  /// nil where it is missing, or nil itself.
  subscript(name: String) -> EDN? {
    guard let value = entries[name], value != .none else { return nil }
    return value
  }

  func failure(_ reason: String) -> HistoryError { HistoryError(line: line, reason) }

  func integer(_ name: String) throws(HistoryError) -> Int64 {
    guard let value = try optionalInteger(name) else { throw failure(":\(name) is missing") }
    return value
  }

  func optionalInteger(_ name: String) throws(HistoryError) -> Int64? {
    switch self[name] {
    case nil: return nil
    case .integer(let value): return value
    default: throw failure(":\(name) is no integer")
    }
  }

  func keyword(_ name: String) throws(HistoryError) -> String {
    switch self[name] {
    case nil: throw failure(":\(name) is missing")
    case .keyword(let word): return word
    default: throw failure(":\(name) is no keyword")
    }
  }

  func string(_ name: String) throws(HistoryError) -> [UInt8] {
    guard let text = try optionalString(name) else { throw failure(":\(name) is missing") }
    return text
  }

  func optionalString(_ name: String) throws(HistoryError) -> [UInt8]? {
    switch self[name] {
    case nil: return nil
    case .string(let text): return text
    default: throw failure(":\(name) is no string")
    }
  }

  func optionalVector(_ name: String) throws(HistoryError) -> [EDN]? {
    switch self[name] {
    case nil: return nil
    case .vector(let elements): return elements
    default: throw failure(":\(name) is no vector")
    }
  }

  func flag(_ name: String) throws(HistoryError) -> Bool {
    switch self[name] {
    case nil: return false
    case .bool(let value): return value
    default: throw failure(":\(name) is neither true nor false")
    }
  }
}
