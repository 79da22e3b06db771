// put: gives a key a value.

import Glibc
import NeedletailClient
import NeedletailRPC

extension Command {
  static let put = Command(
    words: ["put"], usage: "KEY [VALUE]", summary: "Puts the given key into the store",
    details: """
      Without VALUE, the value is read from standard input, all of it, as it comes:
        cat file | needletailctl put KEY
      A VALUE that begins with '-' goes after '--':
        needletailctl put KEY -- -value
      """,
    flags: [
      Flag("prev-kv", "return the previous key-value pair before modification"),
      Flag("ignore-value", "updates the key using its current value"),
      Flag("ignore-lease", "updates the key using its current lease"),
      Flag("lease", value: "ID", "lease ID (in hexadecimal) to attach to the key"),
    ]
  ) { line throws(Failure) in try PutCommand.run(line) }
}

enum PutCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    let request = try request(line)
    let response: PutResponse
    do { response = try options.makeClient().put(request) } catch { throw .client(error) }
    try KeyValueOutput(format: options.format, hex: options.hex).put(response)
  }

  /// `readsInput`: a missing value is read from standard input; in a transaction's script it is an error.
  static func request(_ line: ParsedLine, readsInput: Bool = true) throws(Failure) -> PutRequest {
    let ignoreValue = line.isOn("ignore-value")
    if ignoreValue && line.arguments.count > 1 {
      throw .message("put command needs only 1 argument when 'ignore-value' is set")
    }
    guard let key = line.arguments.first, line.arguments.count <= 2,
      readsInput || ignoreValue || line.arguments.count == 2
    else {
      throw .message("put command needs 1 argument and input from stdin or 2 arguments")
    }
    var lease: Int64 = 0
    if let text = line.bytes("lease") {
      guard let id = Int64(String(decoding: text, as: UTF8.self), radix: 16) else {
        throw .message("bad lease ID (\(String(decoding: text, as: UTF8.self))): it is a hexadecimal number")
      }
      lease = id
    }
    // The input is read last: everything else about the line is known to be right by then.
    let value = line.arguments.count == 2 ? line.arguments[1] : ignoreValue ? [] : try InputFile.readAll(STDIN_FILENO)
    var request = PutRequest(key: key, value: value)
    request.lease = lease
    request.prevKV = line.isOn("prev-kv")
    request.ignoreValue = ignoreValue
    request.ignoreLease = line.isOn("ignore-lease")
    return request
  }
}
