// The shapes of messages: names, numbers and kinds of their fields. The JSON gateway translates by them; a test compares
// them with proto/*.proto.

/// A message's fields in the order of its declaration.
package struct MessageShape: Sendable {
  package let name: String
  package let fields: [MessageField]
  /// By a field's own name and by its name in camel case: place in `fields`.
  let places: [String: Place]

  struct Place {
    let index: Int
    let isCamelCase: Bool
  }
}

package struct MessageField: Equatable, Sendable {
  package enum Kind: Equatable, Sendable {
    case bytes
    case string
    case bool
    case int64
    case uint64
    case uint32
    /// Places in the table.
    case message(Int)
    case enumeration(Int)
  }

  package let name: String
  package let number: Int
  package let kind: Kind
  package let isRepeated: Bool
  /// One of several of which one is set: it goes over the wire even if it is zero.
  package let isChoice: Bool
}

package struct EnumShape: Sendable {
  package let name: String
  /// By their numbers.
  package let names: [String]
}

package struct MessageTable: Sendable {
  package private(set) var messages: [MessageShape] = []
  package private(set) var enums: [EnumShape] = []
  private var places: [String: Int] = [:]

  /// Of the services' messages. Made when it is first wanted.
  package static let services = MessageTable(text)

  package func message(_ name: String) -> MessageShape? { places[name].map { messages[$0] } }

  /// Reads lines `Name: kind name number, …` and `enum Name: NAME NAME …`. A kind is a plain one, a message or an
  /// enumeration; `repeated` or `oneof` may stand before it.
  package init(_ text: String) {
    let lines = text.split(separator: "\n").compactMap { line -> (name: Substring, rest: Substring)? in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      return (line[..<colon], line[line.index(after: colon)...])
    }
    var enumPlaces: [String: Int] = [:]
    var bodies: [(name: String, rest: Substring)] = []
    for line in lines {
      let words = line.name.split(separator: " ")
      if words.count == 2, words[0] == "enum" {
        // Fields name it without its package.
        enumPlaces[String(words[1].split(separator: ".").last ?? "")] = enums.count
        enums.append(EnumShape(name: String(words[1]), names: line.rest.split(separator: " ").map(String.init)))
      } else {
        let name = line.name.filter { $0 != " " }
        places[name] = bodies.count
        bodies.append((name, line.rest))
      }
    }
    for body in bodies { messages.append(MessageTable.shape(body.name, body.rest, places, enumPlaces)) }
  }

  private static func shape(
    _ name: String, _ text: Substring, _ messages: [String: Int], _ enums: [String: Int]
  ) -> MessageShape {
    var fields: [MessageField] = []
    var places: [String: MessageShape.Place] = [:]
    for part in text.split(separator: ",") {
      var words = part.split(separator: " ")[...]
      let isRepeated = words.first == "repeated"
      let isChoice = words.first == "oneof"
      if isRepeated || isChoice { words = words.dropFirst() }
      guard words.count == 3, let kindName = words.first, let numberText = words.last, let number = Int(numberText),
        let kind = kind(String(kindName), messages, enums)
      else { continue }
      let fieldName = String(words[words.startIndex + 1])
      places[camelCase(fieldName)] = MessageShape.Place(index: fields.count, isCamelCase: true)
      places[fieldName] = MessageShape.Place(index: fields.count, isCamelCase: false)
      fields.append(
        MessageField(name: fieldName, number: number, kind: kind, isRepeated: isRepeated, isChoice: isChoice))
    }
    return MessageShape(name: name, fields: fields, places: places)
  }

  private static func kind(
    _ name: String, _ messages: [String: Int], _ enums: [String: Int]
  ) -> MessageField.Kind? {
    switch name {
    case "bytes": .bytes
    case "string": .string
    case "bool": .bool
    case "int64": .int64
    case "uint64": .uint64
    case "uint32": .uint32
    default: messages[name].map { .message($0) } ?? enums[name].map { .enumeration($0) }
    }
  }

  /// range_end → rangeEnd, as protobuf's JSON has it.
  package static func camelCase(_ name: String) -> String {
    var out = ""
    var raises = false
    for character in name {
      if character == "_" {
        raises = true
      } else {
        out += raises ? character.uppercased() : String(character)
        raises = false
      }
    }
    return out
  }
}
