// The epoll transport: level-triggered, one receive per ready socket, one send per connection and batch.
//
// All receives of a batch happen in `wait`, packed one behind the other into one arena, before the handler decodes any
// of them: what is decoded was received before the handler pinned its snapshot.

import CNeedletail
import Glibc

@usableFromInline
package struct EpollTransport: Transport {
  @usableFromInline
  package var table: ConnectionTable
  @usableFromInline
  package let mailbox: Mailbox
  private let epoll: Int32
  private let listeners: UnsafeMutablePointer<Int32>
  private var listenerCount: Int
  private var spareDescriptor: Int32

  private let events: UnsafeMutablePointer<epoll_event>
  private var eventCount = 0
  private var eventNext = 0

  /// Input of this batch: connections and where in the arena theirs lies.
  private let arena: UnsafeMutableRawPointer
  private var arenaUsed = 0
  private let arrivals: UnsafeMutablePointer<(connection: ConnectionPointer, offset: Int, count: Int)>
  private var arrivalCount = 0
  private var arrivalNext = 0
  private var resumedLeft = 0

  private static let eventCapacity = 256
  private static let arenaSize = 512 << 10
  /// A socket is read only when at least this much of the arena is free.
  private static let receiveRoom = 64 << 10
  private static let mailboxTag: UInt64 = 1 << 63
  private static let listenerTag: UInt64 = 1 << 62

  /// `listeners` become the transport's: it closes them.
  package init(
    group: ReactorGroup, index: Int, listeners: [Int32], limits: ReactorLimits
  ) throws(ReactorError) {
    epoll = nt_epoll_create()
    guard epoll >= 0 else { throw ReactorError(call: "epoll_create", code: -epoll) }
    mailbox = group.mailbox(index)
    table = ConnectionTable(limits: limits, group: group, index: index)
    self.listeners = .allocate(capacity: max(listeners.count, 1))
    listenerCount = listeners.count
    spareDescriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
    events = .allocate(capacity: EpollTransport.eventCapacity)
    arena = .allocate(byteCount: EpollTransport.arenaSize, alignment: 4096)
    arrivals = .allocate(capacity: EpollTransport.eventCapacity)
    try watch(mailbox.eventDescriptor, EpollTransport.mailboxTag)
    for (i, listener) in listeners.enumerated() {
      self.listeners[i] = listener
      _ = nt_set_blocking(listener, 0)
      try watch(listener, EpollTransport.listenerTag | UInt64(UInt32(bitPattern: listener)))
    }
  }

  private func watch(_ descriptor: Int32, _ tag: UInt64) throws(ReactorError) {
    let rc = nt_epoll_add(epoll, descriptor, EPOLLIN.rawValue, tag)
    if rc < 0 { throw ReactorError(call: "epoll_ctl", code: -rc) }
  }

  // MARK: - Input

  @usableFromInline
  package mutating func wait() throws(ReactorError) -> Bool {
    if table.hasStopped { return false }
    arrivalCount = 0
    arrivalNext = 0
    arenaUsed = 0
    if eventNext == eventCount { try poll() }
    table.readClock()
    table.beginSweep()
    while eventNext < eventCount {
      // Events that find the arena full are served by the next batch.
      if arenaUsed > EpollTransport.arenaSize - EpollTransport.receiveRoom { break }
      let event = events[eventNext]
      eventNext &+= 1
      serve(event.data.u64, event.events)
    }
    resumedLeft = table.resumedCount
    table.counters.add(.batches)
    return true
  }

  private mutating func poll() throws(ReactorError) {
    let n = nt_epoll_wait(epoll, events, Int32(EpollTransport.eventCapacity), table.sleep_ms)
    guard n >= 0 else { throw ReactorError(call: "epoll_wait", code: -n) }
    eventCount = Int(n)
    eventNext = 0
  }

  @inline(__always)
  private mutating func serve(_ tag: UInt64, _ ready: UInt32) {
    if _slowPath(tag >= EpollTransport.listenerTag) {
      if tag == EpollTransport.mailboxTag {
        mailbox.drainSignal()
      } else {
        acceptAll(Int32(truncatingIfNeeded: tag))
      }
      return
    }
    let slot = UInt32(truncatingIfNeeded: tag)
    guard let connection = table.find(slot: slot, generation: UInt32(truncatingIfNeeded: tag >> 32)) else { return }
    if ready & EPOLLOUT.rawValue != 0 { table.touch(connection) }
    if ready & ~EPOLLOUT.rawValue != 0 { receive(connection, ready) }
  }

  @inline(__always)
  private mutating func receive(_ connection: ConnectionPointer, _ ready: UInt32) {
    if connection.pointee.interest & EPOLLIN.rawValue == 0 {
      // Not reading, so this is EPOLLERR or EPOLLHUP: nobody is there to take an answer.
      table.kill(connection)
      return
    }
    let n = nt_receive(connection.pointee.descriptor, arena + arenaUsed, EpollTransport.receiveRoom)
    if _fastPath(n > 0) {
      arrivals[arrivalCount] = (connection, arenaUsed, n)
      arrivalCount &+= 1
      arenaUsed = (arenaUsed &+ n &+ 63) & ~63
      table.counters.add(.receivedBytes, n)
    } else if n == 0 {
      connection.pointee.flags.insert(.peerFinished)
      arrivals[arrivalCount] = (connection, arenaUsed, 0)
      arrivalCount &+= 1
    } else if n != -Int(EAGAIN) {
      table.kill(connection)
    }
  }

  @usableFromInline
  package mutating func next() -> Arrival? {
    if arrivalNext < arrivalCount {
      let (connection, offset, count) = arrivals[arrivalNext]
      arrivalNext &+= 1
      let chunk = UnsafeRawBufferPointer(start: arena + offset, count: count)
      return Arrival(connection: connection, chunk: chunk, buffer: -1)
    }
    guard resumedLeft > 0 else { return nil }
    resumedLeft -= 1
    guard let connection = table.takeResumed() else { return nil }
    return Arrival(connection: connection, chunk: UnsafeRawBufferPointer(start: nil, count: 0), buffer: -1)
  }

  @usableFromInline
  package mutating func finished(_ arrival: Arrival) {}

  // MARK: - Accepting

  private mutating func acceptAll(_ listener: Int32) {
    // Bounded, so that a flood of connections doesn't starve those that are served.
    for _ in 0..<64 {
      let descriptor = nt_accept(listener)
      if descriptor >= 0 {
        place(descriptor)
        continue
      }
      if descriptor == -EAGAIN { return }
      if descriptor == -ECONNABORTED || descriptor == -EPROTO { continue }
      table.post(.acceptFailed(-descriptor))
      guard descriptor == -EMFILE || descriptor == -ENFILE else { return }
      guard AcceptShedding.shed(listener, &spareDescriptor) else { return }
    }
  }

  private mutating func place(_ descriptor: Int32) {
    let target = table.group.assign(acceptor: table.index)
    if target == table.index {
      adopt(descriptor)
    } else {
      table.group.mailbox(target).adopt(descriptor)
    }
  }

  @usableFromInline
  package mutating func adopt(_ descriptor: Int32) {
    guard let connection = table.open(descriptor) else { return }
    let rc = nt_epoll_add(epoll, descriptor, EPOLLIN.rawValue, tag(connection))
    connection.pointee.interest = EPOLLIN.rawValue
    if rc < 0 { table.kill(connection) }
  }

  private func tag(_ connection: ConnectionPointer) -> UInt64 {
    UInt64(connection.pointee.generation) << 32 | UInt64(connection.pointee.slot)
  }

  @usableFromInline
  package mutating func closeListeners() {
    for i in 0..<listenerCount {
      _ = nt_epoll_remove(epoll, listeners[i])
      close(listeners[i])
    }
    listenerCount = 0
    // Events of a closed listener may be left in this batch.
    for i in eventNext..<eventCount where events[i].data.u64 & EpollTransport.listenerTag != 0 {
      events[i].data.u64 = EpollTransport.mailboxTag
    }
  }

  // MARK: - Output

  @usableFromInline
  package mutating func flush() {
    while let connection = table.takeTouched() {
      table.endIfRefused(connection)
      if !connection.pointee.flags.contains(.dead) { send(connection) }
      table.settle(connection)
      if _slowPath(connection.pointee.flags.contains(.dead)) {
        // `settle` may have put it back on the list: it is buried when it comes off for good.
        if !connection.pointee.flags.contains(.touched) { table.bury(connection) }
        continue
      }
      updateInterest(connection)
    }
  }

  @inline(__always)
  private mutating func send(_ connection: ConnectionPointer) {
    while true {
      if connection.pointee.sending.isEmpty {
        if connection.pointee.output.isEmpty { return }
        swap(&connection.pointee.sending, &connection.pointee.output)
        connection.pointee.sent = 0
      }
      let bytes = connection.pointee.sending.bytes
      let left = bytes.count &- connection.pointee.sent
      guard let start = bytes.baseAddress else { return }
      let n = nt_send(connection.pointee.descriptor, start + connection.pointee.sent, left)
      if _slowPath(n < 0) {
        if n != -Int(EAGAIN) { table.kill(connection) }
        return
      }
      table.counters.add(.sentBytes, n)
      if _slowPath(n < left) {
        connection.pointee.sent &+= n
        return
      }
      connection.pointee.clearSent()
    }
  }

  private mutating func updateInterest(_ connection: ConnectionPointer) {
    var wanted: UInt32 = connection.pointee.backlog > 0 ? EPOLLOUT.rawValue : 0
    if table.wantsInput(connection) { wanted |= EPOLLIN.rawValue }
    if _fastPath(wanted == connection.pointee.interest) { return }
    connection.pointee.interest = wanted
    if nt_epoll_modify(epoll, connection.pointee.descriptor, wanted, tag(connection)) < 0 { table.kill(connection) }
  }

  @usableFromInline
  package mutating func endAll(_ closed: (ConnectionPointer) -> Void) -> Int {
    closeListeners()
    let cutOff = table.free(closed)
    close(epoll)
    if spareDescriptor >= 0 { close(spareDescriptor) }
    listeners.deallocate()
    events.deallocate()
    arena.deallocate()
    arrivals.deallocate()
    return cutOff
  }
}
