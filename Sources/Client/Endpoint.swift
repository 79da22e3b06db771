// Where a server listens, as people write it: `host:port`, `http://host:port`, `[::1]:2379`, `unix:/path`.

/// An address of a server. Keeps the text it came from, which is what reports show.
public struct Endpoint: Sendable, Equatable, CustomStringConvertible {
  package enum Address: Sendable, Equatable {
    case network(host: String, port: UInt16)
    case unix(path: String)
  }

  public let text: String
  package let address: Address

  public var description: String { text }

  /// The port when the text names none: etcd's client port.
  package static var defaultPort: UInt16 { 2379 }

  public init(_ text: String) throws(ClientError) {
    self.text = text
    var rest = text[...]
    if let path = Endpoint.unixPath(rest) {
      // sockaddr_un holds 108 bytes, the closing zero included.
      guard !path.isEmpty, path.utf8.count < 108, !path.utf8.contains(0) else {
        throw .invalidEndpoint(text, "a unix socket's path has 1 to 107 bytes")
      }
      address = .unix(path: String(path))
      return
    }
    if let scheme = rest.firstRange(of: "://") {
      let name = rest[..<scheme.lowerBound]
      guard name == "http" else {
        throw .invalidEndpoint(
          text, name == "https" ? "TLS is not supported by this client" : "unknown scheme \"\(name)\"")
      }
      rest = rest[scheme.upperBound...]
    }
    if rest.last == "/" { rest = rest.dropLast() }
    guard !rest.contains("/") else { throw .invalidEndpoint(text, "an address has no path") }
    let (host, port) = try Endpoint.split(rest, text)
    guard !host.isEmpty, !host.utf8.contains(0) else { throw .invalidEndpoint(text, "the host is missing") }
    address = .network(host: String(host), port: port)
  }

  /// The endpoints in a comma-separated list.
  public static func list(_ text: String) throws(ClientError) -> [Endpoint] {
    var endpoints: [Endpoint] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      endpoints.append(try Endpoint(String(part)))
    }
    return endpoints
  }

  private static func unixPath(_ text: Substring) -> Substring? {
    for scheme in ["unix://", "unix:"] where text.hasPrefix(scheme) { return text.dropFirst(scheme.count) }
    return nil
  }

  /// Splits `host:port`; an IPv6 host stands in brackets.
  private static func split(_ text: Substring, _ whole: String) throws(ClientError) -> (Substring, UInt16) {
    var host = text
    var portText: Substring?
    if text.first == "[" {
      guard let close = text.firstIndex(of: "]") else { throw .invalidEndpoint(whole, "a bracket is not closed") }
      host = text[text.index(after: text.startIndex)..<close]
      let after = text[text.index(after: close)...]
      if after.first == ":" {
        portText = after.dropFirst()
      } else if !after.isEmpty {
        throw .invalidEndpoint(whole, "unexpected text after the bracket")
      }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      portText = text[text.index(after: colon)...]
      guard !host.contains(":") else { throw .invalidEndpoint(whole, "an IPv6 address needs brackets") }
    }
    guard let portText else { return (host, defaultPort) }
    guard portText.allSatisfy(\.isASCII), let port = UInt16(portText), port > 0, portText.first != "+" else {
      throw .invalidEndpoint(whole, "the port is a number from 1 to 65535")
    }
    return (host, port)
  }
}

extension Substring {
  /// Where `needle` first stands. (The standard library's own search would bring in the regex engine.)
  fileprivate func firstRange(of needle: String) -> Range<Index>? {
    var at = startIndex
    while at < endIndex {
      if self[at...].hasPrefix(needle) { return at..<index(at, offsetBy: needle.count) }
      at = index(after: at)
    }
    return nil
  }
}
