// Finds the end of a JSON value and judges its syntax: what reads the value afterwards may rely on both. No recursion is
// driven by input; depth is bounded.

package struct JSONScanner {
  package enum Outcome: Equatable {
    /// One value, white space before it included, ends here.
    case value(end: Int)
    /// Nothing but white space.
    case nothing
    /// The bytes end within a value.
    case incomplete
    case malformed(JSONError)
  }

  /// Three levels for each nested transaction: far more than any of those is allowed to have.
  package static let depthMax = 1_000

  /// Objects and arrays of at least so many bytes are remembered with their ends.
  static let longBytes = 256

  struct LongContainer {
    let start: Int
    var end: Int
  }

  private struct Open {
    let isObject: Bool
    let start: Int
    /// Of its entry in `long`.
    let index: Int
  }

  private let bytes: UnsafeRawBufferPointer
  private var at = 0
  private var open: [Open] = []
  /// In the order of their starts: whoever reads the value steps over one without looking through it again, so that deep
  /// nesting costs no more than its bytes.
  private(set) var long: [LongContainer] = []

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package static func scan(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    var scanner = JSONScanner(bytes)
    return scanner.scan()
  }

  mutating func scan() -> Outcome {
    skipSpace()
    guard at < bytes.count else { return .nothing }
    do throws(Stop) {
      try values()
      return .value(end: at)
    } catch {
      switch error {
      case .incomplete: return .incomplete
      case .malformed(let error): return .malformed(error)
      }
    }
  }

  private enum Stop: Error {
    case incomplete
    case malformed(JSONError)
  }

  private func unexpected(_ context: String) -> Stop {
    at < bytes.count ? .malformed(.unexpected(bytes[at], context)) : .incomplete
  }

  private mutating func skipSpace() {
    while at < bytes.count, JSONScanner.isSpace(bytes[at]) { at += 1 }
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 }

  /// One value with everything in it.
  private mutating func values() throws(Stop) {
    while true {
      // Before a value.
      skipSpace()
      guard at < bytes.count else { throw .incomplete }
      if try beginsContainer() { continue }
      // Behind a value: close what ends here, or go on to the next in it.
      while true {
        guard let isObject = open.last?.isObject else { return }
        skipSpace()
        guard at < bytes.count else { throw .incomplete }
        let byte = bytes[at]
        if byte == UInt8(ascii: ",") {
          at += 1
          if isObject { try name() }
          break
        }
        guard byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
          throw unexpected(isObject ? "after object key:value pair" : "after array element")
        }
        at += 1
        close()
      }
    }
  }

  /// Takes a value that holds none, or an empty container: false. True where a value inside comes next.
  private mutating func beginsContainer() throws(Stop) -> Bool {
    let byte = bytes[at]
    switch byte {
    case UInt8(ascii: "{"), UInt8(ascii: "["):
      let isObject = byte == UInt8(ascii: "{")
      guard open.count < JSONScanner.depthMax else { throw .malformed(.tooDeep) }
      let start = at
      at += 1
      skipSpace()
      guard at < bytes.count else { throw .incomplete }
      if bytes[at] == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
        at += 1
        return false
      }
      open.append(Open(isObject: isObject, start: start, index: long.count))
      long.append(LongContainer(start: start, end: bytes.count))
      if isObject { try name() }
      return true
    case UInt8(ascii: "\""): try string()
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
    case UInt8(ascii: "t"): try literal("true")
    case UInt8(ascii: "f"): try literal("false")
    case UInt8(ascii: "n"): try literal("null")
    default: throw unexpected("looking for beginning of value")
    }
    return false
  }

  /// What is in a short one is shorter still and forgotten already: it is the last entry itself.
  private mutating func close() {
    let container = open.removeLast()
    if at - container.start < JSONScanner.longBytes {
      long.removeLast()
    } else {
      long[container.index].end = at
    }
  }

  private mutating func name() throws(Stop) {
    skipSpace()
    guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else {
      throw unexpected("looking for beginning of object key string")
    }
    try string()
    skipSpace()
    guard at < bytes.count, bytes[at] == UInt8(ascii: ":") else { throw unexpected("after object key") }
    at += 1
  }

  private mutating func string() throws(Stop) {
    at += 1
    while at < bytes.count {
      let byte = bytes[at]
      if byte == UInt8(ascii: "\"") {
        at += 1
        return
      }
      guard byte >= 0x20 else { throw unexpected("in string literal") }
      at += 1
      if byte == UInt8(ascii: "\\") { try escape() }
    }
    throw .incomplete
  }

  private mutating func escape() throws(Stop) {
    guard at < bytes.count else { throw .incomplete }
    switch bytes[at] {
    case UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"),
      UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "\""):
      at += 1
    case UInt8(ascii: "u"):
      at += 1
      for _ in 0..<4 {
        guard at < bytes.count, JSONText.hexValue(bytes[at]) != nil else {
          throw unexpected("in \\u hexadecimal character escape")
        }
        at += 1
      }
    default: throw unexpected("in string escape code")
    }
  }

  private func isDigit(_ index: Int) -> Bool {
    index < bytes.count && bytes[index] >= UInt8(ascii: "0") && bytes[index] <= UInt8(ascii: "9")
  }

  private mutating func digits(_ context: String) throws(Stop) {
    guard isDigit(at) else { throw unexpected(context) }
    while isDigit(at) { at += 1 }
  }

  private mutating func number() throws(Stop) {
    if bytes[at] == UInt8(ascii: "-") { at += 1 }
    if at < bytes.count, bytes[at] == UInt8(ascii: "0") { at += 1 } else { try digits("in numeric literal") }
    if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
      at += 1
      try digits("after decimal point in numeric literal")
    }
    if at < bytes.count, bytes[at] | 0x20 == UInt8(ascii: "e") {
      at += 1
      if at < bytes.count, bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") { at += 1 }
      try digits("in exponent of numeric literal")
    }
  }

  private mutating func literal(_ text: StaticString) throws(Stop) {
    for i in 0..<text.utf8CodeUnitCount {
      let wanted = text.utf8Start[i]
      guard at < bytes.count, bytes[at] == wanted else {
        throw unexpected("in literal \(text) (expecting '\(Unicode.Scalar(wanted))')")
      }
      at += 1
    }
  }
}
