// What a check comes to.

package enum Verdict: Equatable, Sendable {
  case linearizable
  case notLinearizable(Refutation)
  /// A limit was met first. Never a pass.
  case unknown(Limits.Kind)

  /// The word that programs print.
  package var word: String {
    switch self {
    case .linearizable: "linearizable"
    case .notLinearizable: "not-linearizable"
    case .unknown: "unknown"
    }
  }
}

/// The farthest that any order of the calls came: an answer that none of them explains.
package struct Refutation: Equatable, Sendable {
  /// The line of the file with the call, and the one with its answer.
  package var callLine: Int
  package var answerLine: Int
}

/// Bounds of one check, over all keys of a file.
package struct Limits: Sendable {
  package enum Kind: Equatable, Sendable { case time, memory }

  package var seconds: Double
  package var bytes: Int

  package init(seconds: Double = 60, bytes: Int = 1 << 30) {
    self.seconds = seconds
    self.bytes = bytes
  }
}
