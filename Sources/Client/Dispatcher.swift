// Sends operations to whichever server answers: round-robin, failover, retry. All rules of that are here, and nothing
// of threads: whoever owns a dispatcher calls `submit`, and `step` again and again.
//
// The rules are those of etcd's client. Reads go again, to another server, when one is unavailable. A write goes again
// only when it was surely not executed: the end of its frame has not left this process, or what answered was no server of
// ours. Otherwise its caller is told that the outcome is unknown.

import Glibc
import NeedletailRPC

package struct DispatcherOptions: Sendable {
  /// How long one server may take to accept a connection, and how long an operation waits for any to be reachable.
  package var dialTimeout = Duration.seconds(2)
  /// When the server tried first has not accepted after this long, the next one is tried beside it.
  package var patience = Duration.milliseconds(250)
  /// Pause before a server that failed is tried again; doubles with each failure in a row.
  package var firstPause = Duration.milliseconds(25)
  package var longestPause = Duration.seconds(1)
  /// Endpoint to begin with; nil = any, so that many clients spread.
  package var startIndex: Int?

  package init() {}
}

package final class Dispatcher {
  /// What is known of one endpoint. Invariant: `inFlight` is empty while `connection` is nil.
  struct Slot {
    let endpoint: Endpoint
    var connection: ClientConnection?
    var dialedAt = Instant(nanoseconds: 0)
    var retryAt = Instant(nanoseconds: 0)
    var failuresInRow = 0
    var lastFailure: ClientError?
    var inFlight: [UInt32: Operation] = [:]
    var streams: [UInt32: StreamCall] = [:]

    var isOpen: Bool { connection?.state == .open }
  }

  private let options: DispatcherOptions
  var slots: [Slot]
  private var turn: Int
  private var waiting: [Operation] = []
  var waitingStreams: [StreamCall] = []
  /// No operation's time runs out before this. May lie too early, never too late.
  private var nextExpiry = Instant.never

  /// `endpoints` must hold at least one.
  package init(_ endpoints: [Endpoint], _ options: DispatcherOptions = DispatcherOptions()) {
    precondition(!endpoints.isEmpty, "a dispatcher needs an endpoint")
    self.options = options
    slots = endpoints.map { Slot(endpoint: $0) }
    turn = (options.startIndex ?? Int.random(in: 0..<endpoints.count)) % endpoints.count
  }

  /// Operations that are not finished.
  package var pendingCount: Int { slots.reduce(waiting.count) { $0 + $1.inFlight.count } }

  package func submit(_ operation: Operation) {
    operation.waitingSince = .now
    waiting.append(operation)
    nextExpiry = min(nextExpiry, operation.deadline)
  }

  /// Waits until something happens, `wake` is readable or `deadline` comes, and does what there is to do.
  package func step(until deadline: Instant, wake: Int32 = -1) {
    var now = Instant.now
    expire(now)
    assign(now)
    var polls: [pollfd] = []
    var polled: [Int] = []
    for at in slots.indices {
      guard let connection = slots[at].connection else { continue }
      polls.append(pollfd(fd: connection.descriptor, events: connection.pollEvents, revents: 0))
      polled.append(at)
    }
    if wake >= 0 { polls.append(pollfd(fd: wake, events: Int16(POLLIN), revents: 0)) }
    let until = min(deadline, nextEvent(now))
    let ready = poll(&polls, nfds_t(polls.count), until.pollTimeout(from: now))
    now = .now
    if ready > 0 {
      for (entry, at) in zip(polls, polled) where entry.revents != 0 { serve(at, entry.revents, now) }
    }
    dropSlowDials(now)
    expire(now)
    assign(now)
  }

  /// Finishes everything with `error` and closes the connections.
  package func shutDown(_ error: ClientError) {
    let operations = waiting + slots.flatMap { $0.inFlight.values }
    waiting = []
    for at in slots.indices {
      slots[at].inFlight = [:]
      slots[at].connection = nil
    }
    for operation in operations { operation.finish(.failure(error)) }
    let streams = waitingStreams + slots.flatMap { $0.streams.values }
    waitingStreams = []
    for at in slots.indices { slots[at].streams = [:] }
    for call in streams where !call.isClosed {
      call.isClosed = true
      _ = call.ended(error)
    }
  }

  // MARK: From waiting to in flight

  /// Gives waiting operations to connections, and starts connections where none is open.
  private func assign(_ now: Instant) {
    assignStreams(now)
    guard !waiting.isEmpty else { return }
    var stillWaiting: [Operation] = []
    let candidates = waiting
    waiting = []
    for operation in candidates where !operation.isFinished {
      if operation.notBefore > now {
        stillWaiting.append(operation)
      } else if let at = openSlot(endpoint: operation.endpoint, now) {
        send(operation, at, now)
      } else if let why = unreachable(endpoint: operation.endpoint, since: operation.waitingSince, now) {
        operation.finish(.failure(why))
      } else {
        stillWaiting.append(operation)
      }
    }
    waiting += stillWaiting
    for at in slots.indices where slots[at].isOpen {
      guard let connection = slots[at].connection else { continue }
      do { try connection.advance(Int16(POLLOUT)) } catch { lose(at, error, now) }
    }
  }

  /// The next open connection in turn. Starts to connect where that serves this operation or the next ones.
  func openSlot(endpoint: Int?, _ now: Instant) -> Int? {
    if let at = endpoint {
      if slots[at].connection == nil { dial(at, now) }
      return slots[at].isOpen ? at : nil
    }
    let order = slots.indices.map { (turn + $0) % slots.count }
    guard let open = order.first(where: { slots[$0].isOpen }) else {
      let dialing = order.filter { slots[$0].connection != nil }
      if dialing.allSatisfy({ slots[$0].dialedAt + options.patience <= now }) {
        for at in order where slots[at].connection == nil && dial(at, now) { break }
      }
      return nil
    }
    // Whoever was skipped because it is not connected gets its connection now, for a later turn.
    if order[0] != open { dial(order[0], now) }
    turn = (order[0] + 1) % slots.count
    return open
  }

  @discardableResult
  private func dial(_ at: Int, _ now: Instant) -> Bool {
    guard slots[at].connection == nil, slots[at].retryAt <= now else { return false }
    slots[at].dialedAt = now
    do {
      slots[at].connection = try ClientConnection(to: slots[at].endpoint)
      return true
    } catch {
      lose(at, error, now)
      return false
    }
  }

  private func send(_ operation: Operation, _ at: Int, _ now: Instant) {
    guard let connection = slots[at].connection else { return }
    let left = operation.deadline == .never ? 0 : (operation.deadline - now).frameDeadline
    let stream = operation.body.withUnsafeBytes {
      connection.submit(operation.method, encoded: $0, deadlineMS: left)
    }
    operation.frameEnd = connection.submittedBytes
    operation.attempts += 1
    slots[at].inFlight[stream] = operation
  }

  /// Why an operation has waited long enough for a server, or nil if it shall go on waiting.
  func unreachable(endpoint: Int?, since: Instant, _ now: Instant) -> ClientError? {
    guard since + options.dialTimeout <= now else { return nil }
    let tried = endpoint.map { [slots[$0]] } ?? slots
    var whys: [String] = []
    for slot in tried {
      guard slot.connection == nil, let failure = slot.lastFailure else { return nil }
      if case .unreachable(let why) = failure { whys.append(why) } else { whys.append(failure.description) }
    }
    return .unreachable(whys.joined(separator: "; "))
  }

  // MARK: Answers and failures

  private func serve(_ at: Int, _ events: Int16, _ now: Instant) {
    guard let connection = slots[at].connection else { return }
    var failure: ClientError?
    do { try connection.advance(events) } catch { failure = error }
    // Whatever arrived before the end of a connection still counts.
    do {
      while let answer = try connection.next() { take(answer, at, now) }
    } catch {
      failure = error
    }
    if let failure { lose(at, failure, now) }
  }

  private func take(_ answer: Answer, _ at: Int, _ now: Instant) {
    slots[at].failuresInRow = 0
    slots[at].lastFailure = nil
    if takeForStream(answer, at, now) { return }
    // The answer to an operation whose time ran out has no taker any more.
    guard let operation = slots[at].inFlight.removeValue(forKey: answer.stream) else { return }
    guard let error = answer.error else { return operation.finish(.success([UInt8](answer.body))) }
    if error.code == .unavailable && operation.kind == .read {
      operation.lastFailure = error.message
      retry(operation, after: pause(operation.attempts), now)
    } else if error.code == .deadlineExceeded {
      // The server's clock was a little ahead of ours.
      operation.finish(.failure(.deadlineExceeded(operation.lastFailure)))
    } else {
      operation.finish(.failure(.server(error)))
    }
  }

  /// The connection of a slot is gone: what it carried goes again or fails, each by the rules.
  private func lose(_ at: Int, _ error: ClientError, _ now: Instant) {
    let sentBytes = slots[at].connection?.sentBytes ?? 0
    let isStranger = slots[at].connection?.isStranger ?? false
    let operations = slots[at].inFlight.sorted { $0.value.frameEnd < $1.value.frameEnd }.map(\.value)
    slots[at].inFlight = [:]
    slots[at].connection = nil
    slots[at].lastFailure = error
    slots[at].retryAt = now + pause(slots[at].failuresInRow + 1)
    slots[at].failuresInRow += 1
    for operation in operations {
      operation.lastFailure = error.description
      if operation.kind == .read || operation.frameEnd > sentBytes || isStranger {
        // At a stranger's it has only waited on.
        let waitingSince = isStranger ? operation.waitingSince : now
        retry(operation, after: .zero, now)
        operation.waitingSince = waitingSince
      } else {
        operation.finish(.failure(.outcomeUnknown(error.description)))
      }
    }
    loseStreams(at, error, now)
  }

  private func retry(_ operation: Operation, after pause: Duration, _ now: Instant) {
    operation.waitingSince = now
    operation.notBefore = now + pause
    waiting.append(operation)
  }

  func pause(_ failures: Int) -> Duration {
    min(options.longestPause, options.firstPause * (1 << min(max(failures - 1, 0), 10)))
  }

  // MARK: Time

  private func dropSlowDials(_ now: Instant) {
    for at in slots.indices {
      guard let connection = slots[at].connection, connection.state == .connecting,
        slots[at].dialedAt + options.dialTimeout <= now
      else { continue }
      lose(at, .unreachable("\(slots[at].endpoint): connection timed out"), now)
    }
  }

  /// Finishes the operations whose time ran out. They leave their places first: a completion may submit anew.
  private func expire(_ now: Instant) {
    guard nextExpiry <= now else { return }
    nextExpiry = .never
    var expired: [(Operation, String)] = []
    var kept: [Operation] = []
    for operation in waiting where !operation.isFinished {
      if isDue(operation, now) { expired.append((operation, whyWaiting(operation))) } else { kept.append(operation) }
    }
    waiting = kept
    for at in slots.indices {
      for (stream, operation) in slots[at].inFlight where operation.isFinished || isDue(operation, now) {
        slots[at].inFlight[stream] = nil
        expired.append((operation, operation.lastFailure))
      }
    }
    for (operation, why) in expired { operation.finish(.failure(.deadlineExceeded(why))) }
  }

  /// Whether the operation's time ran out; if not, takes note of when it will.
  private func isDue(_ operation: Operation, _ now: Instant) -> Bool {
    if operation.deadline <= now { return true }
    nextExpiry = min(nextExpiry, operation.deadline)
    return false
  }

  private func whyWaiting(_ operation: Operation) -> String {
    if !operation.lastFailure.isEmpty { return operation.lastFailure }
    let tried = operation.endpoint.map { [slots[$0]] } ?? slots
    return tried.compactMap { $0.lastFailure?.description }.joined(separator: "; ")
  }

  /// When there is something to do even if no socket says so.
  private func nextEvent(_ now: Instant) -> Instant {
    var next = nextExpiry
    for slot in slots where slot.connection?.state == .connecting {
      next = min(next, slot.dialedAt + options.dialTimeout)
    }
    for operation in waiting {
      next = min(next, self.next(operation.endpoint, operation.waitingSince, operation.notBefore, now))
    }
    for call in waitingStreams { next = min(next, self.next(call.endpoint, call.waitingSince, call.notBefore, now)) }
    return next
  }

  /// When there is something to do for who waits for a connection.
  private func next(_ endpoint: Int?, _ waitingSince: Instant, _ notBefore: Instant, _ now: Instant) -> Instant {
    if notBefore > now { return notBefore }
    var next = max(waitingSince + options.dialTimeout, now + .milliseconds(10))
    for slot in endpoint.map({ [slots[$0]] }) ?? slots {
      // A server that may be tried again, or one whose turn comes because the first is slow.
      let due = slot.connection == nil ? slot.retryAt : slot.dialedAt + options.patience
      if due > now { next = min(next, due) }
    }
    return next
  }
}
