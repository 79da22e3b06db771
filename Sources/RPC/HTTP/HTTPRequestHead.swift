// The head of an HTTP/1.x request, cut in place, after RFC 9112.

/// A request head and how many bytes it took. Pointers are into the received bytes.
package struct HTTPRequestHead {
  package var method = UnsafeRawBufferPointer(start: nil, count: 0)
  /// The target's path, without the query.
  package var path = UnsafeRawBufferPointer(start: nil, count: 0)
  /// What follows the first `?`, if anything.
  package var query = UnsafeRawBufferPointer(start: nil, count: 0)
  /// 0 for HTTP/1.0, 1 for HTTP/1.1.
  package var minorVersion = 1
  package var keepsAlive = true
  /// How long the body is, or that it comes in chunks.
  package var body = BodyLength.none
  /// The client waits for a word before it sends the body.
  package var expectsContinue = false
  /// The fields' values; empty where they are not there.
  package var host = UnsafeRawBufferPointer(start: nil, count: 0)
  package var origin = UnsafeRawBufferPointer(start: nil, count: 0)
  /// Bodies in a form that is not read here.
  package var hasUnknownCoding = false
  /// Bytes from the request's start to the end of its empty line.
  package var byteCount = 0

  package enum BodyLength: Equatable, Sendable {
    case none
    case bytes(Int)
    case chunked
  }

  package enum Outcome {
    case head(HTTPRequestHead)
    /// More bytes are needed.
    case incomplete
    case tooLarge
    case malformed
  }

  /// Cuts one head off the start of `bytes`, taking no more than `limit` bytes for it.
  package static func parse(_ bytes: UnsafeRawBufferPointer, limit: Int) -> Outcome {
    var lines = LineCutter(bytes: bytes, limit: limit)
    var head = HTTPRequestHead()
    switch lines.next() {
    case .incomplete: return .incomplete
    case .tooLarge: return .tooLarge
    case .line(let line):
      guard head.takeRequestLine(line) else { return .malformed }
    }
    while true {
      switch lines.next() {
      case .incomplete: return .incomplete
      case .tooLarge: return .tooLarge
      case .line(let line):
        if line.isEmpty {
          head.byteCount = lines.at
          return .head(head)
        }
        guard head.takeField(line) else { return .malformed }
      }
    }
  }

  private mutating func takeRequestLine(_ line: UnsafeRawBufferPointer) -> Bool {
    guard let first = line.firstIndex(of: UInt8(ascii: " ")), let last = line.lastIndex(of: UInt8(ascii: " ")),
      first > 0, last > first + 1
    else { return false }
    method = UnsafeRawBufferPointer(rebasing: line[..<first])
    guard method.allSatisfy(HTTPRequestHead.isToken) else { return false }
    let target = UnsafeRawBufferPointer(rebasing: line[(first + 1)..<last])
    guard target.first == UInt8(ascii: "/") || target.elementsEqual("*".utf8),
      target.allSatisfy({ $0 > 0x20 && $0 != 0x7f })
    else { return false }
    let mark = target.firstIndex(of: UInt8(ascii: "?")) ?? target.count
    path = UnsafeRawBufferPointer(rebasing: target[..<mark])
    query = UnsafeRawBufferPointer(rebasing: target[min(mark + 1, target.count)...])
    let version = line[(last + 1)...]
    guard version.count == 8, version.dropLast().elementsEqual("HTTP/1.".utf8), let digit = version.last,
      digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9")
    else { return false }
    minorVersion = digit == UInt8(ascii: "0") ? 0 : 1
    keepsAlive = minorVersion == 1
    return true
  }

  private mutating func takeField(_ line: UnsafeRawBufferPointer) -> Bool {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > 0 else { return false }
    let name = line[..<colon]
    // A line that begins with white space continues the one before: long obsolete, and a smuggler's tool.
    guard name.allSatisfy(HTTPRequestHead.isToken) else { return false }
    let value = HTTPRequestHead.trim(line[(colon + 1)...])
    guard value.allSatisfy({ $0 >= 0x20 || $0 == 9 }) else { return false }
    if HTTPRequestHead.equal(name, "connection") {
      if HTTPRequestHead.equal(value, "close") { keepsAlive = false }
      if HTTPRequestHead.equal(value, "keep-alive") { keepsAlive = true }
    } else if HTTPRequestHead.equal(name, "content-length") {
      return takeLength(value)
    } else if HTTPRequestHead.equal(name, "transfer-encoding") {
      // With a length besides, two readers could see two different requests.
      guard body == .none, minorVersion == 1 else { return false }
      body = .chunked
      hasUnknownCoding = !HTTPRequestHead.equal(value, "chunked")
    } else if HTTPRequestHead.equal(name, "content-encoding") {
      if !HTTPRequestHead.equal(value, "identity") { hasUnknownCoding = true }
    } else if HTTPRequestHead.equal(name, "expect") {
      expectsContinue = HTTPRequestHead.equal(value, "100-continue")
    } else if HTTPRequestHead.equal(name, "host") {
      host = UnsafeRawBufferPointer(rebasing: value)
    } else if HTTPRequestHead.equal(name, "origin") {
      origin = UnsafeRawBufferPointer(rebasing: value)
    }
    return true
  }

  /// Twice is fine where both say the same.
  private mutating func takeLength(_ value: Slice<UnsafeRawBufferPointer>) -> Bool {
    guard !value.isEmpty, value.count <= 18, value.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
    else { return false }
    let length = value.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    guard body == .none || body == .bytes(length) else { return false }
    body = .bytes(length)
    return true
  }

  /// A body of no bytes is none.
  package var hasBody: Bool { body != .none && body != .bytes(0) }

  /// Letters, digits and RFC 9110's other token characters.
  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }

  private static func trim(_ bytes: Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
    var rest = bytes
    while let byte = rest.first, byte == 0x20 || byte == 9 { rest = rest.dropFirst() }
    while let byte = rest.last, byte == 0x20 || byte == 9 { rest = rest.dropLast() }
    return rest
  }

  /// Compares without regard to ASCII case; `text` is in lower case.
  private static func equal(_ bytes: Slice<UnsafeRawBufferPointer>, _ text: StaticString) -> Bool {
    guard bytes.count == text.utf8CodeUnitCount else { return false }
    let other = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    return zip(bytes, other).allSatisfy { byte, expected in
      let isUpper = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z")
      return (isUpper ? byte | 0x20 : byte) == expected
    }
  }
}

/// Cuts lines ended by CRLF or a bare LF off the start of the bytes, the ends not included.
private struct LineCutter {
  let bytes: UnsafeRawBufferPointer
  let limit: Int
  var at = 0

  enum Cut {
    case line(UnsafeRawBufferPointer)
    case incomplete
    case tooLarge
  }

  mutating func next() -> Cut {
    let seen = bytes[at..<min(bytes.count, limit)]
    guard let end = seen.firstIndex(of: UInt8(ascii: "\n")) else {
      return bytes.count >= limit ? .tooLarge : .incomplete
    }
    let hasReturn = end > at && bytes[end - 1] == UInt8(ascii: "\r")
    let line = UnsafeRawBufferPointer(rebasing: bytes[at..<(hasReturn ? end - 1 : end)])
    at = end + 1
    return .line(line)
  }
}
