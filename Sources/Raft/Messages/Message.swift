// What members say to each other, to their own storage threads, and to themselves.

/// The numbers are etcd's.
package enum MessageType: UInt8, CaseIterable, Sendable {
  case hup = 0
  case beat
  case propose
  case append
  case appendResponse
  case vote
  case voteResponse
  case snapshot
  case heartbeat
  case heartbeatResponse
  case unreachable
  case snapshotStatus
  case checkQuorum
  case transferLeader
  case timeoutNow
  case readIndex
  case readIndexResponse
  case preVote
  case preVoteResponse
  case storageAppend
  case storageAppendResponse
  case storageApply
  case storageApplyResponse
  case forgetLeader

  /// Never from another member: said by the program to its own state machine, or by its storage threads.
  package var isLocal: Bool {
    switch self {
    case .hup, .beat, .unreachable, .snapshotStatus, .checkQuorum, .forgetLeader, .storageAppend,
      .storageAppendResponse, .storageApply, .storageApplyResponse:
      true
    default: false
    }
  }

  /// Answers, which only a member that is known may give.
  package var isResponse: Bool {
    switch self {
    case .appendResponse, .voteResponse, .heartbeatResponse, .unreachable, .readIndexResponse, .preVoteResponse,
      .storageAppendResponse, .storageApplyResponse:
      true
    default: false
    }
  }

  /// What a storage thread answers with.
  var isStorageResponse: Bool { self == .storageAppendResponse || self == .storageApplyResponse }

  /// Requests that followers hand on to the leader. They belong to no term.
  var isForwarded: Bool { self == .propose || self == .readIndex }

  /// The answer to a vote of this kind.
  var voteResponse: MessageType { self == .preVote ? .preVoteResponse : .voteResponse }
}

package struct Message: Equatable, Sendable {
  package var type: MessageType
  package var to: NodeID
  package var from: NodeID
  /// Zero for what belongs to no term.
  package var term: UInt64
  /// The term of the entry at `index`.
  package var logTerm: UInt64
  package var index: UInt64
  package var entries: [Entry]
  package var commit: UInt64
  /// The vote to store, in a message to the append thread.
  package var vote: NodeID
  package var snapshot: Snapshot?
  package var reject: Bool
  /// Where the logs may still agree, in a rejected append.
  package var rejectHint: UInt64
  /// Comes back unchanged in the answer.
  package var context: [UInt8]
  /// What a storage thread says once the rest of its message is durable.
  package var responses: [Message]

  package init(
    _ type: MessageType, to: NodeID = Node.none, from: NodeID = Node.none, term: UInt64 = 0, logTerm: UInt64 = 0,
    index: UInt64 = 0, entries: [Entry] = [], commit: UInt64 = 0, vote: NodeID = Node.none, snapshot: Snapshot? = nil,
    reject: Bool = false, rejectHint: UInt64 = 0, context: [UInt8] = [], responses: [Message] = []
  ) {
    self.type = type
    self.to = to
    self.from = from
    self.term = term
    self.logTerm = logTerm
    self.index = index
    self.entries = entries
    self.commit = commit
    self.vote = vote
    self.snapshot = snapshot
    self.reject = reject
    self.rejectHint = rejectHint
    self.context = context
    self.responses = responses
  }
}
