// backup, compact, restore: copies of a database file.

import Glibc
import NeedletailBackend
import NeedletailServer
import NeedletailSnapshot

extension DatabaseCommand {
  static let backup = DatabaseCommand(
    name: "backup", usage: "PATH FILE", summary: "Writes a snapshot file of a stopped server's data",
    details: """
      FILE is compressed and checked (docs/format-snapshot.md); needletailctl snapshot status shows what is in it. It
      appears whole or not at all, and replaces a file of that name. Restore it with needletail db restore, or for a
      server with needletailctl snapshot restore. Of a running server, take one with needletailctl snapshot save.
      """
  ) { line throws(Failure) in
    try line.expect(2)
    let database = try open(line.arguments[0])
    defer { database.close() }
    warnOfLog(line.arguments[0])
    let bar = ProgressLine("backed up")
    let stream: SnapshotStream
    let header: SnapshotHeader
    do {
      stream = try SnapshotStream(database, describe: StoreFields.describe)
      header = try stream.save(to: line.arguments[1]) { bar.show($0) }
    } catch { throw .failed("\(error)") }
    bar.end()
    print("\(line.arguments[1]): \(header.entries) entries, \(stream.progress.bytes) bytes")
  }

  static let compact = DatabaseCommand(
    name: "compact", usage: "PATH OUTPUT [--page-size N]", summary: "Writes a compacted copy: full pages, nothing free",
    details: """
      OUTPUT is a new database file with everything that PATH holds; it must not exist, and appears whole or not at all.
      To put it in a stopped server's place, move it to member/db of the data directory; its log goes with it as it is.
      With --page-size keys must fit the new pages: at most a quarter of a page less 24 bytes.
      """,
    flags: [pageSizeFlag]
  ) { line throws(Failure) in
    try line.expect(2)
    let pageSize = try line.pageSize()
    let database = try open(line.arguments[0])
    defer { database.close() }
    let bar = ProgressLine("compacted")
    do { try database.compact(to: line.arguments[1], pageSize: pageSize) { bar.show($0) } } catch {
      throw .failed("\(error)")
    }
    bar.end()
    print("\(line.arguments[1]): \(size(line.arguments[1])) bytes, was \(database.statistics.fileBytes)")
  }

  static let restore = DatabaseCommand(
    name: "restore", usage: "SNAPSHOT OUTPUT [--page-size N]", summary: "Makes a database file of a snapshot file",
    details: """
      OUTPUT is a new database file; it must not exist, and appears only when the whole snapshot was found sound. For a
      server use needletailctl snapshot restore, which makes a whole data directory of a snapshot.
      """,
    flags: [pageSizeFlag]
  ) { line throws(Failure) in
    try line.expect(2)
    let pageSize = try line.pageSize()
    let bar = ProgressLine("restored")
    let header: SnapshotHeader
    do {
      header = try Database.restore(line.arguments[0], to: line.arguments[1], pageSize: pageSize) { bar.show($0) }
    } catch { throw .failed("\(error)") }
    bar.end()
    print("\(line.arguments[1]): \(header.entries) entries, \(size(line.arguments[1])) bytes")
  }

  private static func size(_ path: String) -> UInt64 {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_size) : 0
  }

  private static func warnOfLog(_ path: String) {
    guard isDirectory(path) else { return }
    printError(
      "note: after a crash the write-ahead log may hold writes that the database file lacks: start the server once, and "
        + "stop it, to have them in it")
  }
}

/// How far a copy is: a line that is rewritten on a terminal, nothing elsewhere.
private final class ProgressLine {
  private let verb: String
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var next_s = 0

  init(_ verb: String) { self.verb = verb }

  func show(_ progress: SnapshotProgress) -> Bool {
    guard isTerminal else { return true }
    let now = time(nil)
    guard now >= next_s else { return true }
    next_s = now + 1
    let part = progress.entriesInAll == 0 ? 100 : progress.entries * 100 / progress.entriesInAll
    var text = "\r\(part) % \(verb), \(progress.entries) of \(progress.entriesInAll) entries\u{1B}[K"
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    return true
  }

  func end() {
    if isTerminal, next_s > 0 { printError("") }
  }
}
