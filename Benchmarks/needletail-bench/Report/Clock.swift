// The monotonic clock in nanoseconds, and work spread over threads that start together.
import Glibc
import Histogram
import Synchronization

@inline(__always)
func nanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(truncatingIfNeeded: now.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: now.tv_nsec)
}

/// Up to a minute in nanoseconds, to three digits.
typealias Latencies = Histogram<UInt64>

func makeLatencies() -> Latencies {
  Latencies(lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
}

/// Threads wait here until all have arrived, so that none is measured alone.
final class StartingLine: Sendable {
  private let missing: Atomic<Int>
  init(_ count: Int) { missing = Atomic(count) }

  func wait() {
    missing.subtract(1, ordering: .acquiringAndReleasing)
    while missing.load(ordering: .acquiring) > 0 { sched_yield() }
  }
}

/// A thread's work and what became of it. Written by that thread, read after the join.
private final class Work<Value>: @unchecked Sendable {
  let body: () throws -> Value
  var outcome: Result<Value, any Error>?
  init(_ body: @escaping () throws -> Value) { self.body = body }
  func run() { outcome = Result { try body() } }
}

private protocol Runnable: AnyObject { func run() }
extension Work: Runnable {}

/// Carries the reference through pthread_create's untyped argument.
private final class Start {
  let work: any Runnable
  init(_ work: any Runnable) { self.work = work }
}

/// Runs `body(0) … body(count - 1)`, each on a thread of its own, and waits for all.
func onThreads<Value>(_ count: Int, _ body: @escaping (Int) throws -> Value) throws -> [Value] {
  var threads: [pthread_t] = []
  var works: [Work<Value>] = []
  for i in 0..<count {
    let work = Work { try body(i) }
    var thread = pthread_t()
    let start = Unmanaged.passRetained(Start(work))
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().work.run() }
        return nil
      }, start.toOpaque())
    if code != 0 {
      start.release()
      throw BenchError("cannot start a thread: \(String(cString: strerror(code)))")
    }
    threads.append(thread)
    works.append(work)
  }
  for thread in threads { pthread_join(thread, nil) }
  return try works.map { work in
    guard let outcome = work.outcome else { throw BenchError("a thread did not finish") }
    return try outcome.get()
  }
}
