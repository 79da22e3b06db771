// Checks histories: were the answers that concurrent clients got those of one copy of the data, in some order that agrees
// with real time? The format is told by content; docs/checker.md describes all three.

package struct HistoryChecker {
  private let deadline: Deadline
  private let bytes: Int

  package init(_ limits: Limits = Limits()) {
    deadline = Deadline(seconds: limits.seconds)
    bytes = limits.bytes
  }

  package static func check(_ file: [UInt8], _ limits: Limits = Limits()) throws(HistoryError) -> Verdict {
    let checker = HistoryChecker(limits)
    switch try HistoryFormat(file) {
    case .jepsen: return checker.check(try JepsenLog(file).parts())
    case .keyValue: return checker.check(try KeyValueLog(file).parts())
    case .needletail: return checker.check([try StoreLog(file).part()])
    }
  }

  /// Every key by itself: linearizability is local. One key that has no order settles it, whatever the limits say of others.
  func check<M: Model>(_ parts: [HistoryPart<M>]) -> Verdict {
    var verdict = Verdict.linearizable
    for part in parts {
      var search = Search(part.history, part.model)
      switch search.run(until: deadline, bytes: bytes) {
      case .linearizable: continue
      case .notLinearizable(let refutation): return .notLinearizable(refutation)
      case .unknown(let kind): verdict = .unknown(kind)
      }
    }
    return verdict
  }
}
