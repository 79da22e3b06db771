// check, stats, dump-page: what is in a database file.

import Glibc
import NeedletailBackend

extension DatabaseCommand {
  static let check = DatabaseCommand(
    name: "check", usage: "PATH", summary: "Checks every page: checksums, order, counts, free space",
    details: """
      Every page must be reachable exactly once or free, keys in order and inside their fences, counts and checksums
      right, values in pages of their own included. What is wrong is listed by page (at most 100 problems); look at one
      with needletail db dump-page.
      """
  ) { line throws(Failure) in
    try line.expect(1)
    let database = try open(line.arguments[0])
    defer { database.close() }
    let report: CheckReport
    do { report = try database.check() } catch { throw .failed("\(error)") }
    show(report, pageSize: database.pageSize)
    let file = file(in: line.arguments[0])
    guard report.isClean else {
      let more = report.problems.count == CheckReport.problemsMax ? "at least " : ""
      throw .failed("\(file): \(more)\(report.problems.count) problems")
    }
    print("\(file): clean")
  }

  private static func show(_ report: CheckReport, pageSize: Int) {
    for tree in report.trees {
      let pages = tree.leafPages + tree.branchPages
      print(
        "tree \(tree.name): \(tree.entries) entries, \(tree.levels) levels, \(tree.leafPages) leaf, "
          + "\(tree.branchPages) branch and \(tree.overflowPages) overflow pages, "
          + "\(percent(tree.usedBytes, of: pages * UInt64(pageSize))) % full")
    }
    print("\(report.pages) pages of \(pageSize) bytes, \(report.freePages) free")
    for problem in report.problems {
      print("page \(problem.page): \(problem.reason.rawValue)\(problem.detail.isEmpty ? "" : ": " + problem.detail)")
    }
  }

  private static func percent(_ part: UInt64, of whole: UInt64) -> UInt64 { whole == 0 ? 0 : part * 100 / whole }

  static let stats = DatabaseCommand(
    name: "stats", usage: "PATH", summary: "Prints figures of the file and of each tree",
    details: """
      For each tree: entries, levels from root to leaf, bytes of keys and values, pages by kind and how full they are,
      values that lie in pages of their own. For the file: bytes used and free, and the state it shows.
      A stopped server's file has no readers; a running one tells of its oldest reader under /metrics, as
      needletail_oldest_reader_*.
      """
  ) { line throws(Failure) in
    try line.expect(1)
    let database = try open(line.arguments[0])
    defer { database.close() }
    let trees: [TreeStatistics]
    do { trees = try database.treeStatistics() } catch { throw .failed("\(error)") }
    let pageSize = UInt64(database.pageSize)
    for tree in trees { show(tree, pageSize: pageSize) }
    let figures = database.statistics
    print("file")
    print("  bytes        \(figures.fileBytes), \(figures.fileBytes / pageSize) pages of \(pageSize)")
    print("  in use       \(figures.liveBytes), \(percent(figures.liveBytes, of: figures.fileBytes)) %")
    print("  free         \(figures.reusableBytes)")
    print("  transaction  \(figures.transaction)")
    print("  user words   \(database.durableWords.map { "\($0)" }.joined(separator: " "))")
  }

  private static func show(_ tree: TreeStatistics, pageSize: UInt64) {
    print("tree \(tree.name)")
    print("  entries      \(tree.entries), \(tree.keyBytes) bytes of keys, \(tree.valueBytes) of values")
    print("  levels       \(tree.levels)")
    let leafFill = percent(tree.leafBytes, of: tree.leafPages * pageSize)
    print("  leaves       \(tree.leafPages) pages, \(leafFill) % full")
    let branchFill = percent(tree.branchBytes, of: tree.branchPages * pageSize)
    print("  branches     \(tree.branchPages) pages, \(branchFill) % full")
    print("  overflow     \(tree.overflowPages) pages for \(tree.overflowValues) values")
    print("  bytes        \(tree.pages * pageSize)")
  }

