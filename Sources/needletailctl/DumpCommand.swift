// dump: every pair as a JSON line that `load` takes back.
//
// Pages are read one after the other, all at the revision of the first: what comes out is the store at one moment,
// however long it takes. Pages grow and shrink so that one holds about a megabyte.

import NeedletailClient
import NeedletailRPC

extension Command {
  static let dump = Command(
    words: ["dump"], usage: "", summary: "Writes all pairs as JSON lines, as of one revision",
    details: """
      Lines are {"key": "...", "value": "..."}, or {"key64": "...", "value64": "..."} with base64 where bytes are
      not UTF-8. 'load' takes them back.
      """,
    flags: [
      Flag("prefix", value: "P", "only keys that begin with P"),
      Flag("rev", value: "REVISION", "the store as it was at that revision"),
      Flag("consistency", value: "l|s", "linearizable (l) or serializable (s) (l)"),
    ]
  ) { line throws(Failure) in try DumpCommand.run(line) }
}

enum DumpCommand {
  private static let pageBytes = 1 << 20

  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    guard line.arguments.isEmpty else { throw .message("dump command takes no arguments, only --prefix") }
    let client = options.makeClient()
    var request = RangeRequest(.prefix(line.bytes("prefix") ?? []))
    request.revision = try line.number("rev") ?? 0
    request.limit = 64
    switch line.text("consistency") ?? "l" {
    case "l": request.serializable = false
    case "s": request.serializable = true
    case let other: throw .message("unknown consistency flag \"\(other)\"")
    }
    let end = request.keys.bounds.rangeEnd
    while true {
      let page: RangeResponse
      do { page = try client.range(request) } catch { throw .client(error) }
      write(page)
      guard page.more, let last = page.kvs.last else { return }
      if request.revision <= 0 { request.revision = page.header.revision }
      request.keys = .range(last.key + [0], end: end)
      request.limit = nextLimit(page)
    }
  }

  private static func write(_ page: RangeResponse) {
    for pair in page.kvs {
      StandardOutput.write { PairLineReader.append((pair.key, pair.value), to: &$0) }
    }
  }

  /// As many pairs as would have made the last page the wanted size; at most four times as many as it had.
  private static func nextLimit(_ page: RangeResponse) -> Int64 {
    let bytes = page.kvs.reduce(0) { $0 + $1.key.count + $1.value.count + 32 }
    let count = page.kvs.count
    return Int64(max(1, min(4 * count, 16_384, count * pageBytes / max(1, bytes))))
  }
}
