// A message's wire form made JSON, as etcd's gateway has it: declared names, 64-bit numbers in quotes, bytes as base64,
// enumerations by name; what is at its default is left out.

package enum ProtoToJSON {
  /// Appends the message as an object.
  package static func convert(
    _ message: UnsafeRawBufferPointer, _ shape: MessageShape, _ table: MessageTable = .services,
    into out: inout OutBuffer
  ) throws(ProtoError) {
    out.append(byte: UInt8(ascii: "{"))
    var isFirst = true
    try append(message, shape, table, except: 0, &isFirst, into: &out)
    out.append(byte: UInt8(ascii: "}"))
  }

  /// Appends the fields of the message but one, without braces.
  package static func append(
    _ message: UnsafeRawBufferPointer, _ shape: MessageShape, _ table: MessageTable = .services, except: Int,
    _ isFirst: inout Bool, into out: inout OutBuffer
  ) throws(ProtoError) {
    let present = try numbers(message)
    for field in shape.fields where present.contains(field.number) && field.number != except {
      if field.isRepeated {
        try list(message, field, table, &isFirst, into: &out)
      } else {
        try single(message, field, table, &isFirst, into: &out)
      }
    }
  }

  /// Appends the elements of one repeated field of messages, with commas before each but the first of all.
  package static func appendElements(
    _ message: UnsafeRawBufferPointer, of field: MessageField, _ isFirst: inout Bool, _ table: MessageTable = .services,
    into out: inout OutBuffer
  ) throws(ProtoError) {
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      guard tag.field == field.number else {
        try reader.skip(tag)
        continue
      }
      if !isFirst { out.append(byte: UInt8(ascii: ",")) }
      isFirst = false
      try value(tag, &reader, field, table, into: &out)
    }
  }

  private static func numbers(_ message: UnsafeRawBufferPointer) throws(ProtoError) -> Set<Int> {
    var found: Set<Int> = []
    var last = 0
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      if tag.field != last { found.insert(tag.field) }
      last = tag.field
      try reader.skip(tag)
    }
    return found
  }

  private static func name(_ field: MessageField, _ isFirst: inout Bool, into out: inout OutBuffer) {
    out.append(isFirst ? "\"\(field.name)\":" : ",\"\(field.name)\":")
    isFirst = false
  }

  private static func list(
    _ message: UnsafeRawBufferPointer, _ field: MessageField, _ table: MessageTable, _ isFirst: inout Bool,
    into out: inout OutBuffer
  ) throws(ProtoError) {
    name(field, &isFirst, into: &out)
    out.append(byte: UInt8(ascii: "["))
    var isFirstElement = true
    try appendElements(message, of: field, &isFirstElement, table, into: &out)
    out.append(byte: UInt8(ascii: "]"))
  }

  /// The last one counts, as in any reader.
  private static func single(
    _ message: UnsafeRawBufferPointer, _ field: MessageField, _ table: MessageTable, _ isFirst: inout Bool,
    into out: inout OutBuffer
  ) throws(ProtoError) {
    let (outBefore, wasFirst) = (out.count, isFirst)
    var reader = ProtoReader(message)
    while let tag = try reader.nextTag() {
      guard tag.field == field.number else {
        try reader.skip(tag)
        continue
      }
      out.truncate(to: outBefore)
      isFirst = wasFirst
      var ahead = reader
      if !field.isChoice, try isDefault(tag, &ahead, field) {
        reader = ahead
        continue
      }
      name(field, &isFirst, into: &out)
      try value(tag, &reader, field, table, into: &out)
    }
  }

  /// A message is never at its default: it is there or not.
  private static func isDefault(
    _ tag: ProtoTag, _ reader: inout ProtoReader, _ field: MessageField
  ) throws(ProtoError) -> Bool {
    switch field.kind {
    case .message:
      try reader.skip(tag)
      return false
    case .bytes, .string: return try reader.bytes(tag).isEmpty
    default: return try reader.uint64(tag) == 0
    }
  }

  private static func value(
    _ tag: ProtoTag, _ reader: inout ProtoReader, _ field: MessageField, _ table: MessageTable,
    into out: inout OutBuffer
  ) throws(ProtoError) {
    switch field.kind {
    case .message(let place): try convert(reader.bytes(tag), table.messages[place], table, into: &out)
    case .bytes:
      out.append(byte: UInt8(ascii: "\""))
      Base64.encode(try reader.bytes(tag), into: &out)
      out.append(byte: UInt8(ascii: "\""))
    case .string: JSONText.append(String(decoding: try reader.bytes(tag), as: UTF8.self), to: &out)
    case .bool: out.append(try reader.bool(tag) ? "true" : "false")
    case .int64: out.append("\"\(try reader.int64(tag))\"")
    case .uint64: out.append("\"\(try reader.uint64(tag))\"")
    case .uint32: out.append("\(try reader.uint32(tag))")
    case .enumeration(let place):
      let number = try reader.enumeration(tag)
      let names = table.enums[place].names
      out.append(names.indices.contains(Int(number)) ? "\"\(names[Int(number)])\"" : "\(number)")
    }
  }
}
