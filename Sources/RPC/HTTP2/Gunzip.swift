// Unpacks a request's message. What a few bytes can grow to is bounded by whoever asks.
import CZlib
import NeedletailBytes

package enum Gunzip {
  package enum Failure: Error {
    case malformed
    case tooLarge
  }

  /// Appends what `packed` holds, at most `limit` bytes.
  package static func unpack(
    _ packed: UnsafeRawBufferPointer, limit: Int, into out: inout OutBuffer
  ) throws(Failure) {
    var stream = z_stream()
    guard nt_gunzip_begin(&stream) == Z_OK else { throw .malformed }
    defer { inflateEnd(&stream) }
    let mark = out.count
    stream.next_in = UnsafeMutablePointer(
      mutating: packed.baseAddress?.assumingMemoryBound(to: UInt8.self))
    stream.avail_in = UInt32(clamping: packed.count)
    while true {
      // One byte more than may come tells that there is more.
      let room = min(64 << 10, limit + 1 - (out.count - mark))
      guard room > 0 else { throw .tooLarge }
      stream.next_out = out.reserve(room).assumingMemoryBound(to: UInt8.self)
      stream.avail_out = UInt32(room)
      let result = inflate(&stream, Z_NO_FLUSH)
      out.advance(room - Int(stream.avail_out))
      guard out.count - mark <= limit else { throw .tooLarge }
      if result == Z_STREAM_END {
        guard stream.avail_in == 0 else { throw .malformed }
        return
      }
      // Without room used and without an end there is nothing more to read: it was cut.
      guard result == Z_OK, stream.avail_out == 0 || stream.avail_in > 0 else { throw .malformed }
    }
  }
}
