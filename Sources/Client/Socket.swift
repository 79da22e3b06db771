// Plain non-blocking sockets: name look-up, connect, read, write. No call here waits, but the look-up of a name.

import CNeedletail
import Glibc

/// A resolved address.
struct SocketAddress {
  private var storage: sockaddr_storage
  private var length: socklen_t
  let family: Int32

  /// All addresses of an endpoint, in the resolver's order. Waits for the resolver if the host is a name.
  static func resolve(_ endpoint: Endpoint) throws(ClientError) -> [SocketAddress] {
    switch endpoint.address {
    case .unix(let path): return [SocketAddress(unixPath: path)]
    case .network(let host, let port): return try resolve(host, port, endpoint)
    }
  }

  private static func resolve(
    _ host: String, _ port: UInt16, _ endpoint: Endpoint
  ) throws(ClientError) -> [SocketAddress] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, String(port), &hints, &list)
    guard code == 0 else {
      let why = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
      throw .unreachable("\(endpoint): \(why)")
    }
    defer { freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var entry = list
    while let info = entry?.pointee {
      if let address = info.ai_addr, info.ai_addrlen <= socklen_t(MemoryLayout<sockaddr_storage>.size) {
        addresses.append(SocketAddress(address, info.ai_addrlen))
      }
      entry = info.ai_next
    }
    guard !addresses.isEmpty else { throw .unreachable("\(endpoint): the name has no address") }
    return addresses
  }

  private init(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) {
    var storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) {
      $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: Int(length)))
    }
    self.storage = storage
    self.length = length
    family = Int32(address.pointee.sa_family)
  }

  /// `Endpoint` has checked that the path fits.
  private init(unixPath path: String) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { target in
      for (at, byte) in path.utf8.enumerated() where at < target.count - 1 { target[at] = byte }
    }
    var storage = sockaddr_storage()
    withUnsafeBytes(of: &address) { source in
      withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: source) }
    }
    self.storage = storage
    length = socklen_t(MemoryLayout<sockaddr_un>.size)
    family = AF_UNIX
  }

  /// Calls `body` with the address as the system wants it.
  func withSystemAddress<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafeBytes(of: storage) { bytes in
      // sockaddr_storage is as aligned as any address is.
      body(bytes.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: sockaddr.self), length)
    }
  }
}

/// A descriptor of a non-blocking stream socket. Whoever holds it closes it.
struct Socket {
  let descriptor: Int32

  /// Starts to connect. Throws the errno of an immediate refusal.
  static func connect(to address: SocketAddress) throws(SystemError) -> Socket {
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = Glibc.socket(address.family, type, 0)
    guard descriptor >= 0 else { throw SystemError(code: errno) }
    if address.family != AF_UNIX {
      // Requests are gathered by us: waiting for more in the kernel would only add latency.
      var on: Int32 = 1
      setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }
    let result = address.withSystemAddress { Glibc.connect(descriptor, $0, $1) }
    if result != 0 && errno != EINPROGRESS && errno != EINTR {
      let code = errno
      Glibc.close(descriptor)
      throw SystemError(code: code)
    }
    return Socket(descriptor: descriptor)
  }

  /// The pending error of the socket: how a connect ended.
  func pendingError() -> Int32 {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else { return errno }
    return code
  }

  /// Bytes taken by the kernel; 0 when it takes none now.
  func send(_ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int {
    while true {
      let sent = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
      if sent >= 0 { return sent }
      if errno == EAGAIN { return 0 }
      if errno != EINTR { throw SystemError(code: errno) }
    }
  }

  /// Bytes received; nil when there are none now; 0 at the end of the stream.
  func receive(into room: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
    while true {
      let received = recv(descriptor, room.baseAddress, room.count, 0)
      if received >= 0 { return received }
      if errno == EAGAIN { return nil }
      if errno != EINTR { throw SystemError(code: errno) }
    }
  }

  func close() { Glibc.close(descriptor) }
}

/// An errno.
struct SystemError: Error {
  let code: Int32
}
