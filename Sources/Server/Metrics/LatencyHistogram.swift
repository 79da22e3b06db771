// A log-linear histogram of nanoseconds: four buckets to an octave, so that every value is known to a fifth, and powers
// of two are exact bounds. One thread records, others read.
import CNeedletail

/// Trivial handle on memory of `wordCount` words: the buckets, then the sum.
/// Sendable: every word has one writer, and all use relaxed atomics.
package struct LatencyHistogram: @unchecked Sendable {
  package static let bucketCount = 64 * 4
  package static let wordCount = bucketCount + 1

  private let words: UnsafeMutablePointer<UInt64>

  init(_ words: UnsafeMutablePointer<UInt64>) { self.words = words }

  /// One with memory of its own, which its owner frees.
  package init() {
    words = .allocate(capacity: LatencyHistogram.wordCount)
    words.initialize(repeating: 0, count: LatencyHistogram.wordCount)
  }

  package func free() { words.deallocate() }

  package func record(_ value_ns: UInt64, times: UInt64) {
    nt_counter_add(words + LatencyHistogram.bucket(value_ns), times)
    nt_counter_add(words + LatencyHistogram.bucketCount, value_ns &* times)
  }

  /// Values 0…3 have buckets of their own; from there on the two bits below the leading one choose.
  package static func bucket(_ value: UInt64) -> Int {
    if value < 4 { return Int(value) }
    let octave = 63 - value.leadingZeroBitCount
    return (octave - 1) * 4 + Int((value >> UInt64(octave - 2)) & 3)
  }

  func read(_ bucket: Int) -> UInt64 { nt_counter_read(words + bucket) }
  var sum_ns: UInt64 { nt_counter_read(words + LatencyHistogram.bucketCount) }
}

/// Several threads' histograms summed at one moment.
package struct LatencySum {
  private var buckets = [UInt64](repeating: 0, count: LatencyHistogram.bucketCount)
  package private(set) var sum_ns: UInt64 = 0
  package private(set) var count: UInt64 = 0

  package init() {}

  package init(_ histogram: LatencyHistogram) { add(histogram) }

  package mutating func add(_ histogram: LatencyHistogram) {
    for i in buckets.indices {
      let n = histogram.read(i)
      buckets[i] += n
      count += n
    }
    sum_ns &+= histogram.sum_ns
  }

  /// Values below 2^exponent ns.
  package func count(belowPowerOfTwo exponent: Int) -> UInt64 {
    buckets[..<LatencyHistogram.bucket(UInt64(1) << UInt64(exponent))].reduce(0, +)
  }
}
