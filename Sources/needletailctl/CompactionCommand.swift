// compaction: gives up history below a revision.

import NeedletailClient

extension Command {
  static let compaction = Command(
    words: ["compaction"], usage: "REVISION", summary: "Compacts the event history",
    details: "Revisions below REVISION can't be read any more; REVISION itself can.",
    flags: [
      Flag("physical", "wait until the space of what was given up is free")
    ]
  ) { line throws(Failure) in try CompactionCommand.run(line) }
}

enum CompactionCommand {
  static func run(_ line: ParsedLine) throws(Failure) {
    guard let argument = line.arguments.first, line.arguments.count == 1 else {
      throw .message("compaction command needs 1 argument")
    }
    let text = String(decoding: argument, as: UTF8.self)
    guard let revision = Int64(text) else {
      throw .message("strconv.ParseInt: parsing \"\(text)\": invalid syntax")
    }
    let options = try GlobalOptions(line)
    do { _ = try options.makeClient().compact(revision, physical: line.isOn("physical")) } catch {
      throw .client(error)
    }
    StandardOutput.write("compacted revision \(revision)\n")
  }
}
