// `needletail db …`: looking at a database file while no server has it open.

import Glibc
import NeedletailBackend

enum DatabaseCommand {
  static let help = """
    Look at the database file of a stopped server. Nothing in it is changed.

    Usage:
      needletail db check PATH    check every page: checksums, order, counts, free space

    PATH is a server's data directory or a database file. The exit status is 0 when the file is clean, and 1 when it is
    not or cannot be read.

    """

  /// Runs `arguments`, those after `db`; returns the exit status.
  static func run(_ arguments: [String]) -> Int32 {
    switch arguments.first {
    case "check" where arguments.count == 2 && !arguments[1].hasPrefix("-"):
      return check(file(in: arguments[1]))
    case nil, "help", "-h", "--help":
      print(help, terminator: "")
      return 0
    case let .some(command):
      printError(
        command == "check"
          ? "usage: needletail db check PATH" : "needletail db: unknown command '\(command)'; see needletail db --help")
      return 2
    }
  }

  /// A data directory's database file, or the file itself.
  private static func file(in path: String) -> String {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return path }
    return path + "/member/db"
  }

  private static func check(_ file: String) -> Int32 {
    var options = DatabaseOptions()
    options.readOnly = true
    do throws(DatabaseError) {
      let database = try Database.open(file, options)
      defer { database.close() }
      let report = try database.check()
      show(report, pageSize: database.pageSize)
      if report.isClean {
        print("\(file): clean")
        return 0
      }
      let more = report.problems.count == CheckReport.problemsMax ? "at least " : ""
      printError("\(file): \(more)\(report.problems.count) problems")
    } catch {
      printError("needletail db check: \(error)")
    }
    return 1
  }

  private static func show(_ report: CheckReport, pageSize: Int) {
    for tree in report.trees {
      let pages = tree.leafPages + tree.branchPages
      let fill = pages == 0 ? 0 : tree.usedBytes * 100 / (pages * UInt64(pageSize))
      print(
        "tree \(tree.name): \(tree.entries) entries, \(tree.levels) levels, \(tree.leafPages) leaf, "
          + "\(tree.branchPages) branch and \(tree.overflowPages) overflow pages, \(fill) % full")
    }
    print("\(report.pages) pages of \(pageSize) bytes, \(report.freePages) free")
    for problem in report.problems {
      print("page \(problem.page): \(problem.reason.rawValue)\(problem.detail.isEmpty ? "" : ": " + problem.detail)")
    }
  }
}

func printError(_ message: String) {
  var line = message + "\n"
  line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
