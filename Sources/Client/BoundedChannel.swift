// From a thread to one task: what is sent and not yet taken is counted, so that the sender can stop in time.

import Glibc

/// Sendable: everything is guarded by the mutex.
final class BoundedChannel<Element: Sendable>: @unchecked Sendable {
  private enum End {
    case finished
    case failed(any Error)
  }

  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let room = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let bytesMax: Int
  private var elements: [(element: Element, size: Int)] = []
  /// Elements before this one are taken.
  private var first = 0
  private var bytes = 0
  private var end: End?
  /// Who waits for the next element; at most one.
  private var waiter: CheckedContinuation<Element?, any Error>?
  /// The sender was told that it is full, and has not been asked to go on.
  private var isFull = false

  init(bytesMax: Int) {
    self.bytesMax = bytesMax
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    room.initialize(to: pthread_cond_t())
    pthread_cond_init(room, nil)
  }

  deinit {
    pthread_cond_destroy(room)
    room.deallocate()
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  private func locked<R>(_ body: () -> R) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  // MARK: The sender

  /// False where so much waits that no more should come until the receiver has taken half of it. What is sent all the same
  /// is kept.
  func send(_ element: Element, size: Int) -> Bool {
    let (hasRoom, taker) = locked { () -> (Bool, CheckedContinuation<Element?, any Error>?) in
      guard end == nil else { return (true, nil) }
      if let taker = waiter {
        waiter = nil
        return (true, taker)
      }
      elements.append((element, size))
      bytes += size
      isFull = isFull || bytes >= bytesMax
      return (!isFull, nil)
    }
    taker?.resume(returning: element)
    return hasRoom
  }

  /// For a sender with a thread of its own: waits until half is taken. False where nobody will take anything any more.
  func waitForRoom() -> Bool {
    locked {
      while isFull, end == nil { pthread_cond_wait(room, mutex) }
      return end == nil
    }
  }

  /// What was sent can still be taken; then the receiver meets the end. Only the first end counts.
  func finish(throwing error: (any Error)? = nil) {
    let taker = locked { () -> CheckedContinuation<Element?, any Error>? in
      guard end == nil else { return nil }
      end = error.map { .failed($0) } ?? .finished
      pthread_cond_broadcast(room)
      defer { waiter = nil }
      return waiter
    }
    if let error { taker?.resume(throwing: error) } else { taker?.resume(returning: nil) }
  }

  /// The receiver goes: what was sent is dropped.
  func abandon() {
    finish()
    locked {
      elements = []
      first = 0
      bytes = 0
      end = .finished
    }
  }

  // MARK: The receiver

  private enum Outcome {
    case element(Element, wasFull: Bool)
    case end(End)
    case wait
  }

  /// The next element; nil at the end. `onRoom` is called when the sender had been told to stop and may go on.
  func next(_ onRoom: () -> Void) async throws -> Element? {
    switch locked(takeOne) {
    case .element(let element, let wasFull):
      if wasFull { onRoom() }
      return element
    case .end(.finished): return nil
    case .end(.failed(let error)): throw error
    case .wait: break
    }
    return try await withCheckedThrowingContinuation { continuation in
      // Between the look and here something may have come.
      let outcome = locked { () -> Outcome in
        let outcome = takeOne()
        if case .wait = outcome { waiter = continuation }
        return outcome
      }
      switch outcome {
      // Nothing was there a moment ago: it cannot have been full.
      case .element(let element, _): continuation.resume(returning: element)
      case .end(.finished): continuation.resume(returning: nil)
      case .end(.failed(let error)): continuation.resume(throwing: error)
      case .wait: break
      }
    }
  }

  private func takeOne() -> Outcome {
    guard first < elements.count else { return end.map { .end($0) } ?? .wait }
    let (element, size) = elements[first]
    first += 1
    bytes -= size
    if first == elements.count || first > 1024 {
      elements.removeFirst(first)
      first = 0
    }
    guard isFull, bytes <= bytesMax / 2 else { return .element(element, wasFull: false) }
    isFull = false
    pthread_cond_broadcast(room)
    return .element(element, wasFull: true)
  }
}
