// The open streams of one connection of the native face. The reactor's thread alone touches them.
import NeedletailRPC

/// Hangs on the connection's record as long as a stream is open.
final class NativeStreams {
  final class Entry {
    let rpc: RPC
    let startedAt_ns: UInt64
    /// Of a watch or an observer: who answers.
    let answers: ResponseStream?
    /// Bytes of answers that have not left the connection's buffers.
    var unsentBytes = 0
    /// Messages that are answered one by one and are not answered yet.
    var waiting = 0
    /// Its only message has come.
    var hasBegun = false
    /// The client sends no more.
    var hasClientEnded = false
    /// Ended by an error: what the client still sends is thrown away, so that it opens no new stream.
    var hasFailed = false

    init(_ rpc: RPC, startedAt_ns: UInt64, answers: ResponseStream?) {
      self.rpc = rpc
      self.startedAt_ns = startedAt_ns
      self.answers = answers
    }
  }

  var entries: [UInt32: Entry] = [:]

  /// Those of the connection, if it has any.
  @inline(__always)
  static func of(_ connection: ConnectionPointer) -> NativeStreams? {
    guard connection.pointee.face == Faces.Kind.native,
      let pointer = UnsafeRawPointer(bitPattern: UInt(connection.pointee.faceState))
    else { return nil }
    return Unmanaged<NativeStreams>.fromOpaque(pointer).takeUnretainedValue()
  }

  static func made(for connection: ConnectionPointer) -> NativeStreams {
    if let found = of(connection) { return found }
    let made = NativeStreams()
    connection.pointee.faceState = UInt64(UInt(bitPattern: Unmanaged.passRetained(made).toOpaque()))
    return made
  }

  /// Takes them off the connection.
  static func removed(from connection: ConnectionPointer) -> NativeStreams? {
    guard connection.pointee.face == Faces.Kind.native,
      let pointer = UnsafeRawPointer(bitPattern: UInt(connection.pointee.faceState))
    else { return nil }
    connection.pointee.faceState = 0
    return Unmanaged<NativeStreams>.fromOpaque(pointer).takeRetainedValue()
  }
}
