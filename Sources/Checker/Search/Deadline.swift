// The monotonic clock, for limits on time.
import Glibc

struct Deadline {
  private let at_ns: Int64

  init(seconds: Double) {
    // A bound that no run reaches, so that the sum stays in range.
    at_ns = Deadline.now_ns() + Int64(min(max(seconds, 0), 1e9) * 1e9)
  }

  var hasPassed: Bool { Deadline.now_ns() >= at_ns }

  private static func now_ns() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}
