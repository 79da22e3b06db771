// A snapshot as a stream of bytes, made from a pinned reader while it is asked for: never more than one frame in memory.
//
// The same pinned data gives the same bytes every time (records in the trees' order, frames cut at fixed lengths, one
// compressor), so the stream can go back: every now and then it notes where a frame begins, how its first record goes
// on, and the digest so far. Asked for bytes that have gone by, it starts again at the last such point before them. That
// is how a broken transfer is resumed without the snapshot being kept anywhere.

import CNeedletail
import Glibc
import NeedletailBackend

/// How far a snapshot is.
public struct SnapshotProgress: Sendable, Equatable {
  public var entries: UInt64 = 0
  public var entriesInAll: UInt64 = 0
  /// Bytes of the file so far.
  public var bytes: UInt64 = 0

  public init(entries: UInt64 = 0, entriesInAll: UInt64 = 0, bytes: UInt64 = 0) {
    self.entries = entries
    self.entriesInAll = entriesInAll
    self.bytes = bytes
  }
}

/// Used by one thread at a time. Holds its reader pinned from `init` to `deinit`: the database must stay open as long.
package final class SnapshotStream {
  package let header: SnapshotHeader
  private let headerBytes: [UInt8]
  private let seed: UInt32
  private let database: Database
  private let reader: ReaderHandle
  private let view: SnapshotView
  private let compressor: Compressor
  private let raw: UnsafeMutableRawBufferPointer
  private let stored: UnsafeMutableRawBufferPointer

  /// The record under way: what stands before its value, its value, and how much of both is in frames already.
  private var tree = 0
  private var cursor: Cursor
  private var head: [UInt8] = []
  private var value = UnsafeRawBufferPointer(start: nil, count: 0)
  private var recordOffset = 0

  /// What is written: the next piece begins at `position`.
  package private(set) var position: UInt64 = 0
  private var frames: UInt32 = 0
  private var entries: UInt64 = 0
  private var rawBytes: UInt64 = 0
  private var digest: Digest
  private enum Stage { case header, frames, trailer, end }
  private var stage = Stage.header
  /// Invariant: ascending positions; the first is the first frame's.
  private var points: [Point] = []
  private var pointStride: UInt32 = 1
  /// Resume points in memory: when there are so many, every other one is dropped.
  private static let pointsMax = 1024

  /// Where the stream can start again.
  private struct Point {
    var position: UInt64
    var frames: UInt32
    var entries: UInt64
    var rawBytes: UInt64
    var digest: Digest
    var tree: Int
    /// Key of the record that the frame begins in; empty where there is none left.
    var key: [UInt8]
    var recordOffset: Int
  }

  /// Pins the published snapshot of `database`. `describe` says what the user words mean.
  package init(
    _ database: Database, describe: (_ words: [UInt64]) -> StoreInformation = { _ in StoreInformation() }
  ) throws(SnapshotError) {
    do { reader = try database.makeReader() } catch { throw .database(error) }
    self.database = database
    view = reader.pin()
    raw = .allocate(byteCount: SnapshotFrame.rawMax, alignment: 64)
    stored = .allocate(
      byteCount: SnapshotFrame.headerSize + Compressor.bound(SnapshotFrame.rawMax), alignment: 64)
    header = Self.header(database, view, describe(view.words))
    headerBytes = header.encoded()
    seed = headerBytes.withUnsafeBytes { $0.u32($0.count - 4) }
    cursor = view.tree(TreeID(0)).cursor()
    do throws(SnapshotError) {
      digest = try Digest()
      compressor = try Compressor()
    } catch {
      // A class whose init throws runs no deinit.
      raw.deallocate()
      stored.deallocate()
      reader.unpin()
      reader.free()
      throw error
    }
  }

  deinit {
    raw.deallocate()
    stored.deallocate()
    reader.unpin()
    reader.free()
  }

  private static func header(_ database: Database, _ view: SnapshotView, _ store: StoreInformation) -> SnapshotHeader {
    var header = SnapshotHeader()
    header.snapshotID = .random(in: 1...UInt64.max)
    header.storeID = database.identifier
    header.transaction = view.transaction
    header.takenAt_s = UInt64(max(0, time(nil)))
    header.pageSize = database.pageSize
    header.words = view.words
    header.store = store
    header.trees = database.treeNames.prefix(view.treeCount).enumerated().map { i, name in
      SnapshotHeader.Tree(name: name, entries: view.tree(TreeID(UInt8(i))).count)
    }
    return header
  }

  package var progress: SnapshotProgress {
    SnapshotProgress(entries: entries, entriesInAll: header.entries, bytes: position)
  }

  /// True when everything, the trailer included, has been given.
  package var isAtEnd: Bool { stage == .end }

  // MARK: Pieces

  /// The next piece of the file: the header, a frame or the trailer. Valid until the next call; nil at the end.
  package func next() throws(SnapshotError) -> UnsafeRawBufferPointer? {
    switch stage {
    case .header:
      stage = .frames
      try firstRecord()
      return try give(headerBytes)
    case .frames:
      try notePoint()
      if let frame = try nextFrame() { return frame }
      stage = .trailer
      return try next()
    case .trailer:
      stage = .end
      let trailer = SnapshotTrailer(
        frames: frames, entries: entries, rawBytes: rawBytes, fileBytes: position + UInt64(SnapshotTrailer.size))
      let start = trailer.encodedStart()
      try start.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
      return given(start + (try digest.value()))
    case .end: return nil
    }
  }

  private func give(_ bytes: [UInt8]) throws(SnapshotError) -> UnsafeRawBufferPointer {
    try bytes.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    return given(bytes)
  }

  private func given(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
    // A header may be longer than a frame's room only if its membership is; both fit by construction.
    precondition(bytes.count <= stored.count)
    stored.copyBytes(from: bytes)
    position += UInt64(bytes.count)
    return UnsafeRawBufferPointer(rebasing: stored[..<bytes.count])
  }

  private func nextFrame() throws(SnapshotError) -> UnsafeRawBufferPointer? {
    var used = 0
    var first = SnapshotFrame.noRecord
    var begun: UInt32 = 0
    while used < raw.count, !head.isEmpty {
      if recordOffset == 0 {
        if first == SnapshotFrame.noRecord { first = UInt32(used) }
        begun += 1
      }
      used += copyRecord(to: UnsafeMutableRawBufferPointer(rebasing: raw[used...]))
      if recordOffset == head.count + value.count { try nextRecord() }
    }
    guard used > 0 else { return nil }
    let room = UnsafeMutableRawBufferPointer(rebasing: stored[SnapshotFrame.headerSize...])
    let size = try compressor.compress(UnsafeRawBufferPointer(rebasing: raw[..<used]), into: room)
    let frame = SnapshotFrame(
      number: frames, rawLength: used, storedLength: size, firstRecord: first, records: begun,
      dataChecksum: checksum(UnsafeRawBufferPointer(room)[..<size]))
    frame.encode(into: stored, seed: seed)
    let bytes = UnsafeRawBufferPointer(rebasing: stored[..<(SnapshotFrame.headerSize + size)])
    try digest.update(bytes)
    frames += 1
    entries += UInt64(begun)
    rawBytes += UInt64(used)
    position += UInt64(bytes.count)
    return bytes
  }

  /// As much of the record under way as `out` has room for.
  private func copyRecord(to out: UnsafeMutableRawBufferPointer) -> Int {
    var copied = 0
    if recordOffset < head.count {
      copied = min(out.count, head.count - recordOffset)
      out.copyBytes(from: head[recordOffset..<(recordOffset + copied)])
    }
    let start = recordOffset + copied - head.count
    if start >= 0, copied < out.count, start < value.count {
      let count = min(out.count - copied, value.count - start)
      UnsafeMutableRawBufferPointer(rebasing: out[copied...]).copyMemory(
        from: UnsafeRawBufferPointer(rebasing: value[start..<(start + count)]))
      copied += count
    }
    recordOffset += copied
    return copied
  }

  // MARK: Records

  private func firstRecord() throws(SnapshotError) {
    tree = 0
    cursor = view.tree(TreeID(0)).cursor()
    let found: Bool
    do { found = try cursor.first() } catch { throw .database(error) }
    try take(found)
  }

  private func nextRecord() throws(SnapshotError) {
    let found: Bool
    do { found = try cursor.next() } catch { throw .database(error) }
    try take(found)
  }

  /// Takes the record that the cursor found, or the first of the following trees.
  private func take(_ isFound: Bool) throws(SnapshotError) {
    recordOffset = 0
    do throws(DatabaseError) {
      var found = isFound
      while !found, tree + 1 < header.trees.count {
        tree += 1
        cursor = view.tree(TreeID(UInt8(tree))).cursor()
        found = try cursor.first()
      }
      head.removeAll(keepingCapacity: true)
      value = UnsafeRawBufferPointer(start: nil, count: 0)
      guard found else { return }
      value = try cursor.value
      let key = try cursor.key
      head.append(contentsOf: repeatElement(0, count: RecordHead.size))
      let start = RecordHead(tree: tree, keyLength: key.count, valueLength: value.count)
      head.withUnsafeMutableBytes { start.encode(into: $0) }
      head.append(contentsOf: key)
    } catch {
      throw .database(error)
    }
  }

  // MARK: Going back

  private func notePoint() throws(SnapshotError) {
    guard frames % pointStride == 0, frames > (points.last?.frames ?? 0) || points.isEmpty else { return }
    points.append(
      Point(
        position: position, frames: frames, entries: entries, rawBytes: rawBytes, digest: try digest.copy(), tree: tree,
        key: Array(head.dropFirst(RecordHead.size)), recordOffset: recordOffset))
    guard points.count >= Self.pointsMax else { return }
    pointStride *= 2
    points.removeAll { $0.frames % pointStride != 0 }
  }

  /// Moves so that `next` gives the piece that holds byte `offset`, or one before it. O(frames between two points).
  package func seek(to offset: UInt64) throws(SnapshotError) {
    guard let point = points.last(where: { $0.position <= offset }) else {
      position = 0
      frames = 0
      entries = 0
      rawBytes = 0
      digest = try Digest()
      stage = .header
      return
    }
    position = point.position
    frames = point.frames
    entries = point.entries
    rawBytes = point.rawBytes
    digest = try point.digest.copy()
    stage = .frames
    tree = point.tree
    cursor = view.tree(TreeID(UInt8(tree))).cursor()
    guard !point.key.isEmpty else {
      head.removeAll(keepingCapacity: true)
      return
    }
    do throws(DatabaseError) {
      _ = try point.key.withBytes { (key) throws(DatabaseError) in try cursor.seek(key) }
    } catch { throw .database(error) }
    try take(true)
    recordOffset = point.recordOffset
  }
}
