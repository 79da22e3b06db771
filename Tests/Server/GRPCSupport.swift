// A gRPC client that says HTTP/2 byte by byte, so that it can also say what no honest client would.
import CNghttp2
import Foundation
import NeedletailRPC
import NeedletailServer

struct HTTP2Frame {
  enum Kind {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let window: UInt8 = 8
    static let continuation: UInt8 = 9
  }

  var kind: UInt8
  var flags: UInt8 = 0
  var stream: UInt32 = 0
  var payload: [UInt8] = []

  var bytes: [UInt8] {
    let length = payload.count
    return [UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), kind, flags] + bigEndian(stream)
      + payload
  }
}

func bigEndian(_ number: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }

/// A header field as a literal that is not to be indexed, without Huffman's code.
func literal(_ name: String, _ value: String) -> [UInt8] {
  func text(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    if bytes.count < 127 { return [UInt8(bytes.count)] + bytes }
    var rest = bytes.count - 127
    var length: [UInt8] = [127]
    while rest >= 128 {
      length.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    return length + [UInt8(rest)] + bytes
  }
  return [0] + text(name) + text(value)
}

func grpcHead(_ path: String, _ more: [(String, String)] = [], type: String = "application/grpc") -> [UInt8] {
  let fields = [
    (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("content-type", type),
    ("te", "trailers"),
  ]
  return (fields + more).flatMap { literal($0.0, $0.1) }
}

func grpcMessage(_ body: [UInt8], packed: Bool = false) -> [UInt8] {
  [packed ? 1 : 0] + bigEndian(UInt32(body.count)) + body
}

/// What came on a stream.
struct GRPCAnswer {
  var fields: [String: String] = [:]
  var data: [UInt8] = []
  var isEnded = false
  var resetCode: UInt32?

  var status: Int? { fields["grpc-status"].flatMap(Int.init) }
  var text: String { fields["grpc-message"]?.removingPercentEncoding ?? "" }
  var messages: [[UInt8]] {
    var rest = data[...]
    var found: [[UInt8]] = []
    while rest.count >= 5 {
      let count = rest.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
      guard rest.count >= 5 + count else { break }
      found.append(Array(rest.dropFirst(5).prefix(count)))
      rest = rest.dropFirst(5 + count)
    }
    return found
  }
}

final class GRPCSocket {
  let socket: PlainSocket
  private let inflater: OpaquePointer
  private(set) var answers: [UInt32: GRPCAnswer] = [:]
  private(set) var goAway: (code: UInt32, text: String)?
  private(set) var pongs = 0
  var opensWindows = true
  private var nextStream: UInt32 = 1

  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  init(_ server: RunningServer, window: UInt32 = 65_535) throws {
    socket = try PlainSocket(server.port)
    var made: OpaquePointer?
    nghttp2_hd_inflate_new(&made)
    inflater = made!
    let settings: [UInt8] = [0, 4] + bigEndian(window)
    try socket.send(Self.preface + HTTP2Frame(kind: HTTP2Frame.Kind.settings, payload: settings).bytes)
  }

  deinit { nghttp2_hd_inflate_del(inflater) }

  func send(_ frames: HTTP2Frame...) throws { try socket.send(frames.flatMap(\.bytes)) }

  /// Opens a stream; with a message, and an end, unless told otherwise.
  @discardableResult
  func open(
    _ path: String, _ body: [UInt8]? = nil, _ more: [(String, String)] = [], isEnd: Bool = true, packed: Bool = false
  ) throws -> UInt32 {
    let id = nextStream
    nextStream += 2
    try socket.send(request(id, path, body, more, isEnd: isEnd, packed: packed))
    return id
  }

  func request(
    _ id: UInt32, _ path: String, _ body: [UInt8]?, _ more: [(String, String)] = [], isEnd: Bool = true,
    packed: Bool = false
  ) -> [UInt8] {
    let head = HTTP2Frame(
      kind: HTTP2Frame.Kind.headers, flags: body == nil && isEnd ? 5 : 4, stream: id, payload: grpcHead(path, more))
    guard let body else { return head.bytes }
    return head.bytes + data(id, grpcMessage(body, packed: packed), isEnd: isEnd)
  }

  func data(_ id: UInt32, _ bytes: [UInt8], isEnd: Bool) -> [UInt8] {
    var frames: [UInt8] = []
    var rest = bytes[...]
    repeat {
      let piece = Array(rest.prefix(16_384))
      rest = rest.dropFirst(piece.count)
      frames +=
        HTTP2Frame(
          kind: HTTP2Frame.Kind.data, flags: isEnd && rest.isEmpty ? 1 : 0, stream: id, payload: piece
        ).bytes
    } while !rest.isEmpty
    return frames
  }

  func message(_ id: UInt32, _ body: [UInt8], isEnd: Bool = false) throws {
    try socket.send(data(id, grpcMessage(body), isEnd: isEnd))
  }

  /// Takes the next frame in. Nil at the end of the connection.
  @discardableResult
  func step() throws -> HTTP2Frame? {
    guard let first = try? socket.receive(atMost: 1), !first.isEmpty else { return nil }
    guard let rest = try? socket.receive(exactly: 8) else { return nil }
    let head = first + rest
    let count = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
    let stream = head[5...].reduce(0) { $0 << 8 | UInt32($1) }
    guard let payload = try? socket.receive(exactly: count) else { return nil }
    let frame = HTTP2Frame(kind: head[3], flags: head[4], stream: stream, payload: payload)
    // What is said back may find the server gone; what it has sent is still read.
    try? take(frame)
    return frame
  }

  private func take(_ frame: HTTP2Frame) throws {
    let id = frame.stream
    switch frame.kind {
    case HTTP2Frame.Kind.settings where frame.flags & 1 == 0:
      try send(HTTP2Frame(kind: HTTP2Frame.Kind.settings, flags: 1))
    case HTTP2Frame.Kind.headers:
      for (name, value) in inflate(frame.payload) { answers[id, default: GRPCAnswer()].fields[name] = value }
    case HTTP2Frame.Kind.data:
      answers[id, default: GRPCAnswer()].data += frame.payload
      if opensWindows, !frame.payload.isEmpty { try open(window: UInt32(frame.payload.count), id) }
    case HTTP2Frame.Kind.reset:
      answers[id, default: GRPCAnswer()].resetCode = frame.payload.reduce(0) { $0 << 8 | UInt32($1) }
    case HTTP2Frame.Kind.ping where frame.flags & 1 == 1: pongs += 1
    case HTTP2Frame.Kind.goAway:
      let code = frame.payload[4..<8].reduce(0) { $0 << 8 | UInt32($1) }
      goAway = (code, String(decoding: frame.payload[8...], as: UTF8.self))
    default: break
    }
    if frame.kind <= 1, frame.flags & 1 == 1 { answers[id, default: GRPCAnswer()].isEnded = true }
  }

  func open(window: UInt32, _ id: UInt32) throws {
    try send(
      HTTP2Frame(kind: HTTP2Frame.Kind.window, stream: 0, payload: bigEndian(window)),
      HTTP2Frame(kind: HTTP2Frame.Kind.window, stream: id, payload: bigEndian(window)))
  }

  private func inflate(_ bytes: [UInt8]) -> [(String, String)] {
    var fields: [(String, String)] = []
    var at = 0
    while at < bytes.count {
      var field = nghttp2_nv()
      var flags: Int32 = 0
      let used = bytes.withUnsafeBufferPointer {
        nghttp2_hd_inflate_hd2(inflater, &field, &flags, $0.baseAddress! + at, bytes.count - at, 1)
      }
      guard used >= 0 else { break }
      at += Int(used)
      if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
        fields.append(
          (
            String(decoding: UnsafeBufferPointer(start: field.name, count: field.namelen), as: UTF8.self),
            String(decoding: UnsafeBufferPointer(start: field.value, count: field.valuelen), as: UTF8.self)
          ))
      }
      if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 {
        nghttp2_hd_inflate_end_headers(inflater)
        break
      }
    }
    return fields
  }

  /// The whole answer on a stream.
  func answer(_ id: UInt32) throws -> GRPCAnswer {
    while answers[id]?.isEnded != true, answers[id]?.resetCode == nil {
      guard try step() != nil else { throw SocketError(what: "the connection ended before stream \(id)", code: 0) }
    }
    return answers[id] ?? GRPCAnswer()
  }

  /// The stream's next messages, once there are so many.
  func messages(_ id: UInt32, _ count: Int) throws -> [[UInt8]] {
    while (answers[id]?.messages.count ?? 0) < count, answers[id]?.isEnded != true {
      guard try step() != nil else { throw SocketError(what: "the connection ended before stream \(id)", code: 0) }
    }
    return answers[id]?.messages ?? []
  }

  func call(_ path: String, _ body: [UInt8], _ more: [(String, String)] = []) throws -> GRPCAnswer {
    try answer(try open(path, body, more))
  }

  /// Until the server has closed the connection.
  func drain() throws { while try step() != nil {} }
}

enum GRPCPath {
  static let range = "/etcdserverpb.KV/Range"
  static let put = "/etcdserverpb.KV/Put"
  static let watch = "/etcdserverpb.Watch/Watch"
  static let keepAlive = "/etcdserverpb.Lease/LeaseKeepAlive"
  static let grant = "/etcdserverpb.Lease/LeaseGrant"
  static let rangeStream = "/etcdserverpb.KV/RangeStream"
  static let snapshot = "/etcdserverpb.Maintenance/Snapshot"
  static let lock = "/v3lockpb.Lock/Lock"
}
