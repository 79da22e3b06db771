// What a run may be told besides its seed: how long, and what to leave out. A failure is made small by leaving out more.

package struct ClusterSettings: Sendable, Equatable {
  package enum Clocks: String, Sendable, CaseIterable {
    /// Rates differ by no more than leases allow where reads rest on leases, and by a factor of two elsewhere.
    case bounded
    /// Reads rest on leases, and rates differ by far more than leases allow: stale reads are to be expected.
    case unbounded
  }

  /// Virtual time with faults.
  package var seconds = 2.0
  package var clocks = Clocks.bounded
  /// The faults that happen, by number; nil: all.
  package var faults: Set<Int>?
  /// The clients that work, by number; nil: all that the seed has.
  package var clients: Set<Int>?

  package init() {}

  /// The options of `needletail-sim replay` that say the same.
  package var words: String {
    var words = ["--seconds \(seconds)"]
    if clocks != .bounded { words.append("--clocks \(clocks.rawValue)") }
    if let faults { words.append("--faults \(ClusterSettings.list(faults))") }
    if let clients { words.append("--clients \(ClusterSettings.list(clients))") }
    return words.joined(separator: " ")
  }

  private static func list(_ numbers: Set<Int>) -> String {
    numbers.isEmpty ? "none" : numbers.sorted().map(String.init).joined(separator: ",")
  }

  /// `none`, or numbers with commas; nil for anything else.
  package static func numbers(_ text: String) -> Set<Int>? {
    if text == "none" { return [] }
    var numbers: Set<Int> = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let number = Int(word), number >= 0 else { return nil }
      numbers.insert(number)
    }
    return numbers
  }
}
