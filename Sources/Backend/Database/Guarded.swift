// A value and the lock that guards it, for the slow paths.
//
// `Synchronization.Mutex` would do the same, but the thread sanitizer does not know it (its futex calls are in a library
// built without): each value in one is reported as a race. A pthread mutex it knows.

/// The memory never moves. Unchecked Sendable: the value is only reached under the lock.
package final class Guarded<Value>: @unchecked Sendable {
  private let lock = Lock()
  private let value: UnsafeMutablePointer<Value>

  package init(_ initial: sending Value) {
    value = .allocate(capacity: 1)
    value.initialize(to: initial)
  }

  deinit {
    value.deinitialize(count: 1)
    value.deallocate()
  }

  /// Not nested: the lock is not recursive.
  package func withLock<R>(_ body: (inout Value) throws -> R) rethrows -> R {
    lock.lock()
    defer { lock.unlock() }
    return try body(&value.pointee)
  }
}
