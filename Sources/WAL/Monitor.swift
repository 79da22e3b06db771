import Glibc

/// A mutex with a condition, for the helper thread's few words with the log thread; never on a write's way.
final class Monitor: @unchecked Sendable {
  // Sendable: pthread's own types, heap-allocated so that their addresses stay.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  init() {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func lock() { pthread_mutex_lock(mutex) }
  func unlock() { pthread_mutex_unlock(mutex) }
  /// Gives the lock away until `signal`; may wake without one.
  func wait() { pthread_cond_wait(condition, mutex) }
  func signal() { pthread_cond_broadcast(condition) }
}
