// get: reads a key or a range of keys.

import NeedletailClient

extension Command {
  static let get = Command(
    words: ["get"], usage: "KEY [END]", summary: "Gets the key or a range of keys",
    details: """
      Shows each pair as a line with the key and a line with the value.
      With END, the range is KEY <= key < END. 'get "" --prefix' is everything.
      """,
    flags: [
      Flag("prefix", "get keys with matching prefix"),
      Flag("from-key", "get keys that are greater than or equal to the given key using byte compare"),
      Flag("limit", value: "N", "maximum number of results; 0 is no limit"),
      Flag("rev", value: "REVISION", "read the store as it was at that revision"),
      Flag("keys-only", "get only the keys"),
      Flag("count-only", "get only the count"),
      Flag("print-value-only", "only write values when using the simple output format"),
      Flag("sort-by", value: "TARGET", "CREATE, KEY, MODIFY, VALUE or VERSION"),
      Flag("order", value: "ORDER", "ASCEND or DESCEND (ASCEND)"),
      Flag("consistency", value: "l|s", "linearizable (l) or serializable (s) (l)"),
    ]
  ) { line throws(Failure) in try GetCommand.run(line) }
}

enum GetCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    let request = try request(line)
    let output = KeyValueOutput(
      format: options.format, hex: options.hex, valueOnly: line.isOn("print-value-only"),
      countOnly: request.countOnly)
    let client = options.makeClient()
    do {
      guard isStreamed(request, options.format) else { return output.range(try client.range(request)) }
      try client.readRange(request) { pairs in
        var piece = RangeResponse()
        piece.kvs = pairs
        output.range(piece)
        return true
      }
    } catch {
      throw .client(error)
    }
  }

  /// Whether pairs are shown as they come: those of a range without a limit, in the order of keys. The other formats show
  /// first, or in one piece, what is only known at the end.
  private static func isStreamed(_ request: RangeRequest, _ format: OutputFormat) -> Bool {
    guard format == .simple, !request.countOnly, request.limit == 0, request.sortTarget == .key else { return false }
    if case .key = request.keys { return false }
    return true
  }

  static func request(_ line: ParsedLine) throws(Failure) -> RangeRequest {
    var request = RangeRequest(try line.keyRange("get"))
    request.limit = try line.number("limit") ?? 0
    request.revision = try line.number("rev") ?? 0
    request.keysOnly = line.isOn("keys-only")
    request.countOnly = line.isOn("count-only")
    if request.keysOnly && request.countOnly {
      throw .message("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
    }
    request.sortOrder = try sortOrder(line.text("order") ?? "")
    request.sortTarget = try sortTarget(line.text("sort-by") ?? "")
    switch line.text("consistency") ?? "l" {
    case "l": request.serializable = false
    case "s": request.serializable = true
    case let other: throw .message("unknown consistency flag \"\(other)\"")
    }
    return request
  }

  private static func sortOrder(_ text: String) throws(Failure) -> SortOrder {
    switch text.uppercased() {
    case "": .none
    case "ASCEND": .ascend
    case "DESCEND": .descend
    default: throw .message("bad sort order \(text)")
    }
  }

  private static func sortTarget(_ text: String) throws(Failure) -> SortTarget {
    switch text.uppercased() {
    case "", "KEY": .key
    case "CREATE": .create
    case "MODIFY": .mod
    case "VALUE": .value
    case "VERSION": .version
    default: throw .message("bad sort target \(text)")
    }
  }
}
