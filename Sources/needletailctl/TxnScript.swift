// The lines of a transaction's script: etcdctl's language, its error texts included.

import NeedletailClient

enum TxnScript {
  static func trim(_ line: [UInt8]) -> [UInt8] {
    var rest = line[...]
    while let first = rest.first, isSpace(first) { rest.removeFirst() }
    while let last = rest.last, isSpace(last) { rest.removeLast() }
    return [UInt8](rest)
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (byte >= 0x09 && byte <= 0x0D) }

  // MARK: Comparisons

  /// `TARGET("KEY") OP "CONSTANT"`.
  static func comparison(_ line: [UInt8]) throws(Failure) -> Compare {
    let text = String(decoding: line, as: UTF8.self)
    guard let parenthesis = line.firstIndex(of: UInt8(ascii: "(")) else {
      throw .message("malformed comparison: \(text)")
    }
    let target = String(decoding: line[..<parenthesis], as: UTF8.self)
    var rest = line[(parenthesis + 1)...]
    guard let key = QuotedText.take(&rest), rest.popFirst() == UInt8(ascii: ")") else {
      throw .message("malformed comparison: \(text); got \(target)(\"\")  \"\"")
    }
    skipSpace(&rest)
    let relationText = String(decoding: rest.prefix { !isSpace($0) }, as: UTF8.self)
    rest = rest.drop { !isSpace($0) }
    guard !relationText.isEmpty, let constant = QuotedText.take(&rest) else {
      throw .message("malformed comparison: \(text)")
    }
    guard let relation = relation(relationText) else {
      throw .message("malformed comparison: \(text) (unknown operator \(relationText))")
    }
    return Compare(.key(key), relation, try self.target(target, constant, text))
  }

  private static func relation(_ text: String) -> Compare.Relation? {
    switch text {
    case "=": .equal
    case "!=": .notEqual
    case ">": .greater
    case "<": .less
    default: nil
    }
  }

  private static func target(_ name: String, _ constant: [UInt8], _ line: String) throws(Failure) -> Compare.Target {
    func number(radix: Int = 10) throws(Failure) -> Int64 {
      guard let number = Int64(String(decoding: constant, as: UTF8.self), radix: radix) else {
        throw .message("invalid txn compare request: \(line)")
      }
      return number
    }
    switch name {
    case "ver", "version": return .version(try number())
    case "c", "create": return .createRevision(try number())
    case "m", "mod": return .modRevision(try number())
    case "val", "value": return .value(constant)
    case "lease": return .lease(try number(radix: 16))
    default: throw .message("malformed comparison: \(line) (unknown target \(name))")
    }
  }

  // MARK: Requests

  /// A get, put or del as on the command line.
  static func operation(_ line: [UInt8]) throws(Failure) -> TxnOperation {
    let text = String(decoding: line, as: UTF8.self)
    let words = try words(line)
    guard words.count >= 2 else { throw .message("invalid txn compare request: \(text)") }
    let command: Command
    switch String(decoding: words[0], as: UTF8.self) {
    case "get": command = .get
    case "put": command = .put
    case "del": command = .del
    default: throw .message("invalid txn request: \(text)")
    }
    let parsed: ParsedLine
    do { parsed = try command.parse(Array(words[1...])) } catch { throw .message("invalid txn request: \(text)") }
    switch command.name {
    case "get": return .range(try GetCommand.request(parsed))
    case "put": return .put(try PutCommand.request(parsed, readsInput: false))
    default: return .deleteRange(try DelCommand.request(parsed))
    }
  }

