// snapshot save, status, restore: the whole store in one file, and back.

import Glibc
import NeedletailClient
import NeedletailRPC
import NeedletailSnapshot

extension Command {
  static let snapshotSave = Command(
    words: ["snapshot", "save"], usage: "FILE", summary: "Stores a snapshot of the whole store to a file",
    details: """
      Asks one server, named by --endpoints, while it goes on serving. The file is compressed and checked; it gets its
      name when all of it has come, was verified and is on disk. Until then it is FILE.part: a command that was cut short
      goes on where it stopped when it is given again within a minute, as long as the server still keeps the snapshot;
      else it begins anew.
      """
  ) { line throws(Failure) in try SnapshotCommand.save(line) }

  static let snapshotStatus = Command(
    words: ["snapshot", "status"], usage: "FILE", summary: "Verifies a snapshot file and tells what is in it",
    details: """
      Every byte is checked: checksums, order, totals and the SHA-256 of the file, of which the first 32 bits are shown as
      its hash. When --write-out is set to simple, the items are hash, revision, total keys, total size.
      """
  ) { line throws(Failure) in try SnapshotCommand.status(line) }
}

enum SnapshotCommand {
  static func file(_ line: ParsedLine, _ name: String) throws(Failure) -> String {
    guard line.arguments.count == 1, let path = line.arguments.first, !path.isEmpty else {
      throw .message("snapshot \(name) expects one argument, the file")
    }
    return String(decoding: path, as: UTF8.self)
  }

  // MARK: Saving

  static func save(_ line: ParsedLine) throws(Failure) {
    let path = try file(line, "save")
    let options = try GlobalOptions(line)
    guard options.endpoints.count == 1 else {
      throw .message("snapshot must be requested to one selected node, not multiple \(options.endpoints)")
    }
    let client = options.makeClient()
    if let part = SnapshotPart.sound(path + ".part") {
      do throws(Failure) {
        try receive(client, path, resuming: (part.header.snapshotID, part.bytes))
        return
      } catch {
        guard case .reported = error else { throw error }
        StandardError.write("the server no longer keeps the snapshot that \(path).part is of: beginning anew\n")
      }
    }
    try receive(client, path, resuming: nil)
  }

  /// Throws `reported` when there is nothing to resume at the server.
  private static func receive(
    _ client: BlockingClient, _ path: String, resuming: (id: UInt64, bytes: UInt64)?
  ) throws(Failure) {
    var file: AtomicFile?
    var failure: SnapshotError?
    var bar = SnapshotBar("saved")
    var revision: Int64 = 0
    do throws(ClientError) {
      try client.readSnapshot(resuming?.id ?? 0, from: resuming?.bytes ?? 0) { piece in
        do throws(SnapshotError) {
          // Only now: an old part is not given up before there is something better.
          if file == nil { file = try open(path, at: resuming?.bytes) }
          guard let target = file else { return false }
          try piece.bytes.withUnsafeBytesTyped { (bytes) throws(SnapshotError) in try target.write(bytes) }
        } catch {
          failure = error
          return false
        }
        revision = piece.revision
        bar.show(
          SnapshotProgress(
            entries: piece.entries, entriesInAll: piece.entriesInAll, bytes: piece.offset + UInt64(piece.bytes.count)))
        return true
      }
    } catch {
      bar.end()
      if resuming != nil, file == nil, case .server(let status) = error, status.code == .notFound { throw .reported }
      file?.keepPart()
      throw .client(error)
    }
    bar.end()
    if let failure { throw .message("\(failure)") }
    guard let file else { throw .message("the server sent nothing") }
    try finish(file, path, revision)
  }

  /// Nothing gets the name that was not read back and found whole.
  private static func finish(_ file: AtomicFile, _ path: String, _ revision: Int64) throws(Failure) {
    do throws(SnapshotError) {
      try SnapshotReader(file.temporaryPath).verify()
      try file.commit()
    } catch { throw .message("\(error)") }
    StandardError.write("snapshot of revision \(revision), verified\n")
    StandardOutput.write("Snapshot saved at \(path)\n")
  }

