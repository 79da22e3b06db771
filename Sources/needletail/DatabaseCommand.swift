// `needletail db …`: looking at a database file while no server has it open.

import ArgumentParser
import Glibc
import NeedletailBackend

struct DatabaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "db", abstract: "Look at the database file of a stopped server.",
    subcommands: [CheckCommand.self])
}

/// Which file to look at: a data directory's, or any database file.
struct DatabasePath: ParsableArguments {
  @Argument(help: "A server's data directory, or a database file.")
  var path: String

  var file: String {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return path }
    return path + "/member/db"
  }

  /// Opens the file without changing it.
  func open() throws -> Database {
    var options = DatabaseOptions()
    options.readOnly = true
    do { return try Database.open(file, options) } catch {
      printError("needletail db: \(error)")
      throw ExitCode.failure
    }
  }
}

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Check every page: checksums, order, counts, free space.",
    discussion: """
      Reads the whole file, changes nothing, and prints what each tree holds and everything that is wrong. \
      Exits 0 when the file is clean, 1 when it is not or cannot be read.
      """)

  @OptionGroup var database: DatabasePath

  func run() throws {
    let opened = try database.open()
    defer { opened.close() }
    let report: CheckReport
    do { report = try opened.check() } catch {
      printError("needletail db check: \(error)")
      throw ExitCode.failure
    }
    for tree in report.trees {
      let pages = tree.leafPages + tree.branchPages
      let fill = pages == 0 ? 0 : tree.usedBytes * 100 / (pages * UInt64(opened.pageSize))
      print(
        "tree \(tree.name): \(tree.entries) entries, \(tree.levels) levels, \(tree.leafPages) leaf, "
          + "\(tree.branchPages) branch and \(tree.overflowPages) overflow pages, \(fill) % full")
    }
    print("\(report.pages) pages of \(opened.pageSize) bytes, \(report.freePages) free")
    for problem in report.problems {
      print("page \(problem.page): \(problem.reason.rawValue)\(problem.detail.isEmpty ? "" : ": " + problem.detail)")
    }
    guard report.isClean else {
      let more = report.problems.count == CheckReport.problemsMax ? "at least " : ""
      printError("\(database.file): \(more)\(report.problems.count) problems")
      throw ExitCode.failure
    }
    print("\(database.file): clean")
  }
}

func printError(_ message: String) {
  let line = Array((message + "\n").utf8)
  _ = write(STDERR_FILENO, line, line.count)
}
