// What must hold in a cluster at all times, seen from above.

import NeedletailRaft
import NeedletailSimulator

package struct Violation: Error, CustomStringConvertible, Equatable {
  package let description: String

  init(_ description: String) { self.description = description }
}

struct ClusterInvariants {
  private var leaders: [UInt64: NodeID] = [:]
  private var votes: [[UInt64]: NodeID] = [:]
  private var committed: [UInt64: Entry] = [:]
  /// What applying each entry came to: answers and revisions are the same everywhere.
  private var outcomes: [UInt64: UInt64] = [:]

  var committedCount: Int { committed.count }

  /// At most one leader a term.
  mutating func check(leader node: NodeID, term: UInt64) throws(Violation) {
    guard let other = leaders.updateValue(node, forKey: term), other != node else { return }
    throw Violation("\(other) and \(node) both lead in term \(term)")
  }

  /// A member votes once a term, whatever crashes come in between.
  mutating func check(sent message: Message) throws(Violation) {
    guard message.type == .voteResponse, !message.reject else { return }
    guard let other = votes.updateValue(message.to, forKey: [message.from, message.term]), other != message.to
    else { return }
    throw Violation("\(message.from) voted for \(other) and for \(message.to) in term \(message.term)")
  }

  /// What is committed is the same everywhere, and for ever. True where nobody has said so before.
  mutating func check(committed entry: Entry, at node: NodeID) throws(Violation) -> Bool {
    guard let known = committed.updateValue(entry, forKey: entry.index) else { return true }
    if known == entry { return false }
    throw Violation("\(node) commits \(entry), which was committed as \(known)")
  }

  /// Applying an entry comes to the same everywhere.
  mutating func check(outcome: UInt64, of index: UInt64, at node: NodeID) throws(Violation) {
    guard let known = outcomes.updateValue(outcome, forKey: index), known != outcome else { return }
    throw Violation("applying entry \(index) came to something else at \(node) than before")
  }
}
