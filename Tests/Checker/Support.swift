// What the tests of this folder share: seeds, and the folder of published histories.
import Foundation
import NeedletailChecker

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z &>> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z &>> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
}

func setting(_ name: String) -> String? { ProcessInfo.processInfo.environment[name] }

/// The seeds of a randomised test: NEEDLETAIL_SEED alone, or `count` of them from 1; up to ten times as many with
/// NEEDLETAIL_SEEDS.
func seeds(_ count: Int) -> [UInt64] {
  if let seed = setting("NEEDLETAIL_SEED").flatMap({ UInt64($0) }) { return [seed] }
  let factor = min(10, max(1, setting("NEEDLETAIL_SEEDS").flatMap { Int($0) } ?? 1))
  return (1...UInt64(count * factor)).map { $0 }
}

enum Vectors {
  static let folder = setting("NEEDLETAIL_VECTORS") ?? "../shared/vectors"

  static func files(_ name: String, _ ending: String) -> [String] {
    let path = "\(folder)/\(name)"
    let found = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return found.filter { $0.hasSuffix(ending) }.sorted().map { "\(path)/\($0)" }
  }
}

func check(_ text: String, _ limits: Limits = Limits(seconds: 300)) throws(HistoryError) -> Verdict {
  try HistoryChecker.check(Array(text.utf8), limits)
}
