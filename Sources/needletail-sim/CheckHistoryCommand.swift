// `needletail-sim check-history FILE…`: were the answers in these histories those of one copy of the data?

import ArgumentParser
import NeedletailChecker

struct CheckHistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-history",
    abstract: "Check recorded histories of concurrent clients for linearizability.",
    discussion: """
      Prints a line for each file: its name, then `linearizable`, `not-linearizable` or `unknown`. Jepsen's register logs, \
      key-value logs and this project's own histories are told apart by what they say (docs/checker.md).

      Unknown is no pass: a limit was met before there was a verdict, or the file is no history; standard error says which.

      Exit status: 0 if all are linearizable, 1 if one is not, or is unknown, 2 if a file is no history.
      """)

  @Argument(help: "Histories.")
  var files: [String]

  @Option(help: "Most seconds for a file.")
  var seconds = 60.0

  @Option(name: .customLong("memory-mib"), help: "Most memory for the search of a file, in MiB.")
  var memory_mib = 1024

  @Flag(help: "Say on standard error which answer no order explains, and which limit was met.")
  var explain = false

  func validate() throws {
    guard seconds > 0, seconds < 1e9 else { throw ValidationError("--seconds must be more than 0") }
    guard memory_mib > 0, memory_mib <= 1 << 20 else { throw ValidationError("--memory-mib must be 1 to 1048576") }
  }

  func run() throws {
    var status: Int32 = 0
    for file in files { status = max(status, check(file)) }
    if status != 0 { throw ExitCode(status) }
  }

  private func check(_ file: String) -> Int32 {
    do {
      let limits = Limits(seconds: seconds, bytes: memory_mib << 20)
      let verdict = try HistoryChecker.check(try HistoryFile.read(file), limits)
      print(file, verdict.word)
      if explain, let reason = verdict.reason { complain("\(file)\(reason)") }
      return verdict == .linearizable ? 0 : 1
    } catch {
      print(file, "unknown")
      complain(error.line == 0 ? "\(file): \(error.reason)" : "\(file):\(error.line): \(error.reason)")
      return 2
    }
  }
}

extension Verdict {
  /// What to add behind the file's name.
  fileprivate var reason: String? {
    switch self {
    case .linearizable: nil
    case .notLinearizable(let refutation):
      ":\(refutation.answerLine): no order explains the answers up to here (the call is on line \(refutation.callLine))"
    case .unknown(.time): ": no verdict in the time there was"
    case .unknown(.memory): ": no verdict in the memory there was"
    }
  }
}