  private static func open(_ path: String, at offset: UInt64?) throws(SnapshotError) -> AtomicFile {
    let file = try AtomicFile(path, resuming: offset != nil)
    guard let offset else { return file }
    guard ftruncate(file.descriptor, off_t(offset)) == 0, lseek(file.descriptor, off_t(offset), SEEK_SET) >= 0 else {
      throw .io(operation: "truncate", path: file.temporaryPath, errno: errno)
    }
    return file
  }

  // MARK: Status

  static func status(_ line: ParsedLine) throws(Failure) {
    let path = try file(line, "status")
    let options = try GlobalOptions(line)
    do throws(SnapshotError) {
      let reader = try SnapshotReader(path)
      try reader.verify()
      SnapshotStatus(reader).write(options.format)
    } catch { throw .message("\(error)") }
  }
}

/// What `snapshot status` tells, in etcdctl's forms.
struct SnapshotStatus {
  let hash: UInt32
  let revision: UInt64
  let totalKeys: UInt64
  let totalSize: UInt64

  init(_ reader: SnapshotReader) {
    hash = reader.digest.prefix(4).reduce(0) { $0 << 8 | UInt32($1) }
    revision = reader.header.store.revision
    // The keys that live; a database that is embedded by itself counts them all.
    totalKeys = reader.header.trees.first { $0.name == "current" }?.entries ?? reader.header.entries
    totalSize = reader.position
  }

  private var items: [String] {
    [String(hash, radix: 16), "\(revision)", "\(totalKeys)", SizeText.format(Int64(clamping: totalSize))]
  }

  func write(_ format: OutputFormat) {
    switch format {
    case .simple: StandardOutput.write(items.joined(separator: ", ") + "\n")
    case .json:
      StandardOutput.write(
        "{\"hash\":\(hash),\"revision\":\(revision),\"totalKey\":\(totalKeys),\"totalSize\":\(totalSize)}\n")
    case .fields:
      StandardOutput.write(
        "\"Hash\" : \(hash)\n\"Revision\" : \(revision)\n\"Keys\" : \(totalKeys)\n\"Size\" : \(totalSize)\n")
    case .table:
      StandardOutput.write(Table(headings: ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"], rows: [items]).text)
    }
  }
}

/// How far a snapshot is, on standard error: a bar on a terminal, a line now and then elsewhere.
struct SnapshotBar {
  private let verb: String
  private let startedAt = Instant.now
  private var nextAt: Instant
  private let isTerminal = StandardError.isTerminal
  private var hasShown = false

  init(_ verb: String) {
    self.verb = verb
    nextAt = Instant.now + .milliseconds(500)
  }

  mutating func show(_ progress: SnapshotProgress) {
    let now = Instant.now
    guard now >= nextAt else { return }
    nextAt = now + (isTerminal ? .milliseconds(200) : .seconds(2))
    hasShown = true
    let percent = progress.entriesInAll == 0 ? 100 : Int(progress.entries * 100 / max(1, progress.entriesInAll))
    let seconds = max(1e-3, Double((now - startedAt).wholeNanoseconds) / 1e9)
    let rate = SizeText.format(Int64(Double(progress.bytes) / seconds))
    let text = "\(percent)%, \(SizeText.format(Int64(clamping: progress.bytes))) \(verb), \(rate)/s"
    let filled = max(0, min(25, percent / 4))
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: 25 - filled)
    StandardError.write(isTerminal ? "\r[\(bar)] \(text)\u{1B}[K" : text + "\n")
  }

  func end() {
    if isTerminal, hasShown { StandardError.write("\n") }
  }
}

extension [UInt8] {
  /// The standard library's call throws `any Error`.
  func withUnsafeBytesTyped<E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> Void) throws(E) {
    let result: Result<Void, E> = withUnsafeBytes { bytes in
      do throws(E) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
    try result.get()
  }
}
