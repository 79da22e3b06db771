// del: deletes a key or a range of keys.

import NeedletailClient

extension Command {
  static let del = Command(
    words: ["del"], usage: "KEY [END]", summary: "Removes the specified key or range of keys [KEY, END)",
    details: "Shows how many keys were deleted.",
    flags: [
      Flag("prefix", "delete keys with matching prefix"),
      Flag("from-key", "delete keys that are greater than or equal to the given key using byte compare"),
      Flag("prev-kv", "return deleted key-value pairs"),
    ]
  ) { line throws(Failure) in try DelCommand.run(line) }
}

enum DelCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    let options = try GlobalOptions(line)
    if options.format == .table { throw KeyValueOutput.noTable }
    let request = try request(line)
    let response: DeleteRangeResponse
    do { response = try options.makeClient().deleteRange(request) } catch { throw .client(error) }
    try KeyValueOutput(format: options.format, hex: options.hex).deleteRange(response)
  }

  static func request(_ line: ParsedLine) throws(Failure) -> DeleteRangeRequest {
    var request = DeleteRangeRequest(try line.keyRange("del"))
    request.prevKV = line.isOn("prev-kv")
    return request
  }
}
