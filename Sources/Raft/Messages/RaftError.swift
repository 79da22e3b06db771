// What can go wrong. None of it traps: a bad message changes nothing.

package enum RaftError: Error, Equatable, Sendable {
  /// The options given at start contradict each other.
  case badOptions(String)
  /// What storage says of itself cannot be a member's state.
  case badState(String)
  /// The proposal was not taken: no leader, a transfer under way, or too much uncommitted. It will never commit.
  case proposalDropped
  /// Too many reads wait for their confirmation.
  case readDropped
  /// A message that only this member's own program may give.
  case localMessage
  /// An answer from somebody who is no member.
  case unknownPeer
  /// A message that no correct member sends. It changed nothing.
  case malformed(String)
  /// A change of membership that cannot be made. Members agree on that, so it is applied as nothing.
  case badConfigChange(String)
  /// The log's storage failed.
  case storage(StorageError)
  /// A call that the mode of storage writes, or its order, forbids.
  case misuse(String)
}

extension RaftError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .badOptions(let text), .badState(let text), .badConfigChange(let text), .misuse(let text): text
    case .proposalDropped: "raft proposal dropped"
    case .readDropped: "raft read dropped"
    case .localMessage: "raft: cannot step raft local message"
    case .unknownPeer: "raft: cannot step as peer not found"
    case .malformed(let text): "raft: malformed message: \(text)"
    case .storage(let error): error.description
    }
  }
}