  static let dumpPage = DatabaseCommand(
    name: "dump-page", usage: "PATH NUMBER [NUMBER…] [flags]", summary: "Prints pages for people, damaged ones too",
    details: """
      Shows what kind of page it is, whether its checksum is right, and its entries: records of a leaf, children of a
      branch, used pages of a bitmap, the fields of a meta page. Damage is shown as such. This works on any file, also on
      one that cannot be opened, and on one that a server has open: then a page may change while it is read.
      """,
    flags: [
      Flag("hex", isSwitch: true, "keys and values as hexadecimal digits"),
      Flag("all", isSwitch: true, "whole keys and values, not only their first 64 bytes"),
      Flag("page-size", "bytes per page, where the file's first meta page is damaged"),
    ]
  ) { line throws(Failure) in
    guard line.arguments.count >= 2 else { throw .usage("arguments are missing") }
    let file = try RawDatabaseFile(file(in: line.arguments[0]), pageSize: try line.pageSize())
    defer { file.close() }
    if file.isInUse { printError("note: a running program has this file open; pages may change while they are read") }
    var isMissing = false
    for text in line.arguments.dropFirst() {
      guard let number = UInt64(text) else { throw .usage("'\(text)' is no page number") }
      if let text = try file.text(ofPage: number, isHex: line.isOn("hex"), showsAll: line.isOn("all")) {
        print(text, terminator: "")
      } else {
        printError("page \(number): the file has only \(file.bytes / UInt64(file.pageSize)) pages")
        isMissing = true
      }
    }
    if isMissing { throw .failed("not every page exists") }
  }
}

/// A database file read page by page, without opening it as a database.
private struct RawDatabaseFile {
  let bytes: UInt64
  let pageSize: Int
  let isInUse: Bool
  private let path: String
  private let descriptor: Int32

  init(_ path: String, pageSize: Int?) throws(DatabaseCommand.Failure) {
    self.path = path
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    var status = stat()
    guard descriptor >= 0, fstat(descriptor, &status) == 0 else {
      throw .failed("open \(path): \(String(cString: strerror(errno)))")
    }
    self.descriptor = descriptor
    bytes = UInt64(status.st_size)
    isInUse = flock(descriptor, LOCK_SH | LOCK_NB) != 0
    flock(descriptor, LOCK_UN)
    let start = Self.read(descriptor, 4096, at: 0)
    guard let size = pageSize ?? start.flatMap({ $0.withUnsafeBytes { PageDump.pageSize(start: $0) } }) else {
      Glibc.close(descriptor)
      throw .failed("\(path): the first meta page is damaged, or this is no database; give --page-size to look anyway")
    }
    self.pageSize = size
  }

  func close() { Glibc.close(descriptor) }

  /// Nil beyond the end of the file.
  func text(ofPage number: UInt64, isHex: Bool, showsAll: Bool) throws(DatabaseCommand.Failure) -> String? {
    guard number < bytes / UInt64(pageSize) else { return nil }
    let metaPages = UInt64(PageDump.metaPages(pageSize: pageSize))
    if number < metaPages {
      let slot = Int(number / (metaPages / 2))
      guard let page = Self.read(descriptor, 4096, at: UInt64(slot * max(4096, pageSize))) else { throw unreadable }
      return page.withUnsafeBytes { MetaDump.text($0, slot: slot, fileBytes: bytes) }
    }
    guard let page = Self.read(descriptor, pageSize, at: number * UInt64(pageSize)) else { throw unreadable }
    return page.withUnsafeBytes { PageDump.text($0, number: number, isHex: isHex, showsAll: showsAll) }
  }

  private var unreadable: DatabaseCommand.Failure {
    .failed("read \(path): \(String(cString: strerror(errno)))")
  }

  private static func read(_ descriptor: Int32, _ count: Int, at offset: UInt64) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let read = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, count, off_t(offset)) }
    return read == count ? bytes : nil
  }
}
