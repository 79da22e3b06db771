// Paths of the RPC table, and what is said of those that are not in it.
import NeedletailRPC

enum GRPCRoutes {
  static var all: HTTP2Routes {
    HTTP2Routes(
      RPC.allCases.map { rpc in
        (rpc.path, HTTP2Route(number: UInt16(rpc.rawValue) + 1, isStream: rpc.isStream, hasBudget: rpc.hasSender))
      })
  }

  static func rpc(_ route: HTTP2Route) -> RPC? {
    route.number == 0 ? nil : RPC(rawValue: UInt8(truncatingIfNeeded: route.number - 1))
  }

  /// In grpc-go's words.
  static func unknown(_ path: String) -> StatusError {
    let parts = path.dropFirst(path.hasPrefix("/") ? 1 : 0).split(
      separator: "/", omittingEmptySubsequences: false)
    guard parts.count >= 2, let method = parts.last else {
      return StatusError(.unimplemented, "malformed method name: \"\(path)\"")
    }
    let service = parts.dropLast().joined(separator: "/")
    guard RPC.allCases.contains(where: { $0.service == service }) else {
      return StatusError(.unimplemented, "unknown service \(service)")
    }
    return StatusError(.unimplemented, "unknown method \(method) for service \(service)")
  }
}

extension RPC {
  var path: String { "/\(service)/\(name)" }
}
