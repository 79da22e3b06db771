// The io_uring transport: accepts and receives stay armed, data arrives in provided buffers, and everything that a
// batch
// queued goes to the kernel together with the next wait.
//
// A batch is the completions that were there when `wait` returned, not those that come while it is decoded: what is
// decoded was received before the handler pinned its snapshot. A connection's memory is freed only when the kernel has
// completed everything that was queued for it.

import CNeedletail
import CUring
import Glibc

@usableFromInline
package struct RingTransport: Transport {
  @usableFromInline
  package var table: ConnectionTable
  @usableFromInline
  package let mailbox: Mailbox
  /// liburing keeps pointers into it: it must not move.
  private let ring: UnsafeMutablePointer<nt_reactor_ring>
  private let listeners: UnsafeMutablePointer<Int32>
  private var listenerCount: Int
  private var spareDescriptor: Int32

  /// Completions of this batch not looked at: [head, batchEnd).
  private var head: UInt32 = 0
  private var batchEnd: UInt32 = 0
  private var resumedLeft = 0
  /// Connections for which the kernel took no submission: tried again in the next turn.
  private let retries: UnsafeMutablePointer<ConnectionPointer>
  private var retryCount = 0

  /// What a completion belongs to: the top four bits of its data.
  private enum Tag {
    static let receive: UInt64 = 1 << 60
    static let send: UInt64 = 2 << 60
    static let accept: UInt64 = 3 << 60
    static let mail: UInt64 = 4 << 60
    static let cancel: UInt64 = 5 << 60
    static let mask: UInt64 = 15 << 60
  }

  private static let entries: UInt32 = 1024
  private static let completions: UInt32 = 8192
  private static let bufferCount: UInt32 = 512
  private static let bufferSize: UInt32 = 8 << 10

  /// `listeners` become the transport's once this has succeeded: it closes them. Call it on the thread that will use
  /// it.
  package init(
    group: ReactorGroup, index: Int, listeners: [Int32], limits: ReactorLimits
  ) throws(ReactorError) {
    ring = .allocate(capacity: 1)
    let rc = nt_ring_open(
      ring, RingTransport.entries, RingTransport.completions, RingTransport.bufferCount, RingTransport.bufferSize)
    guard rc == 0 else {
      ring.deallocate()
      throw ReactorError(call: "io_uring_setup", code: -rc)
    }
    mailbox = group.mailbox(index)
    table = ConnectionTable(limits: limits, group: group, index: index)
    retries = .allocate(capacity: table.capacity)
    self.listeners = .allocate(capacity: max(listeners.count, 1))
    listenerCount = listeners.count
    spareDescriptor = open("/dev/null", O_RDONLY | O_CLOEXEC)
    armMailbox()
    for (i, listener) in listeners.enumerated() {
      self.listeners[i] = listener
      // The kernel waits for connections itself; on a non-blocking listener it would report EAGAIN instead.
      _ = nt_set_blocking(listener, 1)
      arm(listener)
    }
    head = nt_ring_head(ring)
    batchEnd = head
  }

  // A fresh queue has room for these few: they can't fail for want of entries.
  private func armMailbox() { _ = nt_ring_poll(ring, mailbox.eventDescriptor, Tag.mail) }
  private func arm(_ listener: Int32) {
    _ = nt_ring_accept(ring, listener, Tag.accept | UInt64(UInt32(bitPattern: listener)))
  }

  // MARK: - Input

  @usableFromInline
  package mutating func wait() throws(ReactorError) -> Bool {
    if table.hasStopped { return false }
    nt_ring_publish_buffers(ring)
    let sleep_ms = table.sleep_ms
    let rc = nt_ring_wait(ring, retryCount > 0 ? min(sleep_ms, 1) : sleep_ms)
    guard rc == 0 else { throw ReactorError(call: "io_uring_enter", code: -rc) }
    batchEnd = nt_ring_tail(ring)
    table.readClock()
    table.beginSweep()
    for i in 0..<retryCount { table.touch(retries[i]) }
    retryCount = 0
    resumedLeft = table.resumedCount
    table.counters.add(.batches)
    return true
  }

  @usableFromInline
  package mutating func next() -> Arrival? {
    while head != batchEnd {
      let completion = nt_ring_completion(ring, head)
      head &+= 1
      nt_ring_advance(ring, 1)
      if let arrival = serve(completion) { return arrival }
    }
    guard resumedLeft > 0 else { return nil }
    resumedLeft -= 1
    guard let connection = table.takeResumed() else { return nil }
    return Arrival(connection: connection, chunk: UnsafeRawBufferPointer(start: nil, count: 0), buffer: -1)
  }

  @inline(__always)
  private mutating func serve(_ completion: nt_completion) -> Arrival? {
    switch completion.data & Tag.mask {
    case Tag.receive:
      return received(completion)
    case Tag.send:
      sent(completion)
    case Tag.accept:
      accepted(completion)
    case Tag.mail:
      mailbox.drainSignal()
      if completion.flags & UInt32(IORING_CQE_F_MORE) == 0 { armMailbox() }
    default:
      break
    }
    return nil
  }

  private func connection(_ data: UInt64) -> ConnectionPointer? {
    table.find(
      slot: UInt32(truncatingIfNeeded: data),
      generation: UInt32(truncatingIfNeeded: data >> 32) & ConnectionTable.generationMask)
  }

  private func data(_ connection: ConnectionPointer, _ tag: UInt64) -> UInt64 {
    tag | UInt64(connection.pointee.generation) << 32 | UInt64(connection.pointee.slot)
  }

  @inline(__always)
  private mutating func received(_ completion: nt_completion) -> Arrival? {
    let hasBuffer = completion.flags & UInt32(IORING_CQE_F_BUFFER) != 0
    let buffer = hasBuffer ? Int32(completion.flags >> UInt32(IORING_CQE_BUFFER_SHIFT)) : -1
    guard let connection = connection(completion.data) else {
      giveBack(buffer)
      return nil
    }
    if _slowPath(completion.flags & UInt32(IORING_CQE_F_MORE) == 0) {
      connection.pointee.flags.remove([.receiving, .cancelling])
      table.touch(connection)
    }
    if _slowPath(connection.pointee.flags.contains(.dead)) {
      giveBack(buffer)
      return nil
    }
    let n = Int(completion.result)
    if _fastPath(n > 0 && hasBuffer) {
      table.counters.add(.receivedBytes, n)
      let chunk = UnsafeRawBufferPointer(start: nt_ring_buffer(ring, UInt32(buffer)), count: n)
      return Arrival(connection: connection, chunk: chunk, buffer: buffer)
    }
    giveBack(buffer)
    if n == 0 {
      connection.pointee.flags.insert(.peerFinished)
      return Arrival(connection: connection, chunk: UnsafeRawBufferPointer(start: nil, count: 0), buffer: -1)
    }
    // Out of buffers, or cancelled: it is armed again when it is wanted and the batch's buffers are back.
    if n != -Int(ENOBUFS) && n != -Int(ECANCELED) && n != -Int(EINTR) && n != -Int(EAGAIN) { table.kill(connection) }
    return nil
  }

  @usableFromInline
  package mutating func finished(_ arrival: Arrival) { giveBack(arrival.buffer) }

  @inline(__always)
  private func giveBack(_ buffer: Int32) {
    if buffer >= 0 { nt_ring_return_buffer(ring, UInt32(buffer)) }
  }

  // MARK: - Accepting

  private mutating func accepted(_ completion: nt_completion) {
    let listener = Int32(truncatingIfNeeded: completion.data)
    if completion.result >= 0 {
      place(completion.result)
    } else if completion.result == -EMFILE || completion.result == -ENFILE {
      table.post(.acceptFailed(-completion.result))
      if isListening(listener) {
        _ = nt_set_blocking(listener, 0)
        for _ in 0..<64 where !AcceptShedding.shed(listener, &spareDescriptor) { break }
        _ = nt_set_blocking(listener, 1)
      }
    } else if completion.result != -ECONNABORTED && completion.result != -ECANCELED {
      table.post(.acceptFailed(-completion.result))
    }
    if completion.flags & UInt32(IORING_CQE_F_MORE) == 0 && isListening(listener) { arm(listener) }
  }

  private func isListening(_ listener: Int32) -> Bool {
    (0..<listenerCount).contains { listeners[$0] == listener }
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
    if let connection = table.open(descriptor) { table.touch(connection) }
  }

  @usableFromInline
  package mutating func closeListeners() {
    for i in 0..<listenerCount {
      _ = nt_ring_cancel(ring, Tag.accept | UInt64(UInt32(bitPattern: listeners[i])), Tag.cancel)
      // Nobody connects any more even if the cancel is late.
      shutdown(listeners[i], Int32(SHUT_RDWR))
      close(listeners[i])
    }
    listenerCount = 0
  }

  // MARK: - Output

  private mutating func sent(_ completion: nt_completion) {
    guard let connection = connection(completion.data) else { return }
    connection.pointee.flags.remove(.sendInFlight)
    table.touch(connection)
    if _slowPath(completion.result < 0) {
      table.kill(connection)
      return
    }
    table.counters.add(.sentBytes, Int(completion.result))
    connection.pointee.sent &+= Int(completion.result)
    if _fastPath(connection.pointee.sent >= connection.pointee.sending.count) { connection.pointee.clearSent() }
  }

  @usableFromInline
  package mutating func flush() {
    while let connection = table.takeTouched() {
      table.endIfRefused(connection)
      if !connection.pointee.flags.contains(.dead) { send(connection) }
      table.settle(connection)
      if _slowPath(connection.pointee.flags.contains(.dead)) {
        if !connection.pointee.flags.contains(.touched) { letGo(connection) }
        continue
      }
      updateReceive(connection)
    }
  }

  /// Buries a dead connection once the kernel has completed what was queued for it; a shutdown makes it do so.
  private mutating func letGo(_ connection: ConnectionPointer) {
    if connection.pointee.flags.isDisjoint(with: [.receiving, .sendInFlight]) {
      table.bury(connection)
    } else {
      shutdown(connection.pointee.descriptor, Int32(SHUT_RDWR))
    }
  }

  @inline(__always)
  private mutating func send(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.sendInFlight) { return }
    if connection.pointee.sending.isEmpty {
      if connection.pointee.output.isEmpty { return }
      swap(&connection.pointee.sending, &connection.pointee.output)
      connection.pointee.sent = 0
    }
    let bytes = connection.pointee.sending.bytes
    guard let start = bytes.baseAddress else { return }
    let rc = nt_ring_send(
      ring, connection.pointee.descriptor, start + connection.pointee.sent, bytes.count &- connection.pointee.sent,
      data(connection, Tag.send))
    if _slowPath(rc < 0) {
      retry(connection)
      return
    }
    connection.pointee.flags.insert(.sendInFlight)
  }

  @inline(__always)
  private mutating func updateReceive(_ connection: ConnectionPointer) {
    let flags = connection.pointee.flags
    let wanted = table.wantsInput(connection)
    if _fastPath(wanted == flags.contains(.receiving)) { return }
    if wanted {
      let rc = nt_ring_receive(ring, connection.pointee.descriptor, data(connection, Tag.receive))
      if rc < 0 { retry(connection) } else { connection.pointee.flags.insert(.receiving) }
    } else if flags.contains(.paused) && !flags.contains(.cancelling) {
      let rc = nt_ring_cancel(ring, data(connection, Tag.receive), Tag.cancel)
      if rc < 0 { retry(connection) } else { connection.pointee.flags.insert(.cancelling) }
    }
  }

  private mutating func retry(_ connection: ConnectionPointer) {
    // Twice in the list (for a send and for a receive) is once too often.
    if retryCount > 0 && retries[retryCount - 1] == connection { return }
    guard retryCount < table.capacity else { return }
    retries[retryCount] = connection
    retryCount += 1
  }

  // MARK: - The end

  @usableFromInline
  package mutating func endAll(_ closed: (ConnectionPointer) -> Void) -> Int {
    closeListeners()
    table.forEach { connection in
      connection.pointee.flags.insert(.dead)
      shutdown(connection.pointee.descriptor, Int32(SHUT_RDWR))
    }
    // The kernel may still read from buffers of sends; after the shutdown it is done with them at once.
    var turns = 0
    while anySendInFlight && turns < 100 {
      guard nt_ring_wait(ring, 10) == 0 else { break }
      batchEnd = nt_ring_tail(ring)
      while let arrival = next() { finished(arrival) }
      turns += 1
    }
    table.forEach { connection in
      // Never reuse memory that the kernel may still send from.
      if connection.pointee.flags.contains(.sendInFlight) { connection.pointee.sending = OutBuffer() }
    }
    let cutOff = table.free(closed)
    nt_ring_close(ring)
    ring.deallocate()
    if spareDescriptor >= 0 { close(spareDescriptor) }
    listeners.deallocate()
    retries.deallocate()
    return cutOff
  }

  private var anySendInFlight: Bool {
    var found = false
    table.forEach { if $0.pointee.flags.contains(.sendInFlight) { found = true } }
    return found
  }
}
