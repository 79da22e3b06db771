// A whole server in this process, and a plain socket to speak to it byte by byte.
import Foundation
import Glibc
import Logging
import NeedletailRPC
import NeedletailServer

/// Sendable: set up and torn down by the test's thread.
final class RunningServer: @unchecked Sendable {
  private let temporary: TemporaryDirectory
  let path: String
  let node: Node
  let reactors: ReactorThreads
  let group: ReactorGroup
  let port: UInt16
  let transports: [String]
  let metrics: [ThreadMetrics]
  private let lock = NSLock()
  private var isStopped = false

  /// On a directory of its own unless one is given.
  init(
    _ kind: ReactorKind, reactors count: Int = 2, limits: ReactorLimits = ReactorLimits(), directory: String? = nil,
    port wanted: UInt16 = 0, http: HTTPOptions = HTTPOptions(), http2: HTTP2Limits = HTTP2Limits(),
    _ adjust: (inout NodeOptions) -> Void = { _ in }
  ) throws {
    temporary = try TemporaryDirectory()
    path = directory ?? temporary.path
    var nodeOptions = NodeOptions(dataDirectory: path)
    adjust(&nodeOptions)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    group = try ReactorGroup(count: count)
    node = try Node(nodeOptions, sink: ReactorSink(group), logger: logger) { _ in }
    var options = ReactorOptions()
    options.kind = kind
    options.count = count
    options.addresses = [.tcp(host: "127.0.0.1", port: wanted)]
    options.limits = limits
    reactors = try ReactorThreads(options, group: group, logger: logger)
    port = UInt16(reactors.ports[0])
    let figures = ServerFigures()
    figures.sample(node.database)
    metrics = (0..<count).map { _ in ThreadMetrics() }
    let page = MetricsPage(
      node.status, figures: figures, group: group, threads: metrics, quotaBytes: 0,
      watch: node.watch.figures)
    let context = FaceContext(
      server: node.server, metrics: page, figures: figures, latch: node.latch, logger: logger,
      requestBytesMax: 1_572_864, slowRequest_ms: 300, http2: http2, http: http)
    try node.start()
    transports = try reactors.start(context, metrics: metrics) { _ in }
  }

  func stop(within_ms: Int32 = 2_000) {
    lock.lock()
    defer { lock.unlock() }
    guard !isStopped else { return }
    isStopped = true
    reactors.stop(within_ms: within_ms)
    node.stop()
    group.free()
    for threadMetrics in metrics { threadMetrics.free() }
  }

  deinit { stop() }
}

struct SocketError: Error {
  let what: String
  let code: Int32
}

/// A blocking loopback socket with a time limit.
final class PlainSocket {
  private let descriptor: Int32

  init(_ port: UInt16) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if rc != 0 { throw SocketError(what: "connect", code: errno) }
    var time = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) throws {
    var at = 0
    while at < bytes.count {
      let n = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress.map { $0 + at }, bytes.count - at, Int32(MSG_NOSIGNAL))
      }
      if n < 0, errno == EINTR { continue }
      if n < 0 { throw SocketError(what: "send", code: errno) }
      at += n
    }
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  func receive(atMost count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var n = recv(descriptor, &bytes, count, 0)
    while n < 0, errno == EINTR { n = recv(descriptor, &bytes, count, 0) }
    if n < 0 { throw SocketError(what: "recv", code: errno) }
    return Array(bytes[..<n])
  }

  func receive(exactly count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      let more = try receive(atMost: count - bytes.count)
      if more.isEmpty { throw SocketError(what: "end after \(bytes.count) bytes", code: 0) }
      bytes += more
    }
    return bytes
  }

  func receiveToEnd() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let more = try receive(atMost: 1 << 16)
      if more.isEmpty { return bytes }
      bytes += more
    }
  }

  func text() throws -> String { String(decoding: try receiveToEnd(), as: UTF8.self) }

  /// The next frame.
  func frame() throws -> (header: FrameHeader, body: [UInt8]) {
    let head = try receive(exactly: FrameHeader.byteCount)
    let header = head.withUnsafeBytes { FrameHeader(loading: $0.baseAddress!) }
    return (header, try receive(exactly: Int(header.length)))
  }

  /// Whether the peer has ended the stream.
  func isAtEnd() throws -> Bool { try receive(atMost: 1).isEmpty }
}

/// A request frame's bytes.
func frame(
  _ method: UInt16, _ body: [UInt8], stream: UInt32, flags: UInt16 = 0, length: UInt32? = nil
) -> [UInt8] {
  let header = FrameHeader(
    length: length ?? UInt32(body.count), rawMethod: method, flags: flags, stream: stream, status: 0)
  var bytes = [UInt8](repeating: 0, count: FrameHeader.byteCount)
  bytes.withUnsafeMutableBytes { header.store(to: $0.baseAddress!) }
  return bytes + body
}

func frame(_ method: NeedletailRPC.Method, _ body: [UInt8], stream: UInt32) -> [UInt8] {
  frame(method.rawValue, body, stream: stream)
}

let preface: [UInt8] = Array("NEEDLE\0\u{1}".utf8)

func putBody(_ key: String, _ value: [UInt8]) -> [UInt8] {
  Array(key.utf8).withUnsafeBytes { key in
    value.withUnsafeBytes { value in
      var request = PutRequestView()
      request.key = key
      request.value = value
      return request.encoded()
    }
  }
}

func rangeBody(_ key: String) -> [UInt8] {
  Array(key.utf8).withUnsafeBytes { key in
    var request = RangeRequestView()
    request.key = key
    return request.encoded()
  }
}

extension RunningServer {
  /// Whether exactly so many readers are pinned: soon, because threads of the server's own pin for a moment now and then.
  func hasReaders(_ count: Int) -> Bool {
    let deadline = Date() + 20
    while node.database.statistics.readers != count, Date() < deadline { usleep(1_000) }
    return node.database.statistics.readers == count
  }
}
