// One connection, one request at a time: for calls whose answers are large or rare.
import Glibc
import NeedletailRPC

final class FrameCaller {
  private let socket: Int32
  private var stream: UInt32 = 0
  private var answer = [UInt8](repeating: 0, count: 64 << 10)

  init(port: UInt16) throws {
    socket = try connectToLoopback(port: port)
    try send(NativeWire.preface)
    _ = try receive()
  }

  deinit { close(socket) }

  /// The answer's body; valid until the next call.
  @discardableResult
  func call(_ method: NeedletailRPC.Method, _ body: [UInt8]) throws -> ArraySlice<UInt8> {
    try request(method, body)
    return try receive()
  }

  /// Many at once, answered in any order.
  func call(_ method: NeedletailRPC.Method, _ bodies: [[UInt8]]) throws {
    for body in bodies { try request(method, body) }
    for _ in bodies { _ = try receive() }
  }

  private func request(_ method: NeedletailRPC.Method, _ body: [UInt8]) throws {
    stream += 1
    var bytes = [UInt8](repeating: 0, count: FrameHeader.byteCount)
    bytes.withUnsafeMutableBytes { target in
      guard let start = target.baseAddress else { return }
      FrameHeader(length: UInt32(body.count), rawMethod: method.rawValue, flags: 0, stream: stream, status: 0)
        .store(to: start)
    }
    try send(bytes + body)
  }

  private func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.send(socket, $0.baseAddress.map { $0 + sent }, bytes.count - sent, 0) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw BenchError("send: \(String(cString: strerror(errno)))") }
      sent += count
    }
  }

  private func receive() throws -> ArraySlice<UInt8> {
    try read(FrameHeader.byteCount)
    let header = answer.withUnsafeBytes { bytes in bytes.baseAddress.map { FrameHeader(loading: $0) } }
    guard let header else { throw BenchError("no header") }
    let length = Int(header.length)
    if answer.count < length { answer = [UInt8](repeating: 0, count: 2 * length) }
    try read(length)
    guard header.status == 0 else {
      throw BenchError("status \(header.status): \(String(decoding: answer[..<length], as: UTF8.self))")
    }
    return answer[..<length]
  }

  private func read(_ count: Int) throws {
    var have = 0
    while have < count {
      let got = answer.withUnsafeMutableBytes { recv(socket, $0.baseAddress.map { $0 + have }, count - have, 0) }
      if got < 0, errno == EINTR { continue }
      guard got > 0 else { throw BenchError("the server closed the connection") }
      have += got
    }
  }
}
