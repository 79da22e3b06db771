// A reader of EDN, as much of it as histories use: nil, booleans, integers, keywords, strings, vectors and maps.

indirect enum EDN: Equatable {
  case none
  case bool(Bool)
  case integer(Int64)
  case keyword(String)
  case string([UInt8])
  case vector([EDN])
  case map([String: EDN])

  /// Reads one form that takes up the whole of `bytes`.
  init(_ bytes: ArraySlice<UInt8>, line: Int) throws(HistoryError) {
    var reader = EDNReader(bytes, line: line)
    self = try reader.form(depth: 0)
    try reader.finish()
  }
}

private struct EDNReader {
  private let bytes: ArraySlice<UInt8>
  private var at: Int
  private let line: Int
  private static let depthMax = 8

  init(_ bytes: ArraySlice<UInt8>, line: Int) {
    self.bytes = bytes
    at = bytes.startIndex
    self.line = line
  }

  private func failure(_ reason: String) -> HistoryError {
    HistoryError(line: line, "\(reason) in column \(at - bytes.startIndex + 1)")
  }

  private var peek: UInt8? { at < bytes.endIndex ? bytes[at] : nil }

  /// Commas are blanks in EDN.
  private mutating func skipBlanks() {
    while let byte = peek, byte == UInt8(ascii: " ") || byte == UInt8(ascii: ",") || byte == 9 || byte == 13 { at += 1 }
  }

  mutating func finish() throws(HistoryError) {
    skipBlanks()
    guard peek == nil else { throw failure("something behind the end of the entry") }
  }

  mutating func form(depth: Int) throws(HistoryError) -> EDN {
    skipBlanks()
    guard depth <= EDNReader.depthMax else { throw failure("nested too deeply") }
    switch peek {
    case nil: throw failure("the line ends inside an entry")
    case UInt8(ascii: "{"): return try map(depth)
    case UInt8(ascii: "["): return try vector(depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: ":"):
      at += 1
      return .keyword(try word())
    default: return try atom()
    }
  }

  private mutating func vector(_ depth: Int) throws(HistoryError) -> EDN {
    at += 1
    var elements: [EDN] = []
    while true {
      skipBlanks()
      if peek == UInt8(ascii: "]") { break }
      elements.append(try form(depth: depth + 1))
    }
    at += 1
    return .vector(elements)
  }

  private mutating func map(_ depth: Int) throws(HistoryError) -> EDN {
    at += 1
    var entries: [String: EDN] = [:]
    while true {
      skipBlanks()
      if peek == UInt8(ascii: "}") { break }
      guard case .keyword(let name) = try form(depth: depth + 1) else { throw failure("a map's key is no keyword") }
      skipBlanks()
      guard peek != UInt8(ascii: "}") else { throw failure(":\(name) has no value") }
      guard entries.updateValue(try form(depth: depth + 1), forKey: name) == nil else {
        throw failure(":\(name) twice")
      }
    }
    at += 1
    return .map(entries)
  }

  private mutating func word() throws(HistoryError) -> String {
    let start = at
    while let byte = peek, isWord(byte) { at += 1 }
    guard at > start else { throw failure("a word expected") }
    return String(decoding: bytes[start..<at], as: UTF8.self)
  }

  private func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "-_.?!=<>+*/".utf8.contains(byte)
    }
  }

  private mutating func atom() throws(HistoryError) -> EDN {
    let word = try word()
    switch word {
    case "nil": return .none
    case "true": return .bool(true)
    case "false": return .bool(false)
    default:
      guard let value = Int64(word) else { throw failure("neither a number nor a word that is known: \(word)") }
      return .integer(value)
    }
  }

  private mutating func string() throws(HistoryError) -> [UInt8] {
    at += 1
    var text: [UInt8] = []
    while let byte = peek {
      at += 1
      if byte == UInt8(ascii: "\"") { return text }
      text.append(byte == UInt8(ascii: "\\") ? try escaped() : byte)
    }
    throw failure("the line ends inside a string")
  }

  /// `\"`, `\\`, `\n`, `\r`, `\t`, and `\xHH` for any other byte.
  private mutating func escaped() throws(HistoryError) -> UInt8 {
    guard let byte = peek else { throw failure("the line ends inside a string") }
    at += 1
    switch byte {
    case UInt8(ascii: "n"): return 10
    case UInt8(ascii: "r"): return 13
    case UInt8(ascii: "t"): return 9
    case UInt8(ascii: "\\"), UInt8(ascii: "\""): return byte
    case UInt8(ascii: "x"):
      guard at + 2 <= bytes.endIndex,
        let value = UInt8(String(decoding: bytes[at..<at + 2], as: UTF8.self), radix: 16)
      else { throw failure("\\x without two hexadecimal digits") }
      at += 2
      return value
    default: throw failure("an escape that is not known")
    }
  }
}
