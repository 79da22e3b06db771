// Hot backup: a snapshot file of one moment, taken while reads and writes go on.

import NeedletailBackend

extension Database {
  /// Writes everything that is published now to the file `path`, in the format of docs/format-snapshot.md.
  ///
  /// Readers and writers go on meanwhile; pages that writers replace are kept until it is done, so the database grows by
  /// what is rewritten in that time. Memory: two frames of 1 MiB. The file appears under its name whole and on disk, or
  /// not at all; one that has the name is replaced. `progress` is called about once for each MiB of data and stops the
  /// backup by answering false.
  ///
  /// Returns what the file says of itself. Throws `io`, `noSpace`, `database` (a corrupt page, no reader slot),
  /// `cancelled`.
  @discardableResult
  public func backup(
    to path: String, progress: ((SnapshotProgress) -> Bool)? = nil
  ) throws(SnapshotError) -> SnapshotHeader {
    try SnapshotStream(self).save(to: path, progress: progress)
  }
}

extension SnapshotStream {
  /// Writes the whole stream to a file.
  package func save(
    to path: String, calls: FileCalls = FileCalls(), progress: ((SnapshotProgress) -> Bool)? = nil
  ) throws(SnapshotError) -> SnapshotHeader {
    let file = try AtomicFile(path, calls: calls)
    while let piece = try next() {
      try file.write(piece)
      if let progress, !progress(self.progress) { throw .cancelled }
    }
    try file.commit()
    return header
  }
}
