// `needletail db …` and `needletail wal …`: looking at and putting right what a stopped server's directory holds.

import Glibc
import NeedletailBackend
import NeedletailSnapshot

/// A command of one of the groups: what it was given, and how it ends.
struct DatabaseCommand: Sendable {
  enum Failure: Error {
    /// The command line is wrong: exit status 2.
    case usage(String)
    /// It was not done, or what was looked at is damaged: exit status 1.
    case failed(String)
  }

  let name: String
  let usage: String
  let summary: String
  let details: String
  var flags: [Flag] = []
  let run: @Sendable (Line) throws(Failure) -> Void

  struct Group: Sendable {
    let word: String
    let title: String
    let notes: String
    let commands: [DatabaseCommand]

    static let all = [database, log]

    static let database = Group(
      word: "db", title: "Look at, copy and restore database files.",
      notes: """
            PATH is a database file, or a server's data directory, which stands for the file member/db in it. Nothing in it is
            ever changed. A file that a server has open is locked: all commands but dump-page refuse it. Of a running server,
            needletailctl snapshot save takes a copy, /metrics has the figures, and its scrub checks the file.
        """,
      commands: [check, stats, dumpPage, backup, compact, restore])

    static let log = Group(
      word: "wal", title: "Look at a write-ahead log, and cut a corrupt one.",
      notes: """
            DIR is the data directory of a server that is stopped.
        """,
      commands: [logCheck, logRepair])

    /// Runs `arguments`, those after the group's word; returns the exit status.
    func run(_ arguments: [String]) -> Int32 { DatabaseCommand.run(arguments, self) }
  }

  private static func run(_ arguments: [String], _ group: Group) -> Int32 {
    guard let name = arguments.first, name != "help", name != "-h", name != "--help" else {
      print(help(group), terminator: "")
      return 0
    }
    guard let command = group.commands.first(where: { $0.name == name }) else {
      printError("needletail \(group.word): unknown command '\(name)'; see needletail \(group.word) --help")
      return 2
    }
    do throws(Failure) {
      let line = try Line(Array(arguments.dropFirst()), command)
      if line.wantsHelp {
        print(command.help(group), terminator: "")
      } else {
        try command.run(line)
      }
      return 0
    } catch {
      switch error {
      case .usage(let why):
        printError(
          "needletail \(group.word) \(name): \(why)\nusage: needletail \(group.word) \(name) \(command.usage)")
        return 2
      case .failed(let why):
        printError("needletail \(group.word) \(name): \(why)")
        return 1
      }
    }
  }

  private static func help(_ group: Group) -> String {
    let width = group.commands.map(\.name.count).max() ?? 0
    let lines = group.commands.map { "  needletail \(group.word) \(pad($0.name, width))  \($0.summary)\n" }
    return """
      \(group.title)

      Usage:

      """ + lines.joined() + """

        \(group.notes)

          Exit status: 0 done, and clean; 1 damaged, or not done; 2 a wrong command line.
          needletail \(group.word) COMMAND --help says more.

        """
  }

  private func help(_ group: Group) -> String {
    var text = "\(summary)\n\nUsage:\n  needletail \(group.word) \(name) \(usage)\n\n\(details)\n"
    guard !flags.isEmpty else { return text }
    text += "\nFlags:\n"
    let width = flags.map(\.name.count).max() ?? 0
    for flag in flags { text += "  --\(Self.pad(flag.name, width))  \(flag.help)\n" }
    return text
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}

extension DatabaseCommand {
  /// A `db` command's own part of the line.
  struct Line {
    private(set) var arguments: [String] = []
    private var values: [String: String] = [:]
    private(set) var wantsHelp = false

    init(_ words: [String], _ command: DatabaseCommand) throws(Failure) {
      var rest = words[...]
      while let word = rest.popFirst() {
        if word == "--help" || word == "-h" {
          wantsHelp = true
        } else if word.hasPrefix("--") {
          let parts = word.dropFirst(2).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
          let name = String(parts.first ?? "")
          guard let flag = command.flags.first(where: { $0.name == name }) else {
            throw .usage("unknown flag '\(word)'")
          }
          guard let value = parts.count == 2 ? String(parts[1]) : flag.isSwitch ? "true" : rest.popFirst() else {
            throw .usage("--\(name) needs a value")
          }
          values[name] = value
        } else {
          arguments.append(word)
        }
      }
    }

    func isOn(_ name: String) -> Bool { values[name] == "true" }

    /// Exactly so many arguments.
    func expect(_ count: Int) throws(Failure) {
      guard arguments.count == count else {
        throw .usage(arguments.count < count ? "arguments are missing" : "too many arguments")
      }
    }

    func pageSize() throws(Failure) -> Int? {
      guard let text = values["page-size"] else { return nil }
      guard let size = Int(text), (try? PageGeometry(pageSize: size)) != nil else {
        throw .usage("--page-size takes a power of two from 512 to 65536, not '\(text)'")
      }
      return size
    }
  }

  static let pageSizeFlag = Flag("page-size", "bytes per page of the new file, 512 to 65536 (as the original)")

  /// A data directory's database file, or the file itself.
  static func file(in path: String) -> String { isDirectory(path) ? path + "/member/db" : path }

  static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// Opens without changing a byte.
  static func open(_ path: String) throws(Failure) -> Database {
    var options = DatabaseOptions()
    options.readOnly = true
    options.create = false
    do { return try Database.open(file(in: path), options) } catch {
      if case .inUse = error {
        throw .failed(
          "\(file(in: path)) is in use by a running program. Stop it first; or, of a running server, take a copy with "
            + "needletailctl snapshot save, see the figures under /metrics, and let its scrub check the file.")
      }
      throw .failed("\(error)")
    }
  }
}

func printError(_ message: String) {
  var line = message + "\n"
  line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