  /// Words apart by white space; quoted ones may hold some. A quotation mark without its partner is passed over.
  static func words(_ line: [UInt8]) throws(Failure) -> [[UInt8]] {
    var words: [[UInt8]] = []
    var rest = line[...]
    while let first = rest.first {
      if isSpace(first) {
        rest.removeFirst()
      } else if first == UInt8(ascii: "\""), let length = QuotedText.length(rest) {
        var quoted = rest.prefix(length)
        rest = rest.dropFirst(length)
        guard let word = QuotedText.take(&quoted) else {
          throw .message("bad quoted text in \(String(decoding: line, as: UTF8.self))")
        }
        words.append(word)
      } else if first == UInt8(ascii: "'"), let end = rest.dropFirst().firstIndex(of: UInt8(ascii: "'")) {
        words.append([UInt8](rest[(rest.startIndex + 1)..<end]))
        rest = rest[(end + 1)...]
      } else if first == UInt8(ascii: "\"") || first == UInt8(ascii: "'") {
        rest.removeFirst()
      } else {
        words.append([UInt8](rest.prefix { !isSpace($0) }))
        rest = rest.drop { !isSpace($0) }
      }
    }
    return words
  }

  private static func skipSpace(_ rest: inout ArraySlice<UInt8>) {
    while let first = rest.first, isSpace(first) { rest.removeFirst() }
  }
}

/// Go's quoted strings: "with \n escapes" or `raw`.
enum QuotedText {
  /// Bytes of the double-quoted text that `rest` begins with, marks included; nil where it is not closed.
  static func length(_ rest: ArraySlice<UInt8>) -> Int? {
    var at = rest.startIndex + 1
    while at < rest.endIndex {
      if rest[at] == UInt8(ascii: "\"") { return at - rest.startIndex + 1 }
      at += rest[at] == UInt8(ascii: "\\") ? 2 : 1
    }
    return nil
  }

  /// Takes quoted text off the front, white space before it too; nil where there is none or it is malformed.
  static func take(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
    while let first = rest.first, TxnScript.isSpace(first) { rest.removeFirst() }
    if rest.first == UInt8(ascii: "`") {
      guard let end = rest.dropFirst().firstIndex(of: UInt8(ascii: "`")) else { return nil }
      defer { rest = rest[(end + 1)...] }
      return [UInt8](rest[(rest.startIndex + 1)..<end])
    }
    guard rest.first == UInt8(ascii: "\""), let length = length(rest) else { return nil }
    var inside = rest.prefix(length).dropFirst().dropLast()
    rest = rest.dropFirst(length)
    var text: [UInt8] = []
    while let byte = inside.popFirst() {
      if byte != UInt8(ascii: "\\") {
        text.append(byte)
      } else {
        guard let escaped = escape(&inside) else { return nil }
        text += escaped
      }
    }
    return text
  }

  /// What follows a backslash.
  private static func escape(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
    guard let letter = rest.popFirst() else { return nil }
    switch Unicode.Scalar(letter) {
    case "a": return [7]
    case "b": return [8]
    case "f": return [12]
    case "n": return [10]
    case "r": return [13]
    case "t": return [9]
    case "v": return [11]
    case "\\", "\"": return [letter]
    case "x": return number(&rest, digits: 2, radix: 16).map { [UInt8(truncatingIfNeeded: $0)] }
    case "u": return number(&rest, digits: 4, radix: 16).flatMap(encoded)
    case "U": return number(&rest, digits: 8, radix: 16).flatMap(encoded)
    case "0"..."7":
      rest = [letter] + rest
      return number(&rest, digits: 3, radix: 8).flatMap { UInt8(exactly: $0) }.map { [$0] }
    default: return nil
    }
  }

  private static func number(_ rest: inout ArraySlice<UInt8>, digits: Int, radix: Int) -> UInt32? {
    guard rest.count >= digits else { return nil }
    let text = String(decoding: rest.prefix(digits), as: UTF8.self)
    rest = rest.dropFirst(digits)
    return text.first == "+" || text.first == "-" ? nil : UInt32(text, radix: radix)
  }

  private static func encoded(_ number: UInt32) -> [UInt8]? {
    Unicode.Scalar(number).map { Array(String(Character($0)).utf8) }
  }
}
