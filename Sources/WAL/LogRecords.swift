/// What the log holds for its caller.

/// Raft's hard state.
package struct HardState: Sendable, Equatable {
  package var term: UInt64
  package var vote: UInt64
  package var commit: UInt64

  package init(term: UInt64 = 0, vote: UInt64 = 0, commit: UInt64 = 0) {
    self.term = term
    self.vote = vote
    self.commit = commit
  }
}

/// An entry's place in the log.
package struct LogMark: Sendable, Equatable {
  package var index: UInt64
  package var term: UInt64

  package init(index: UInt64 = 0, term: UInt64 = 0) {
    self.index = index
    self.term = term
  }
}

/// What is durable: everything up to group `group`, and of the present log everything up to `index`.
package struct DurablePoint: Sendable, Equatable {
  /// Sequence number of the last group of the contiguous durable prefix, as `submit` returned it.
  package var group: UInt64
  /// Highest index of the contiguous durable prefix. Goes back when an entry supersedes later ones.
  package var index: UInt64
  /// Term of the entry at `index`; 0 when the log no longer knows it.
  package var term: UInt64
}

/// A record handed to the caller on open, in log order. Payloads are valid during the call only.
package enum RecoveredRecord {
  /// Supersedes all earlier entries with an index at or above its own.
  case entry(index: UInt64, term: UInt64, payload: UnsafeRawBufferPointer)
  case hardState(HardState)
  /// The state up to this entry is in a snapshot. An entry at this index with another term, and all after it, are void.
  case snapshot(LogMark)
  case metadata(UnsafeRawBufferPointer)
}

/// What opening a log found.
package struct RecoveryReport: Sendable {
  package var storeID: StoreID
  /// True when there was no log and a new one was made.
  package var created: Bool
  package var hardState: HardState?
  package var snapshot: LogMark?
  package var metadata: [UInt8]
  /// The place just before the oldest retained record: entries at or below may have been recycled.
  package var floor: LogMark
  /// The last entry of the log.
  package var last: LogMark
  package var segments: Int
  package var records: UInt64
  package var torn: TornTail?
  /// Segments that a repair put aside, under their new names.
  package var lost: [String]
}

/// A tail that a crash left half written: never acknowledged, copied aside and cut.
package struct TornTail: Sendable, Equatable {
  package var file: String
  package var offset: UInt64
  package var length: UInt64
  /// The first entry lost with it: from its header where that survived, else the one expected there, with term 0.
  package var first: LogMark
  /// The file that holds the copy; empty when the disk was full.
  package var copy: String
  package var reason: String
}
