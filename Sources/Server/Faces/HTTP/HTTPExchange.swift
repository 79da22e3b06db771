// A request of the HTTP face whose body is still coming or whose answer is still due. The reactor's thread alone touches it.
import NeedletailBytes
import NeedletailRPC

/// What hangs on an HTTP connection's record once it has had a request for the gateway.
final class HTTPConnection {
  var exchange: HTTPExchange?
  /// Numbers the exchanges, so that a late answer of one is not taken for the next one's.
  var lastNumber: UInt32 = 0

  static func of(_ connection: ConnectionPointer) -> HTTPConnection? {
    guard connection.pointee.face == Faces.Kind.http,
      let pointer = UnsafeRawPointer(bitPattern: UInt(connection.pointee.faceState))
    else { return nil }
    return Unmanaged<HTTPConnection>.fromOpaque(pointer).takeUnretainedValue()
  }

  static func made(for connection: ConnectionPointer) -> HTTPConnection {
    if let found = of(connection) { return found }
    let made = HTTPConnection()
    connection.pointee.faceState = UInt64(UInt(bitPattern: Unmanaged.passRetained(made).toOpaque()))
    return made
  }

  /// Takes it off the connection.
  static func removed(from connection: ConnectionPointer) -> HTTPConnection? {
    guard connection.pointee.face == Faces.Kind.http,
      let pointer = UnsafeRawPointer(bitPattern: UInt(connection.pointee.faceState))
    else { return nil }
    connection.pointee.faceState = 0
    return Unmanaged<HTTPConnection>.fromOpaque(pointer).takeRetainedValue()
  }
}

/// How an answer goes back: what of the request's head it depends on.
struct HTTPManner {
  var keepsAlive = true
  var isHead = false
  /// Answers may come in chunks.
  var takesChunks = true
  /// What Access-Control-Allow-Origin says, if anything.
  var allowedOrigin: String?
}

final class HTTPExchange {
  enum Phase {
    /// The body is not whole.
    case body
    /// Another thread answers.
    case waiting
    /// Answers come as long as the client likes.
    case streaming
    /// The answer is made in pieces.
    case pieces(GatewayPieces)
  }

  let number: UInt32
  let route: GatewayRoute
  var rpc: RPC { route.rpc }
  let manner: HTTPManner
  let startedAt_ns: UInt64
  var phase = Phase.body
  var reader: HTTPBodyReader
  /// What of the body came and is not read yet.
  var text = OutBuffer.refusable
  /// The answer's head is out.
  var hasBegun = false

  /// Of a watch or an observer: who answers.
  var answers: ResponseStream?
  /// Bytes of answers that have not left the connection's buffers.
  var unsentBytes = 0
  /// Of an observer or a snapshot: its only message has come.
  var isAsked = false
  /// Of a snapshot: what was asked for last, or will be next when what came has left.
  var snapshot: SnapshotRequest?
  /// Messages that are answered one by one and are not answered yet.
  var waiting = 0

  init(
    _ number: UInt32, _ route: GatewayRoute, _ manner: HTTPManner, _ body: HTTPRequestHead.BodyLength,
    startedAt_ns: UInt64
  ) {
    self.number = number
    self.route = route
    self.manner = manner
    self.startedAt_ns = startedAt_ns
    reader = HTTPBodyReader(body)
  }

  deinit { text.free() }
}
