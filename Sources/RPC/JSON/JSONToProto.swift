// A JSON value made the wire form of a message, as protobuf's JSON mapping reads it: names as declared or in camel case,
// 64-bit numbers with or without quotes, bytes as base64, enumerations by name or number, null for what is not set. Unknown
// names are stepped over, as etcd's gateway does; the last of two equal names counts.

package struct JSONToProto {
  private let table: MessageTable
  private let bytes: UnsafeRawBufferPointer
  private let long: [JSONScanner.LongContainer]

  package enum Outcome: Equatable {
    /// A message was appended; its text ends here.
    case message(end: Int)
    /// Nothing but white space.
    case nothing
    /// The text ends within a value.
    case incomplete
  }

  /// Appends the message that the first value of `json` stands for.
  package static func convert(
    _ json: UnsafeRawBufferPointer, _ shape: MessageShape, _ table: MessageTable = .services, into out: inout OutBuffer
  ) throws(JSONError) -> Outcome {
    var scanner = JSONScanner(json)
    switch scanner.scan() {
    case .nothing: return .nothing
    case .incomplete: return .incomplete
    case .malformed(let error): throw error
    case .value(let end):
      let converter = JSONToProto(table: table, bytes: json, long: scanner.long)
      var at = 0
      let value = converter.value(&at)
      if value.kind != .null { try converter.message(value, shape, into: &out) }
      return .message(end: end)
    }
  }

  // MARK: - Cutting

  private enum Kind: String {
    case object
    case array
    case string
    case number
    case bool
    case null
  }

  /// A value's kind and its bytes, a string's quotes included.
  private struct Value {
    let kind: Kind
    let start: Int
    let end: Int
  }

  private func skipSpace(_ at: inout Int) {
    while at < bytes.count, JSONScanner.isSpace(bytes[at]) { at += 1 }
  }

  private func skipString(_ at: inout Int) {
    at += 1
    while at < bytes.count, bytes[at] != UInt8(ascii: "\"") { at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1 }
    at = min(at + 1, bytes.count)
  }

  /// The value at `at`, which moves behind it. The syntax was judged; still nothing is read beyond the bytes.
  private func value(_ at: inout Int) -> Value {
    skipSpace(&at)
    guard at < bytes.count else { return Value(kind: .null, start: at, end: at) }
    let start = at
    let kind: Kind
    switch bytes[at] {
    case UInt8(ascii: "{"): kind = .object
    case UInt8(ascii: "["): kind = .array
    case UInt8(ascii: "\""): kind = .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): kind = .bool
    case UInt8(ascii: "n"): kind = .null
    default: kind = .number
    }
    switch kind {
    case .object, .array: skipContainer(&at)
    case .string: skipString(&at)
    case .number, .bool, .null:
      while at < bytes.count, !isEnd(bytes[at]) { at += 1 }
    }
    return Value(kind: kind, start: start, end: at)
  }

  private func isEnd(_ byte: UInt8) -> Bool {
    JSONScanner.isSpace(byte) || byte == UInt8(ascii: ",") || byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]")
  }

  private func skipContainer(_ at: inout Int) {
    if let end = end(ofLong: at) {
      at = end
      return
    }
    var depth = 0
    while at < bytes.count {
      switch bytes[at] {
      case UInt8(ascii: "\""):
        skipString(&at)
        continue
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      default: break
      }
      at += 1
      if depth == 0 { return }
    }
  }

  private func end(ofLong start: Int) -> Int? {
    var (low, high) = (0, long.count)
    while low < high {
      let middle = (low + high) / 2
      if long[middle].start < start { low = middle + 1 } else { high = middle }
    }
    return low < long.count && long[low].start == start ? long[low].end : nil
  }

  private func slice(_ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
    guard start < end else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(rebasing: bytes[start..<min(end, bytes.count)])
  }

  /// A string's bytes between the quotes.
  private func content(_ value: Value) -> UnsafeRawBufferPointer { slice(value.start + 1, value.end - 1) }

  private func text(_ value: Value) -> String { JSONText.unescaped(content(value)) }

  // MARK: - Messages

  private func message(_ value: Value, _ shape: MessageShape, into out: inout OutBuffer) throws(JSONError) {
    guard value.kind == .object else { throw .mismatch(value.kind.rawValue, "map[string]json.RawMessage") }
    // The last of each name; of a field that has both of its names, the one in camel case.
    var found = [Value?](repeating: nil, count: shape.fields.count * 2)
    var at = value.start + 1
    while true {
      skipSpace(&at)
      guard at < value.end, bytes[at] == UInt8(ascii: "\"") else { break }
      let name = self.value(&at)
      skipSpace(&at)
      at += 1
      let member = self.value(&at)
      if let place = shape.places[text(name)] { found[place.index * 2 + (place.isCamelCase ? 1 : 0)] = member }
      skipSpace(&at)
      if at < value.end, bytes[at] == UInt8(ascii: ",") { at += 1 }
    }
    for (index, member) in shape.fields.enumerated() {
      guard let value = found[index * 2 + 1] ?? found[index * 2], value.kind != .null else { continue }
      if member.isRepeated { try list(value, member, into: &out) } else { try field(value, member, into: &out) }
    }
  }

  private func list(_ value: Value, _ field: MessageField, into out: inout OutBuffer) throws(JSONError) {
    guard value.kind == .array else { throw .mismatch(value.kind.rawValue, "[]json.RawMessage") }
    var at = value.start + 1
    while true {
      skipSpace(&at)
      guard at < value.end - 1 else { return }
      let element = self.value(&at)
      guard element.kind != .null else { throw .mismatch("null", "\(field.name) element") }
      try self.field(element, field, into: &out, isElement: true)
      skipSpace(&at)
      if at < value.end, bytes[at] == UInt8(ascii: ",") { at += 1 }
    }
  }

  private func field(
    _ value: Value, _ field: MessageField, into out: inout OutBuffer, isElement: Bool = false
  ) throws(JSONError) {
    switch field.kind {
    case .message(let place):
      let before = out.open(field.number)
      try message(value, table.messages[place], into: &out)
      out.close(before)
    case .bytes, .string:
      guard value.kind == .string else {
        throw .mismatch(value.kind.rawValue, field.kind == .bytes ? "[]uint8" : "string")
      }
      let before = out.open(field.number)
      if field.kind == .bytes { try decode(value, into: &out) } else { out.append(text(value)) }
      out.close(before)
    case .bool:
      guard value.kind == .bool else { throw .mismatch(value.kind.rawValue, "bool") }
      number(bytes[value.start] == UInt8(ascii: "t") ? 1 : 0, field, isElement, into: &out)
    case .int64: number(UInt64(bitPattern: try integer(value, "int64")), field, isElement, into: &out)
    case .uint64: number(try integer(value, "uint64"), field, isElement, into: &out)
    case .uint32: number(UInt64(try integer(value, "uint32") as UInt32), field, isElement, into: &out)
    case .enumeration(let place):
      let chosen = try choice(value, table.enums[place])
      number(UInt64(bitPattern: Int64(chosen)), field, isElement, into: &out)
    }
  }

  private func decode(_ value: Value, into out: inout OutBuffer) throws(JSONError) {
    let content = content(value)
    guard content.contains(UInt8(ascii: "\\")) else { return try Base64.decode(content, into: &out) }
    var plain = Array(JSONText.unescaped(content).utf8)
    let refusal: JSONError? = plain.withUnsafeMutableBytes { bytes in
      do throws(JSONError) {
        try Base64.decode(UnsafeRawBufferPointer(bytes), into: &out)
        return nil
      } catch { return error }
    }
    if let refusal { throw refusal }
  }

  /// Zeros are left out where nobody can tell.
  private func number(_ value: UInt64, _ field: MessageField, _ isElement: Bool, into out: inout OutBuffer) {
    guard value != 0 || isElement || field.isChoice else { return }
    out.appendVarint(UInt64(field.number) << 3)
    out.appendVarint(value)
  }

  private func integer<T: FixedWidthInteger>(_ value: Value, _ type: String) throws(JSONError) -> T {
    var digits = slice(value.start, value.end)
    switch value.kind {
    case .number: break
    case .string:
      digits = content(value)
      switch JSONScanner.scan(digits) {
      case .nothing, .incomplete: throw JSONError("unexpected end of JSON input")
      case .malformed(let error): throw error
      case .value(let end):
        var rest = end
        while rest < digits.count, JSONScanner.isSpace(digits[rest]) { rest += 1 }
        guard rest == digits.count else { throw .unexpected(digits[rest], "after top-level value") }
        var at = 0
        let inner = JSONToProto(table: table, bytes: digits, long: []).value(&at)
        if inner.kind == .null { return 0 }
        guard inner.kind == .number else { throw .mismatch(inner.kind.rawValue, type) }
        digits = UnsafeRawBufferPointer(rebasing: digits[inner.start..<inner.end])
      }
    default: throw .mismatch(value.kind.rawValue, type)
    }
    let text = String(decoding: digits, as: UTF8.self)
    guard let number = T(text) else { throw .mismatch("number \(text)", type) }
    return number
  }

  private func choice(_ value: Value, _ shape: EnumShape) throws(JSONError) -> Int32 {
    guard value.kind == .string else { return try integer(value, "int32") }
    let name = text(value)
    guard let number = shape.names.firstIndex(of: name) else {
      throw JSONError("unknown value \"\(name)\" for enum \(shape.name)")
    }
    return Int32(number)
  }
}

extension OutBuffer {
  package mutating func appendVarint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      append(byte: UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(byte: UInt8(truncatingIfNeeded: rest))
  }

  /// Begins a length-delimited field whose length is known when it ends; `close` takes what this returns.
  fileprivate mutating func open(_ number: Int) -> Int {
    appendVarint(UInt64(number) << 3 | 2)
    append(byte: 0)
    return count
  }

  /// Writes the length before what was appended since `open`, moving that aside where one byte is too few.
  fileprivate mutating func close(_ begun: Int) {
    let size = count - begun
    let more = ProtoWriter.size(varint: UInt64(size)) - 1
    if more > 0 {
      _ = reserve(more)
      advance(more)
      if let start { (start + begun + more).copyMemory(from: start + begun, byteCount: size) }
    }
    guard let start else { return }
    var writer = ProtoWriter(start + begun - 1)
    writer.varint(UInt64(size))
  }
}
