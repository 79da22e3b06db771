// What a command is: its words, its flags, its help, and what it does.

struct Command: Sendable {
  /// The words that name it, such as `endpoint status`.
  let words: [String]
  /// What follows the words in a usage line.
  let usage: String
  let summary: String
  var details = ""
  var flags: [Flag] = []
  let run: @Sendable (ParsedLine) throws(Failure) -> Void

  var name: String { words.joined(separator: " ") }
  var allFlags: [Flag] { flags + GlobalOptions.flags }

  /// All of them, in the order of the help text.
  static let all: [Command] = [
    .get, .put, .del, .txn, .watch, .compaction, .leaseGrant, .leaseRevoke, .leaseTimeToLive, .leaseList,
    .leaseKeepAlive, .lock, .elect, .alarmList, .alarmDisarm, .memberList, .memberAdd, .memberRemove,
    .memberUpdate, .memberPromote, .moveLeader, .defrag, .checkPerf, .checkDatascale, .endpointStatus,
    .endpointHealth, .endpointHashKV, .snapshotSave, .snapshotStatus, .snapshotRestore, .load, .dump, .version,
  ]

  /// Finds the command that the line names, and the tokens that are not its words.
  static func find(_ tokens: [[UInt8]]) throws(Failure) -> (command: Command, rest: [[UInt8]])? {
    var words: [String] = []
    var flags: [[UInt8]] = []
    var rest = tokens[...]
    while let token = rest.popFirst() {
      if token.first == UInt8(ascii: "-"), token.count > 1 {
        flags.append(token)
        // A global flag before the command may have its value in the next token.
        if GlobalOptions.takesNextToken(token), let value = rest.popFirst() { flags.append(value) }
        continue
      }
      words.append(String(decoding: token, as: UTF8.self))
      if let command = all.first(where: { $0.words == words }) { return (command, flags + rest) }
      if !all.contains(where: { $0.words.starts(with: words) }) { break }
    }
    if words.isEmpty || words == ["help"] { return nil }
    if all.contains(where: { $0.words.starts(with: words) }) {
      let names = all.filter { $0.words.starts(with: words) }.map(\.name)
      throw .message("\"\(words.joined(separator: " "))\" needs a subcommand: \(names.joined(separator: ", "))")
    }
    throw .message("unknown command \"\(words.joined(separator: " "))\" for \"needletailctl\"")
  }
}
