// A snapshot file frame by frame, everything checked that can be without decompressing: headers, checksums, order, the
// trailer and the digest of the whole.

import Glibc
import NeedletailBackend

/// Used by one thread. Memory: one frame.
final class FrameReader {
  let header: SnapshotHeader
  /// The frame read last.
  private(set) var frame = SnapshotFrame(
    number: 0, rawLength: 0, storedLength: 0, firstRecord: 0, records: 0, dataChecksum: 0)
  /// Bytes read and found sound: where the frame read last ends.
  private(set) var position: UInt64
  /// Where the frame read last begins.
  private(set) var frameOffset: UInt64 = 0
  private(set) var frames: UInt32 = 0
  /// Nil until the end was read.
  private(set) var trailer: SnapshotTrailer?
  private(set) var fileDigest: [UInt8] = []
  private let path: String
  private let descriptor: Int32
  private let seed: UInt32
  private let digest: Digest
  private let stored: UnsafeMutableRawBufferPointer

  init(_ path: String) throws(SnapshotError) {
    self.path = path
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .io(operation: "open", path: path, errno: errno) }
    do throws(SnapshotError) {
      let digest = try Digest()
      let bytes = try Self.readHeader(descriptor, path)
      try bytes.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
      header = try bytes.withBytes { (bytes) throws(SnapshotError) in try SnapshotHeader(decoding: bytes) }
      seed = bytes.withUnsafeBytes { $0.u32($0.count - 4) }
      position = UInt64(bytes.count)
      self.digest = digest
    } catch {
      Glibc.close(descriptor)
      throw error
    }
    self.descriptor = descriptor
    stored = .allocate(byteCount: Compressor.bound(SnapshotFrame.rawMax), alignment: 64)
  }

  deinit {
    stored.deallocate()
    Glibc.close(descriptor)
  }

  private static func readHeader(_ descriptor: Int32, _ path: String) throws(SnapshotError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: SnapshotHeader.startSize)
    let count = try read(descriptor, path, &bytes, from: 0)
    let size = try bytes.withBytes { (bytes) throws(SnapshotError) in try SnapshotHeader.size(start: bytes) }
    guard count == bytes.count, let size else { throw .notASnapshot(path: path) }
    bytes += [UInt8](repeating: 0, count: size - bytes.count)
    guard try read(descriptor, path, &bytes, from: SnapshotHeader.startSize) == bytes.count - SnapshotHeader.startSize
    else { throw .damaged(.truncated, offset: 0) }
    return bytes
  }

  private static func read(
    _ descriptor: Int32, _ path: String, _ bytes: inout [UInt8], from start: Int
  ) throws(SnapshotError) -> Int {
    try bytes.withMutableBytes { (bytes) throws(SnapshotError) in
      try read(descriptor, path, UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
    }
  }

  /// Fills `out`, or as much of it as the file has.
  private static func read(
    _ descriptor: Int32, _ path: String, _ out: UnsafeMutableRawBufferPointer
  ) throws(SnapshotError) -> Int {
    var filled = 0
    while filled < out.count {
      let count = Glibc.read(descriptor, out.baseAddress.map { $0 + filled }, out.count - filled)
      if count < 0 {
        if errno == EINTR { continue }
        throw .io(operation: "read", path: path, errno: errno)
      }
      if count == 0 { break }
      filled += count
    }
    return filled
  }

  /// The compressed bytes of the next frame, valid until the next call; nil when the whole file was sound.
  func next() throws(SnapshotError) -> UnsafeRawBufferPointer? {
    if trailer != nil { return nil }
    frameOffset = position
    let damaged = { (damage: SnapshotError.Damage) in SnapshotError.damaged(damage, offset: self.frameOffset) }
    var bytes = [UInt8](repeating: 0, count: SnapshotFrame.headerSize)
    guard try Self.read(descriptor, path, &bytes, from: 0) == bytes.count else { throw damaged(.truncated) }
    if bytes.withUnsafeBytes({ SnapshotTrailer.isTrailer($0) }) {
      try finish(bytes)
      return nil
    }
    // Only the last frame is shorter than the others.
    guard frames == 0 || frame.rawLength == SnapshotFrame.rawMax,
      let found = bytes.withUnsafeBytes({ SnapshotFrame($0, number: frames, seed: seed) })
    else { throw damaged(.frameHeader) }
    let data = UnsafeMutableRawBufferPointer(rebasing: stored[..<found.storedLength])
    guard try Self.read(descriptor, path, data) == data.count else { throw damaged(.truncated) }
    guard checksum(UnsafeRawBufferPointer(data)[...]) == found.dataChecksum else { throw damaged(.frameData) }
    try bytes.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    try digest.update(UnsafeRawBufferPointer(data))
    frame = found
    frames += 1
    position += UInt64(bytes.count + data.count)
    return UnsafeRawBufferPointer(data)
  }

  private func finish(_ start: [UInt8]) throws(SnapshotError) {
    var expected = [UInt8](repeating: 0, count: Digest.size)
    guard try Self.read(descriptor, path, &expected, from: 0) == expected.count else {
      throw .damaged(.truncated, offset: frameOffset)
    }
    let found = start.withUnsafeBytes { SnapshotTrailer($0) }
    try start.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    guard try digest.value() == expected else { throw .damaged(.digest, offset: frameOffset) }
    position += UInt64(SnapshotTrailer.size)
    guard found.frames == frames, found.fileBytes == position else { throw .damaged(.totals, offset: frameOffset) }
    try checkSeal(expected)
    fileDigest = expected
    trailer = found
  }

  /// Behind the trailer is nothing, or the seal of a file that came over etcd's protocol.
  private func checkSeal(_ fileDigest: [UInt8]) throws(SnapshotError) {
    let padding = SnapshotSeal.padding(position)
    var seal = [UInt8](repeating: 0, count: padding + Digest.size + 1)
    let count = try Self.read(descriptor, path, &seal, from: 0)
    if count == 0 { return }
    let zeros = [UInt8](repeating: 0, count: padding)
    let digest = try digest.copy()
    try fileDigest.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    try zeros.withBytes { (bytes) throws(SnapshotError) in try digest.update(bytes) }
    guard count == padding + Digest.size, Array(seal[..<count]) == zeros + (try digest.value()) else {
      throw .damaged(.trailingBytes, offset: position)
    }
  }
}

/// How much of a file whose saving was cut short is sound.
package enum SnapshotPart {
  /// The snapshot it belongs to, and the bytes up to the end of its last whole frame. Nil: nothing to go on with.
  package static func sound(_ path: String) -> (header: SnapshotHeader, bytes: UInt64)? {
    guard let reader = try? FrameReader(path) else { return nil }
    while (try? reader.next()) != nil {}
    // A whole file is no part: what is missing may be only its name, but its frames are sound all the same.
    return (reader.header, reader.trailer == nil ? reader.position : reader.frameOffset)
  }
}
