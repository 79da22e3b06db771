// A server's page of metrics: one HTTP/1.1 request on the port of everything else.

import Glibc

package enum MetricsDownload {
  private static let limit = 16 << 20

  /// The page's text, status line and head included.
  package static func page(of endpoint: Endpoint, timeout_ms: Int32 = 5_000) throws(ClientError) -> String {
    var last = ClientError.unreachable("\(endpoint): no address")
    for address in try SocketAddress.resolve(endpoint) {
      do throws(SystemError) {
        let socket = try Socket.connect(to: address)
        defer { socket.close() }
        return try exchange(socket, timeout_ms)
      } catch {
        last = .unreachable("\(endpoint): \(ClientError.systemText(error.code))")
      }
    }
    throw last
  }

  private static func exchange(_ socket: Socket, _ timeout_ms: Int32) throws(SystemError) -> String {
    try wait(socket, POLLOUT, timeout_ms)
    let code = socket.pendingError()
    guard code == 0 else { throw SystemError(code: code) }
    let request = Array("GET /metrics HTTP/1.1\r\nHost: needletail\r\nConnection: close\r\n\r\n".utf8)
    var sent = 0
    while sent < request.count {
      var failure: SystemError?
      request.withUnsafeBytes { bytes in
        do throws(SystemError) {
          sent += try socket.send(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
        } catch { failure = error }
      }
      if let failure { throw failure }
      if sent < request.count { try wait(socket, POLLOUT, timeout_ms) }
    }
    var page: [UInt8] = []
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    defer { room.deallocate() }
    while page.count < limit {
      guard let count = try socket.receive(into: room) else {
        try wait(socket, POLLIN, timeout_ms)
        continue
      }
      if count == 0 { break }
      page += room[..<count]
    }
    return String(decoding: page, as: UTF8.self)
  }

  private static func wait(_ socket: Socket, _ events: Int32, _ timeout_ms: Int32) throws(SystemError) {
    var entry = pollfd(fd: socket.descriptor, events: Int16(events), revents: 0)
    while true {
      let ready = poll(&entry, 1, timeout_ms)
      if ready > 0 { return }
      if ready == 0 { throw SystemError(code: ETIMEDOUT) }
      if errno != EINTR { throw SystemError(code: errno) }
    }
  }
}
