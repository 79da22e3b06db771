// A plain thread: the few that the server has are started by hand and live as long as it does.
import CNeedletail
import Glibc

/// Sendable: the handle is written once, before `init` returns, and `join` is called by the one owner.
package final class Thread: @unchecked Sendable {
  private var handle = pthread_t()
  private var isJoined = false

  private final class Start {
    let name: String
    let body: @Sendable () -> Void

    init(_ name: String, _ body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }

  /// Starts at once. `name` shows in /proc and debuggers; the kernel keeps 15 bytes of it.
  package init(_ name: String, _ body: @escaping @Sendable () -> Void) throws(ServerError) {
    let start = Unmanaged.passRetained(Start(String(name.prefix(15)), body))
    let code = pthread_create(
      &handle, nil,
      { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        nt_name_thread(start.name)
        start.body()
        return nil
      }, start.toOpaque())
    guard code == 0 else {
      start.release()
      throw .system(operation: "start thread", path: name, code: code)
    }
  }

  /// Waits until the body has returned. Again does nothing.
  package func join() {
    guard !isJoined else { return }
    isJoined = true
    pthread_join(handle, nil)
  }
}

/// Mutex and condition in one, for hand-overs off the read path. Sendable: that is its purpose; the memory never moves.
package final class Monitor: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    pthread_mutex_init(mutex, nil)
    // Waiting with a time limit must not depend on the wall clock.
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  package func locked<R>(_ body: () -> R) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  /// Inside `locked` only.
  package func wait() { pthread_cond_wait(condition, mutex) }

  /// Inside `locked` only; returns after a signal or when the time is over.
  package func wait(atMost_ms: Int) {
    var until = timespec()
    clock_gettime(CLOCK_MONOTONIC, &until)
    until.tv_sec += atMost_ms / 1000
    until.tv_nsec += (atMost_ms % 1000) * 1_000_000
    if until.tv_nsec >= 1_000_000_000 {
      until.tv_sec += 1
      until.tv_nsec -= 1_000_000_000
    }
    pthread_cond_timedwait(condition, mutex, &until)
  }

  package func signal() { pthread_cond_broadcast(condition) }
}

func monotonicNanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
