// A new database from a snapshot file, and a compacted copy of a database.

import NeedletailBackend

extension Database {
  /// Makes a new database file `path` of what the snapshot file holds.
  ///
  /// The file appears under its name when the whole snapshot was found sound and all of it is on disk; one that has the
  /// name is never replaced. `pageSize`: that of the original where nil. Returns what the snapshot says of itself.
  ///
  /// Throws `exists`, `damaged`, `notASnapshot`, `io`, `noSpace`, `cancelled`, and `database` with `keyLength` where a
  /// key is too long for the page size asked for.
  @discardableResult
  public static func restore(
    _ snapshot: String, to path: String, pageSize: Int? = nil, progress: ((SnapshotProgress) -> Bool)? = nil
  ) throws(SnapshotError) -> SnapshotHeader {
    try restore(snapshot, to: path, pageSize: pageSize, progress: progress) { $0.words }
  }

  /// `words`: the user words of the new database.
  package static func restore(
    _ snapshot: String, to path: String, pageSize: Int?, progress: ((SnapshotProgress) -> Bool)?,
    words: (SnapshotHeader) -> [UInt64]
  ) throws(SnapshotError) -> SnapshotHeader {
    let reader = try SnapshotReader(snapshot)
    let loader = try DatabaseLoader(
      path, pageSize: pageSize ?? reader.header.pageSize, trees: reader.header.trees.map(\.name))
    while try reader.next({ (tree, key, value) throws(SnapshotError) in try loader.add(tree: tree, key, value) }) {
      if let progress, reader.entries % 4096 == 0, !progress(reader.progress) { throw .cancelled }
    }
    try loader.finish(words: words(reader.header))
    return reader.header
  }

  /// Writes what is published now to a new database file, its pages full and in order, nothing free in it.
  ///
  /// As hot as `backup`: readers and writers go on. The file appears whole or not at all. Throws `exists`, `database`,
  /// `io`, `noSpace`, `cancelled`.
  public func compact(
    to path: String, pageSize: Int? = nil, progress: ((SnapshotProgress) -> Bool)? = nil
  ) throws(SnapshotError) {
    let reader: ReaderHandle
    do { reader = try makeReader() } catch { throw .database(error) }
    defer { reader.free() }
    let view = reader.pin()
    defer { reader.unpin() }
    let names = treeNames.prefix(view.treeCount)
    let loader = try DatabaseLoader(path, pageSize: pageSize ?? self.pageSize, trees: Array(names))
    var done = SnapshotProgress()
    done.entriesInAll = (0..<names.count).reduce(0) { $0 + view.tree(TreeID(UInt8($1))).count }
    for tree in 0..<names.count {
      try Self.copy(view.tree(TreeID(UInt8(tree)))) { (key, value) throws(SnapshotError) in
        try loader.add(tree: tree, key, value)
        done.entries += 1
        done.bytes += UInt64(key.count + value.count)
        if let progress, done.entries % 4096 == 0, !progress(done) { throw .cancelled }
      }
    }
    try loader.finish(words: view.words)
  }

  private static func copy(
    _ tree: TreeView, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(SnapshotError) -> Void
  ) throws(SnapshotError) {
    var cursor = tree.cursor()
    var found: Bool
    do { found = try cursor.first() } catch { throw .database(error) }
    while found {
      let value: UnsafeRawBufferPointer
      let key: UnsafeRawBufferPointer
      do {
        value = try cursor.value
        key = try cursor.key
      } catch { throw .database(error) }
      try body(key, value)
      do { found = try cursor.next() } catch { throw .database(error) }
    }
  }
}
