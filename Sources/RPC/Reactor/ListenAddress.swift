// Where a server listens: http://host:port or unix://path, as in etcd's --listen-client-urls.

import CNeedletail
import Glibc

package enum ListenAddress: Equatable, Sendable {
  case tcp(host: String, port: UInt16)
  case unix(path: String)

  /// Nil when the text is neither form. `https` is refused by the caller, who can say why.
  package init?(_ text: String) {
    if text.hasPrefix("unix://") || text.hasPrefix("unix:") {
      let path = String(text.dropFirst(text.hasPrefix("unix://") ? 7 : 5))
      guard !path.isEmpty, path.utf8.count < 108 else { return nil }
      self = .unix(path: path)
      return
    }
    guard text.hasPrefix("http://") else { return nil }
    var rest = Substring(text.dropFirst(7))
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    guard let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...]) else { return nil }
    var host = rest[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    guard !host.contains("/") else { return nil }
    self = .tcp(host: String(host), port: port)
  }

  package var description: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "http://[\(host)]:\(port)" : "http://\(host):\(port)"
    case .unix(let path): "unix://\(path)"
    }
  }

  /// Listening sockets: one for a path, one for each address that the host name stands for (an empty host: all).
  package func listen(backlog: Int32 = 1024) throws(ReactorError) -> [Int32] {
    switch self {
    case .unix(let path):
      let descriptor = nt_listen_unix(path, backlog)
      guard descriptor >= 0 else { throw ReactorError(call: "listen on \(description)", code: -descriptor) }
      return [descriptor]
    case .tcp(let host, let port):
      return try listenTCP(host, port, backlog)
    }
  }

  private func listenTCP(_ host: String, _ port: UInt16, _ backlog: Int32) throws(ReactorError) -> [Int32] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
    var found: UnsafeMutablePointer<addrinfo>?
    let rc = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &found)
    guard rc == 0 else {
      throw ReactorError(call: "look up \(host): \(String(cString: gai_strerror(rc)))", code: EADDRNOTAVAIL)
    }
    defer { freeaddrinfo(found) }
    var descriptors: [Int32] = []
    var next = found
    while let entry = next {
      next = entry.pointee.ai_next
      guard let address = entry.pointee.ai_addr else { continue }
      let descriptor = nt_listen(address, entry.pointee.ai_addrlen, backlog)
      if descriptor >= 0 {
        descriptors.append(descriptor)
        continue
      }
      // A host without IPv6 still has a localhost in both families.
      if !descriptors.isEmpty || next != nil, descriptor == -EAFNOSUPPORT || descriptor == -EADDRNOTAVAIL { continue }
      for descriptor in descriptors { close(descriptor) }
      throw ReactorError(call: "listen on \(self.description)", code: -descriptor)
    }
    guard !descriptors.isEmpty else { throw ReactorError(call: "listen on \(self.description)", code: EADDRNOTAVAIL) }
    return descriptors
  }

  /// Takes a unix socket's file away again.
  package func cleanUp() {
    if case .unix(let path) = self { unlink(path) }
  }
}
