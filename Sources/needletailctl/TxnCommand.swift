// txn: conditions and two lists of requests, read from standard input, done as one step.

import Glibc
import NeedletailClient

extension Command {
  static let txn = Command(
    words: ["txn"], usage: "", summary: "Txn processes all the requests in one transaction",
    details: """
      Reads three parts from standard input, each ended by an empty line: comparisons, requests to run if all of them
      hold, requests to run if not.
        mod("key1") > "0"

        put key1 "overwrote-key1"

        put key1 "created-key1"
        put key2 "some extra key"

      Comparisons are TARGET("KEY") OP "CONSTANT". TARGET is one of ver, version, c, create, m, mod, val, value, lease
      (its constant is a lease ID in hexadecimal); OP is one of = != < >. Requests are get, put and del with their flags.
      Quoted text has Go's escapes.
      """,
    flags: [Flag("interactive", short: "i", "input transaction in interactive mode")]
  ) { line throws(Failure) in try TxnCommand.run(line) }
}

enum TxnCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    guard line.arguments.isEmpty else { throw .message("txn command does not accept argument") }
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    let input = try InputFile([UInt8(ascii: "-")])
    let prompts = line.isOn("interactive")
    var request = TxnRequest()
    prompt("compares:", prompts)
    while let text = try nextLine(input) { request.comparisons.append(try TxnScript.comparison(text)) }
    prompt("success requests (get, put, del):", prompts)
    while let text = try nextLine(input) { request.success.append(try TxnScript.operation(text)) }
    prompt("failure requests (get, put, del):", prompts)
    while let text = try nextLine(input) { request.failure.append(try TxnScript.operation(text)) }
    let response: TxnResponse
    do { response = try options.makeClient().txn(request) } catch { throw .client(error) }
    try KeyValueOutput(format: options.format, hex: options.hex).txn(response)
  }

  private static func prompt(_ text: String, _ isOn: Bool) {
    guard isOn else { return }
    StandardOutput.write(text + "\n")
    StandardOutput.flush()
  }

  /// The next line without white space around it; nil for the empty line that ends a part. The input may not end before
  /// all three parts have: a script that was cut off must not run.
  private static func nextLine(_ input: InputFile) throws(Failure) -> [UInt8]? {
    guard let line = try input.nextLine() else { throw .message("EOF") }
    let text = TxnScript.trim([UInt8](line))
    return text.isEmpty ? nil : text
  }
}
