// One reactor's counters of requests: plain memory that its thread alone writes and that is summed when scraped.
import CNeedletail
import NeedletailRPC

/// Sendable: every word has one writer, and all use relaxed atomics. Trivial handle.
package struct ThreadMetrics: @unchecked Sendable {
  /// Laid out as started[rpc], handled[rpc][code], histogram[rpc], bytes of gRPC messages received and sent.
  private let words: UnsafeMutablePointer<UInt64>
  /// gRPC's codes are 0…16.
  static var codeCount: Int { 17 }
  private static var handledAt: Int { RPC.count }
  private static var handlingAt: Int { handledAt + RPC.count * codeCount }
  private static var messagesAt: Int { handlingAt + RPC.count * LatencyHistogram.wordCount }
  private static var wordCount: Int { messagesAt + 2 }

  package init() {
    words = .allocate(capacity: ThreadMetrics.wordCount)
    words.initialize(repeating: 0, count: ThreadMetrics.wordCount)
  }

  @inline(__always)
  func countStarted(_ rpc: RPC) { nt_counter_add(words + Int(rpc.rawValue), 1) }

  @inline(__always)
  func countHandled(_ rpc: RPC, _ code: StatusCode) {
    nt_counter_add(words + handledIndex(rpc, code), 1)
  }

  @inline(__always)
  private func handledIndex(_ rpc: RPC, _ code: StatusCode) -> Int {
    RPC.count &+ Int(rpc.rawValue) &* ThreadMetrics.codeCount &+ Int(code.rawValue)
  }

  func handling(_ rpc: Int) -> LatencyHistogram {
    LatencyHistogram(words + ThreadMetrics.handlingAt + rpc * LatencyHistogram.wordCount)
  }

  package func started(_ rpc: RPC) -> UInt64 { nt_counter_read(words + Int(rpc.rawValue)) }
  package func handled(_ rpc: RPC, _ code: StatusCode) -> UInt64 { nt_counter_read(words + handledIndex(rpc, code)) }

  func countMessages(received: Int, sent: Int) {
    nt_counter_add(words + ThreadMetrics.messagesAt, UInt64(received))
    nt_counter_add(words + ThreadMetrics.messagesAt + 1, UInt64(sent))
  }

  package var messageBytesReceived: UInt64 { nt_counter_read(words + ThreadMetrics.messagesAt) }
  package var messageBytesSent: UInt64 { nt_counter_read(words + ThreadMetrics.messagesAt + 1) }

  package func free() { words.deallocate() }
}
