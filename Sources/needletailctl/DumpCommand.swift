// dump: every pair as a JSON line that `load` takes back.
//
// The server sends the range piece by piece, all of one revision: what comes out is the store at one moment, however long
// it takes, and neither side holds more than a piece or two.

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
  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    guard line.arguments.isEmpty else { throw .message("dump command takes no arguments, only --prefix") }
    let client = options.makeClient()
    var request = RangeRequest(.prefix(line.bytes("prefix") ?? []))
    request.revision = try line.number("rev") ?? 0
    switch line.text("consistency") ?? "l" {
    case "l": request.serializable = false
    case "s": request.serializable = true
    case let other: throw .message("unknown consistency flag \"\(other)\"")
    }
    do {
      try client.readRange(request) { pairs in
        for pair in pairs {
          StandardOutput.write { PairLineReader.append((pair.key, pair.value), to: &$0) }
        }
        return true
      }
    } catch {
      throw .client(error)
    }
  }
}
