// What can go wrong between a caller and its answer.

import Glibc
import NeedletailRPC

/// A call's failure. Says whether the request can have had an effect, which is what a caller must know after a write.
public enum ClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The text names no server.
  case invalidEndpoint(String, String)
  /// No server could be reached; the request was surely not executed.
  case unreachable(String)
  /// The call's time ran out. A write may or may not have been executed.
  case deadlineExceeded(String)
  /// The connection broke after the whole request was sent: the write may or may not have been executed.
  case outcomeUnknown(String)
  /// The connection broke; tells what happened to it, not to a request.
  case disconnected(String)
  /// The other side does not speak the protocol.
  case protocolViolation(String)
  /// The server's answer is an error: the request was refused.
  case server(StatusError)
  /// A watch can't go on: changes from where it was up to this revision are compacted.
  case compacted(Int64)
  /// The client was closed; the request was surely not sent.
  case closed
  /// The calling task was cancelled. A write may or may not have been executed.
  case cancelled

  public var description: String {
    switch self {
    case .invalidEndpoint(let text, let why): "invalid endpoint \"\(text)\": \(why)"
    case .unreachable(let why): "no endpoint can be reached: \(why)"
    // etcd's words, which scripts look for.
    case .deadlineExceeded(let why): why.isEmpty ? "context deadline exceeded" : "context deadline exceeded (\(why))"
    case .outcomeUnknown(let why): "connection lost before the answer came, the request may have been executed: \(why)"
    case .disconnected(let why): why
    case .protocolViolation(let why): why
    case .server(let status): status.message
    case .compacted: "etcdserver: mvcc: required revision has been compacted"
    case .closed: "client is closed"
    case .cancelled: "context canceled"
    }
  }

  /// The text of an errno.
  package static func systemText(_ code: Int32) -> String {
    guard let text = strerror(code) else { return "error \(code)" }
    let sentence = String(cString: text)
    return sentence.prefix(1).lowercased() + sentence.dropFirst()
  }
}
