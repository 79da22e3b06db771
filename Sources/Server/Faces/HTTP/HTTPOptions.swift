// Whom the HTTP face answers, and what.
import NeedletailRPC

package struct HTTPOptions: Sendable {
  /// Origins of web pages that browsers may let use it; nil = all.
  package var origins: [String]?
  /// Host names, in lower case, that requests may be for; nil = all.
  package var hosts: [String]?
  /// /metrics has a histogram of handling times for each method.
  package var showsHandlingTimes = true
  package var roles = ListenerRoles()

  package init() {}
}

/// What the listeners are for that do not serve everything, by their ports and paths.
package struct ListenerRoles: Sendable {
  package enum Role: Sendable {
    case everything
    /// No HTTP/1.x: another listener has it.
    case calls
    /// HTTP/1.x alone.
    case http
    /// Metrics and health alone.
    case metrics
  }

  private var ports: [Int32: Role] = [:]
  private var paths: [String: Role] = [:]
  /// Of all other listeners.
  private var other = Role.everything

  package init(http: [ListenAddress] = [], metrics: [ListenAddress] = []) {
    if !http.isEmpty { other = .calls }
    add(http, .http)
    add(metrics, .metrics)
  }

  private mutating func add(_ addresses: [ListenAddress], _ role: Role) {
    for address in addresses {
      switch address {
      case .tcp(_, let port): ports[Int32(port)] = role
      case .unix(let path): paths[path] = role
      }
    }
  }

  /// Asks the kernel which listener the connection came by, where that matters.
  func role(of connection: ConnectionPointer) -> Role {
    if ports.isEmpty && paths.isEmpty { return other }
    if let role = ports[connection.pointee.localPort] { return role }
    if !paths.isEmpty, let role = paths[connection.pointee.localPath] { return role }
    return other
  }
}
