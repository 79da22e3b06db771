// A snapshot file record by record. Nothing it gives can be trusted to be all there is until it has come to the end:
// only there are totals and digest compared.

import Glibc
import NeedletailBackend

/// Used by one thread. Memory: two frames, and the longest value.
public final class SnapshotReader {
  public var header: SnapshotHeader { frames.header }
  /// Of the whole file; empty until the end was read.
  public var digest: [UInt8] { frames.fileDigest }
  /// Bytes of the file read so far.
  public var position: UInt64 { frames.position }
  /// Records read so far.
  public private(set) var entries: UInt64 = 0

  private let frames: FrameReader
  private let decompressor: Decompressor
  private let raw: UnsafeMutableRawBufferPointer
  private var rawCount = 0
  private var rawPosition = 0
  private var rawBytes: UInt64 = 0
  /// Records that began in the frame under way, and where the first did.
  private var begun: UInt32 = 0
  private var firstRecord = SnapshotFrame.noRecord
  /// A record that does not lie in one frame is put together here.
  private var assembled: [UInt8] = []
  private var lastKey: [UInt8] = []
  private var lastTree = -1
  private var treeEntries: [UInt64]
  private static let keyMax = 65536 / 4

  /// Opens the file and reads its header. Throws `notASnapshot`, `unsupportedVersion`, `damaged`, `io`.
  public init(_ path: String) throws(SnapshotError) {
    frames = try FrameReader(path)
    decompressor = try Decompressor()
    treeEntries = [UInt64](repeating: 0, count: frames.header.trees.count)
    raw = .allocate(byteCount: SnapshotFrame.rawMax, alignment: 64)
  }

  deinit { raw.deallocate() }

  /// Reads to the end; throws where anything is not as it was written.
  public func verify(progress: ((SnapshotProgress) -> Bool)? = nil) throws(SnapshotError) {
    while try next({ (_, _, _) throws(SnapshotError) in }) {
      if let progress, entries % 4096 == 0, !progress(self.progress) { throw .cancelled }
    }
  }

  public var progress: SnapshotProgress {
    SnapshotProgress(entries: entries, entriesInAll: header.entries, bytes: position)
  }

  /// Gives the next record to `body`, as its tree's place in `header.trees`, key and value: bytes that are valid in
  /// `body` only. False at the end, when the whole file was found sound.
  public func next(
    _ body: (_ tree: Int, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(SnapshotError) -> Void
  ) throws(SnapshotError) -> Bool {
    while rawPosition == rawCount {
      guard try nextFrame() else { return false }
    }
    if firstRecord == SnapshotFrame.noRecord { firstRecord = UInt32(rawPosition) }
    begun += 1
    // Mostly the whole record lies in this frame.
    let left = UnsafeRawBufferPointer(rebasing: raw[rawPosition..<rawCount])
    if left.count >= RecordHead.size {
      let head = RecordHead(left)
      let size = RecordHead.size + head.keyLength + head.valueLength
      if size <= left.count {
        rawPosition += size
        try take(head, UnsafeRawBufferPointer(rebasing: left[..<size]), body)
        return true
      }
    }
    try assemble(body)
    return true
  }

  private func damaged(_ damage: SnapshotError.Damage) -> SnapshotError {
    .damaged(damage, offset: frames.frameOffset)
  }

  /// Puts a record together that goes on in the following frames. It grows with what is there, not with what its head
  /// claims.
  private func assemble(
    _ body: (Int, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(SnapshotError) -> Void
  ) throws(SnapshotError) {
    assembled.removeAll(keepingCapacity: true)
    try gather(RecordHead.size)
    let head = assembled.withUnsafeBytes { RecordHead($0) }
    try check(head)
    try gather(RecordHead.size + head.keyLength + head.valueLength)
    try assembled.withBytes { (bytes) throws(SnapshotError) in try take(head, bytes, body) }
    if assembled.capacity > 4 << 20 { assembled = [] }
  }

  private func gather(_ size: Int) throws(SnapshotError) {
    while assembled.count < size {
      if rawPosition == rawCount {
        guard try nextFrame() else { throw damaged(.records) }
      }
      let count = min(size - assembled.count, rawCount - rawPosition)
      assembled.append(contentsOf: UnsafeRawBufferPointer(rebasing: raw[rawPosition..<(rawPosition + count)]))
      rawPosition += count
    }
  }

  private func check(_ head: RecordHead) throws(SnapshotError) {
    guard head.tree < treeEntries.count, head.tree >= lastTree, head.keyLength >= 1, head.keyLength <= Self.keyMax,
      head.valueLength <= Int(Int32.max)
    else { throw damaged(.records) }
  }

  private func take(
    _ head: RecordHead, _ bytes: UnsafeRawBufferPointer,
    _ body: (Int, UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(SnapshotError) -> Void
  ) throws(SnapshotError) {
    try check(head)
    let valueAt = RecordHead.size + head.keyLength
    let key = UnsafeRawBufferPointer(rebasing: bytes[RecordHead.size..<valueAt])
    if head.tree == lastTree {
      guard lastKey.withUnsafeBytes({ compareKeys($0, key) }) < 0 else { throw damaged(.records) }
    }
    lastTree = head.tree
    lastKey.removeAll(keepingCapacity: true)
    lastKey.append(contentsOf: key)
    treeEntries[head.tree] += 1
    entries += 1
    try body(head.tree, key, UnsafeRawBufferPointer(rebasing: bytes[valueAt...]))
  }

  /// False at the end of the file.
  private func nextFrame() throws(SnapshotError) -> Bool {
    try checkFrame()
    guard let stored = try frames.next() else {
      try checkTotals()
      return false
    }
    rawCount = frames.frame.rawLength
    rawPosition = 0
    rawBytes += UInt64(rawCount)
    guard decompressor.decompress(stored, into: UnsafeMutableRawBufferPointer(rebasing: raw[..<rawCount])) else {
      throw damaged(.compression)
    }
    begun = 0
    firstRecord = SnapshotFrame.noRecord
    return true
  }

  /// What a frame's header says of its records must be so: those who start in the middle rely on it.
  private func checkFrame() throws(SnapshotError) {
    guard frames.frames > 0 else { return }
    guard frames.frame.records == begun, frames.frame.firstRecord == firstRecord else { throw damaged(.records) }
  }

  private func checkTotals() throws(SnapshotError) {
    guard let trailer = frames.trailer, trailer.entries == entries, trailer.rawBytes == rawBytes,
      zip(treeEntries, header.trees).allSatisfy({ $0 == $1.entries })
    else { throw damaged(.totals) }
  }
}
