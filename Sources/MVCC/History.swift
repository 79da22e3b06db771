// Reading the past of one key: from its newest version back through the log, by the longest link that does not overshoot.
import NeedletailBackend

struct History {
  private let log: TreeView
  /// Log rows read so far; tests hold it against the bound that the links promise.
  private(set) var hops = 0

  init(_ log: TreeView) {
    self.log = log
  }

  /// The version of `key` that a read at `revision` sees, starting from the newest; nil where the key did not exist.
  /// O(4 · log₄ versions) log rows. The caller has checked that `revision` is not compacted: every link that is followed
  /// names a revision > `revision`, hence above the compacted one, hence a row that is still there.
  mutating func version(
    of key: UnsafeRawBufferPointer, from newest: Version, at revision: UInt64
  ) throws(MVCCError) -> Version? {
    var version = newest
    while version.revision.main > revision {
      guard let older = try older(than: version, of: key, at: revision) else { return nil }
      version = older
    }
    return version.isTombstone ? nil : version
  }

  /// The version that the oldest linked change after `revision` replaced (the change that made `version` itself, where
  /// no link is that young).
  private mutating func older(
    than version: Version, of key: UnsafeRawBufferPointer, at revision: UInt64
  ) throws(MVCCError) -> Version? {
    var target = version.revision
    var level = version.head.linkCount
    while level > 0 {
      level -= 1
      if let link = version.head.link(level), link.main > revision {
        target = link
        break
      }
    }
    guard target <= version.revision else { throw .corrupt("a link points forward from \(version.revision)") }
    hops += 1
    let bytes = try LogKey(target).withBytes { (name) throws(MVCCError) in try log.find(name) }
    guard let bytes else { throw .corrupt("no log row at \(target.main).\(target.sub)") }
    let row = try LogRow(bytes)
    guard compareBytes(row.key, key) == 0 else { throw .corrupt("the log row at \(target.main).\(target.sub)") }
    let older = try row.replacedVersion()
    // Strictly older each time: damaged links can't make this go round in a circle.
    if let older, older.revision >= target { throw .corrupt("a version at \(target.main) that is not older") }
    return older
  }
}

extension Store {
  /// Point get at a past revision that also tells how many log rows it read.
  package func pastGet(
    _ view: SnapshotView, key: UnsafeRawBufferPointer, revision: UInt64, hops: inout Int
  ) throws(MVCCError) -> RecordFields? {
    let newest: Version
    if let record = try view.tree(current).find(key) {
      newest = try Version(record: record)
    } else if let tombstone = try view.tree(graveyard).find(key) {
      newest = try Version(tombstone: tombstone)
    } else {
      return nil
    }
    var history = History(view.tree(log))
    let version = try history.version(of: key, from: newest, at: revision)
    hops = history.hops
    guard let version else { return nil }
    return try RecordFields(version.fields)
  }
}
