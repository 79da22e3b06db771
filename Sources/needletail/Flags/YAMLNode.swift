// A YAML document as a tree of plain values: what a configuration file needs. Anchors and aliases, which can make a large
// document of a small file, are refused.
import CYAML

enum YAMLNode: Equatable {
  /// Nil where it is YAML's null.
  case scalar(String?)
  case sequence([YAMLNode])
  case mapping([Pair])

  struct Pair: Equatable {
    let name: String
    let node: YAMLNode
  }

  private static let depthMax = 16

  /// The first document; nil where there is none.
  static func parse(_ text: [UInt8]) throws(FlagError) -> YAMLNode? {
    var events = YAMLEvents()
    guard events.begin() else { throw FlagError(description: "out of memory") }
    defer { events.end() }
    let result: Result<YAMLNode?, FlagError> = text.withUnsafeBufferPointer { bytes in
      events.read(bytes)
      do throws(FlagError) { return .success(try document(&events)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  private static func document(_ events: inout YAMLEvents) throws(FlagError) -> YAMLNode? {
    while true {
      switch try events.next() {
      case .end: return nil
      case .other: continue
      case let event:
        let node = try node(event, &events, depth: 1)
        if case .scalar(nil) = node { return nil }
        return node
      }
    }
  }

  private static func node(
    _ event: YAMLEvents.Event, _ events: inout YAMLEvents, depth: Int
  ) throws(FlagError) -> YAMLNode {
    guard depth <= depthMax else { throw FlagError(description: "line \(events.line): nested too deeply") }
    switch event {
    case .scalar(let text): return .scalar(text)
    case .sequenceStart:
      var parts: [YAMLNode] = []
      while true {
        let event = try events.next()
        if event == .sequenceEnd { return .sequence(parts) }
        parts.append(try node(event, &events, depth: depth + 1))
      }
    case .mappingStart:
      var pairs: [Pair] = []
      while true {
        let event = try events.next()
        if event == .mappingEnd { return .mapping(pairs) }
        guard case .scalar(let name?) = event else {
          throw FlagError(description: "line \(events.line): a name is expected")
        }
        pairs.append(Pair(name: name, node: try node(try events.next(), &events, depth: depth + 1)))
      }
    case .sequenceEnd, .mappingEnd, .end, .other:
      throw FlagError(description: "line \(events.line): a value is expected")
    }
  }
}

/// libyaml's parser, one event at a time. The bytes given to `read` must outlive it.
struct YAMLEvents {
  enum Event: Equatable {
    case scalar(String?)
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
    /// Of the stream.
    case end
    /// Starts and ends of streams and documents.
    case other
  }

  /// At a place of its own: the parser points into itself.
  private let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
  private(set) var line = 0

  mutating func begin() -> Bool {
    parser.initialize(to: yaml_parser_t())
    return yaml_parser_initialize(parser) != 0
  }

  func read(_ bytes: UnsafeBufferPointer<UInt8>) {
    yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
  }

  mutating func end() {
    yaml_parser_delete(parser)
    parser.deallocate()
  }

  mutating func next() throws(FlagError) -> Event {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) != 0 else {
      let problem = parser.pointee.problem.map { String(cString: $0) } ?? "no YAML"
      throw FlagError(description: "yaml: line \(parser.pointee.problem_mark.line + 1): \(problem)")
    }
    defer { yaml_event_delete(&event) }
    line = Int(event.start_mark.line) + 1
    switch event.type {
    case YAML_SCALAR_EVENT:
      let scalar = event.data.scalar
      return .scalar(YAMLEvents.text(scalar.value, scalar.length, isPlain: scalar.style == YAML_PLAIN_SCALAR_STYLE))
    case YAML_SEQUENCE_START_EVENT: return .sequenceStart
    case YAML_SEQUENCE_END_EVENT: return .sequenceEnd
    case YAML_MAPPING_START_EVENT: return .mappingStart
    case YAML_MAPPING_END_EVENT: return .mappingEnd
    case YAML_ALIAS_EVENT: throw FlagError(description: "line \(line): aliases are not taken")
    case YAML_STREAM_END_EVENT, YAML_NO_EVENT: return .end
    default: return .other
    }
  }

  /// Nil for YAML's null, which only stands without quotes.
  private static func text(_ start: UnsafePointer<UInt8>?, _ count: Int, isPlain: Bool) -> String? {
    let text = String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    return isPlain && ["", "~", "null", "Null", "NULL"].contains(text) ? nil : text
  }
}
