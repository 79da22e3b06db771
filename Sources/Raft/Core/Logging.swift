// What the state machine says about itself. It writes nowhere: its program gives it a listener, or doesn't.

package enum LogLevel: Int, Comparable, Sendable {
  case debug, info, warning, error

  package static func < (one: LogLevel, other: LogLevel) -> Bool { one.rawValue < other.rawValue }
}

/// Called with complete lines, within the calls that cause them.
package typealias LogListener = (LogLevel, String) -> Void

/// Members are logged in hexadecimal, as etcd does.
func hex(_ id: NodeID) -> String { String(id, radix: 16) }
