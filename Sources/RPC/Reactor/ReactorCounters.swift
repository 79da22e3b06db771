// What one reactor counts: written by its thread alone, read by whichever thread is scraped.

import CNeedletail

package struct ReactorCounters: @unchecked Sendable {
  // Sendable: each word has one writer and is read and written by relaxed atomics.
  package enum Field: Int, CaseIterable, Sendable {
    case accepted, refused, closed, receivedBytes, sentBytes, batches, pauses, abandoned
  }

  private let words: UnsafeMutablePointer<UInt64>

  package init() {
    words = .allocate(capacity: Field.allCases.count)
    words.initialize(repeating: 0, count: Field.allCases.count)
  }

  @inline(__always) func add(_ field: Field, _ n: Int = 1) { nt_counter_add(words + field.rawValue, UInt64(n)) }
  package func read(_ field: Field) -> UInt64 { nt_counter_read(words + field.rawValue) }
  package func free() { words.deallocate() }
}
