// Frames and the trailer of a snapshot file.
//
// The data is one stream of records; a frame is a piece of it, compressed by itself. Every frame but the last holds
// exactly `rawMax` bytes, so that neither side ever needs more memory than that for one, whatever a file claims.

import Glibc

/// The 32 bytes before a frame's compressed bytes.
struct SnapshotFrame: Equatable {
  static let headerSize = 32
  /// Bytes of a full frame before compression.
  static let rawMax = 1 << 20
  /// No record begins in the frame.
  static let noRecord = UInt32.max
  /// "NTFR"
  private static let magic: UInt32 = 0x5246_544E

  /// Counts from 0: a frame in another's place is noticed.
  var number: UInt32
  var rawLength: Int
  var storedLength: Int
  /// Offset in the raw bytes of the first record that begins in this frame: where to start reading in the middle of a
  /// file.
  var firstRecord: UInt32
  /// Records that begin in this frame.
  var records: UInt32
  /// CRC-32C of the compressed bytes.
  var dataChecksum: UInt32

  /// `seed` is the file header's checksum: a frame of another file does not fit.
  func encode(into out: UnsafeMutableRawBufferPointer, seed: UInt32) {
    out.put(Self.magic, 0)
    out.put(number, 4)
    out.put(UInt32(rawLength), 8)
    out.put(UInt32(storedLength), 12)
    out.put(firstRecord, 16)
    out.put(records, 20)
    out.put(dataChecksum, 24)
    out.put(checksum(UnsafeRawBufferPointer(out)[..<28], seed: seed), 28)
  }

  static func isFrame(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.u32(0) == magic }

  /// Nil where the bytes are no sound header of frame `number`.
  init?(_ bytes: UnsafeRawBufferPointer, number: UInt32, seed: UInt32) {
    guard bytes.count >= Self.headerSize, Self.isFrame(bytes), bytes.u32(28) == checksum(bytes[..<28], seed: seed)
    else { return nil }
    self.number = bytes.u32(4)
    rawLength = Int(bytes.u32(8))
    storedLength = Int(bytes.u32(12))
    firstRecord = bytes.u32(16)
    records = bytes.u32(20)
    dataChecksum = bytes.u32(24)
    guard self.number == number, rawLength >= 1, rawLength <= Self.rawMax, storedLength >= 1,
      storedLength <= Compressor.bound(Self.rawMax), firstRecord == Self.noRecord || Int(firstRecord) < rawLength
    else { return nil }
  }

  init(number: UInt32, rawLength: Int, storedLength: Int, firstRecord: UInt32, records: UInt32, dataChecksum: UInt32) {
    self.number = number
    self.rawLength = rawLength
    self.storedLength = storedLength
    self.firstRecord = firstRecord
    self.records = records
    self.dataChecksum = dataChecksum
  }
}

/// The last 64 bytes of a file.
struct SnapshotTrailer: Equatable {
  static let size = 64
  /// The part that the digest covers.
  static let digestOffset = 32
  /// "NTEN"
  private static let magic: UInt32 = 0x4E45_544E

  var frames: UInt32
  var entries: UInt64
  /// Bytes before compression.
  var rawBytes: UInt64
  /// Bytes of the file, the trailer included.
  var fileBytes: UInt64

  /// Without the digest.
  func encodedStart() -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Self.digestOffset)
    bytes.withUnsafeMutableBytes { out in
      out.put(Self.magic, 0)
      out.put(frames, 4)
      out.put(entries, 8)
      out.put(rawBytes, 16)
      out.put(fileBytes, 24)
    }
    return bytes
  }

  static func isTrailer(_ bytes: UnsafeRawBufferPointer) -> Bool { bytes.u32(0) == magic }

  init(_ bytes: UnsafeRawBufferPointer) {
    frames = bytes.u32(4)
    entries = bytes.u64(8)
    rawBytes = bytes.u64(16)
    fileBytes = bytes.u64(24)
  }

  init(frames: UInt32, entries: UInt64, rawBytes: UInt64, fileBytes: UInt64) {
    self.frames = frames
    self.entries = entries
    self.rawBytes = rawBytes
    self.fileBytes = fileBytes
  }
}

/// What stands before each record's key and value.
struct RecordHead {
  /// tree u8 · key length u16 · value length u32
  static let size = 7

  var tree: Int
  var keyLength: Int
  var valueLength: Int

  func encode(into out: UnsafeMutableRawBufferPointer) {
    out[0] = UInt8(truncatingIfNeeded: tree)
    out.put(UInt16(truncatingIfNeeded: keyLength), 1)
    out.put(UInt32(truncatingIfNeeded: valueLength), 3)
  }

  init(_ bytes: UnsafeRawBufferPointer) {
    tree = Int(bytes[0])
    keyLength = Int(bytes.u16(1))
    valueLength = Int(bytes.u32(3))
  }

  init(tree: Int, keyLength: Int, valueLength: Int) {
    self.tree = tree
    self.keyLength = keyLength
    self.valueLength = valueLength
  }
}
