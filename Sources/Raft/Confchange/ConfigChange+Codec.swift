// Changes of membership as bytes: etcd's protocol buffers, by hand, since there are three messages of integers.

extension ConfigChange {
  /// The entry that proposes this change.
  package var entry: Entry {
    Entry(kind: isV1 ? .configChange : .configChangeV2, data: encoded)
  }

  private var encoded: [UInt8] {
    var out = FieldWriter()
    if isV1 {
      // Callers give one change; without any there is nothing that the older encoding could say.
      let change = changes.first ?? SingleChange(.update, Node.none)
      out.field(2, change.kind.rawValue)
      out.field(3, change.node)
      if !context.isEmpty { out.field(4, context) }
      return out.bytes
    }
    out.field(1, transition.rawValue)
    for change in changes {
      var inner = FieldWriter()
      inner.field(1, change.kind.rawValue)
      inner.field(2, change.node)
      out.field(2, inner.bytes)
    }
    if !context.isEmpty { out.field(3, context) }
    return out.bytes
  }

  /// The change that an entry carries; no data is the change that leaves a joint membership. Nil for normal entries.
  package static func decode(_ entry: Entry) throws(RaftError) -> ConfigChange? {
    switch entry.kind {
    case .normal: nil
    case .configChange: try decodeV1(entry.data)
    case .configChangeV2: try decodeV2(entry.data)
    }
  }

  private static func decodeV1(_ data: [UInt8]) throws(RaftError) -> ConfigChange {
    var change = SingleChange(.addVoter, Node.none)
    var context: [UInt8] = []
    var fields = FieldReader(data[...])
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (2, .integer(let raw)): change.kind = try kind(raw)
      case (3, .integer(let node)): change.node = node
      case (4, .bytes(let bytes)): context = Array(bytes)
      default: break
      }
    }
    return ConfigChange(changes: [change], context: context, isV1: true)
  }

  private static func decodeV2(_ data: [UInt8]) throws(RaftError) -> ConfigChange {
    var change = ConfigChange()
    var fields = FieldReader(data[...])
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .integer(let raw)):
        guard let transition = ConfigTransition(rawValue: raw) else { throw .malformed("transition \(raw)") }
        change.transition = transition
      case (2, .bytes(let bytes)): change.changes.append(try single(bytes))
      case (3, .bytes(let bytes)): change.context = Array(bytes)
      default: break
      }
    }
    return change
  }

  private static func single(_ data: ArraySlice<UInt8>) throws(RaftError) -> SingleChange {
    var change = SingleChange(.addVoter, Node.none)
    var fields = FieldReader(data)
    while let field = try fields.next() {
      switch (field.number, field.value) {
      case (1, .integer(let raw)): change.kind = try kind(raw)
      case (2, .integer(let node)): change.node = node
      default: break
      }
    }
    return change
  }

  private static func kind(_ raw: UInt64) throws(RaftError) -> ConfigChangeKind {
    guard let kind = ConfigChangeKind(rawValue: raw) else { throw .malformed("kind of configuration change \(raw)") }
    return kind
  }
}

private struct FieldWriter {
  var bytes: [UInt8] = []

  mutating func field(_ number: UInt64, _ value: UInt64) {
    varint(number << 3)
    varint(value)
  }

  mutating func field(_ number: UInt64, _ value: [UInt8]) {
    varint(number << 3 | 2)
    varint(UInt64(value.count))
    bytes += value
  }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
}

private struct FieldReader {
  enum Value {
    case integer(UInt64)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>

  init(_ data: ArraySlice<UInt8>) { rest = data }

  mutating func next() throws(RaftError) -> (number: UInt64, value: Value)? {
    if rest.isEmpty { return nil }
    let tag = try varint()
    switch tag & 7 {
    case 0: return (tag >> 3, .integer(try varint()))
    case 2:
      let count = try varint()
      guard count <= UInt64(rest.count) else { throw .malformed("configuration change cut short") }
      defer { rest = rest.dropFirst(Int(count)) }
      return (tag >> 3, .bytes(rest.prefix(Int(count))))
    default: throw .malformed("field of a configuration change")
    }
  }

  private mutating func varint() throws(RaftError) -> UInt64 {
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 64, by: 7) {
      guard let byte = rest.popFirst() else { throw .malformed("configuration change cut short") }
      if shift == 63, byte > 1 { break }
      value |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return value }
    }
    throw .malformed("number in a configuration change")
  }
}
