// Time on the monotonic clock. (ContinuousClock would do; this one costs a load and no generics.)

import Glibc

/// A point of time, in nanoseconds of CLOCK_MONOTONIC. `never` lies beyond any other.
package struct Instant: Comparable, Sendable {
  package let nanoseconds: Int64

  package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  package static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  package static var never: Instant { Instant(nanoseconds: .max) }

  package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

  /// Saturates at `never`.
  package static func + (instant: Instant, duration: Duration) -> Instant {
    let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(duration.wholeNanoseconds)
    return overflow ? .never : Instant(nanoseconds: sum)
  }

  /// Saturates at the longest that 64 bits of nanoseconds hold.
  package static func - (later: Instant, earlier: Instant) -> Duration {
    let (difference, overflow) = later.nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
    return .nanoseconds(overflow ? .max : difference)
  }

  /// Milliseconds for poll(2): rounded up, so that waiting that long reaches the instant; -1 for `never`.
  package func pollTimeout(from now: Instant) -> Int32 {
    if self == .never { return -1 }
    if self <= now { return 0 }
    let milliseconds = (nanoseconds - now.nanoseconds - 1) / 1_000_000 + 1
    return Int32(clamping: milliseconds)
  }
}

extension Duration {
  /// The duration in nanoseconds, clamped to 64 bits.
  package var wholeNanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds < 0 ? .min : .max }
    let (sum, beyond) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
    return beyond ? (seconds < 0 ? .min : .max) : sum
  }

  /// The duration as a deadline in a frame's header: whole milliseconds, at least 1.
  package var frameDeadline: UInt32 {
    UInt32(clamping: max(1, wholeNanoseconds / 1_000_000))
  }
}
