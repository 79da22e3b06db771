// zstd contexts, kept for a whole file: making one costs more than a frame.

import CZstd

final class Compressor {
  /// zstd's own default: three times as fast as level 6 for a few per cent of size.
  static let level: Int32 = 3
  private let context: OpaquePointer

  init() throws(SnapshotError) {
    guard let context = ZSTD_createCCtx() else { throw .library("zstd: out of memory") }
    self.context = context
  }

  deinit { ZSTD_freeCCtx(context) }

  static func bound(_ count: Int) -> Int { ZSTD_compressBound(count) }

  /// Bytes written to `out`, which has `bound(source.count)` of room. The same source gives the same bytes.
  func compress(
    _ source: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer
  ) throws(SnapshotError) -> Int {
    let size = ZSTD_compressCCtx(
      context, out.baseAddress, out.count, source.baseAddress, source.count, Compressor.level)
    guard ZSTD_isError(size) == 0 else { throw .library("zstd: \(String(cString: ZSTD_getErrorName(size)))") }
    return size
  }
}

final class Decompressor {
  private let context: OpaquePointer

  init() throws(SnapshotError) {
    guard let context = ZSTD_createDCtx() else { throw .library("zstd: out of memory") }
    self.context = context
  }

  deinit { ZSTD_freeDCtx(context) }

  /// Whether `source` decompresses to exactly the bytes of `out`.
  func decompress(_ source: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer) -> Bool {
    ZSTD_decompressDCtx(context, out.baseAddress, out.count, source.baseAddress, source.count) == out.count
  }
}
