// The connections of one reactor: records in one block of memory, found by slot, and the lists of those to look after.
//
// Both transports share this: what to do with bytes that came and bytes that go is theirs, when a connection pauses,
// ends or is freed is decided here.

import CNeedletail
import Glibc

@usableFromInline
package struct ConnectionTable {
  let limits: ReactorLimits
  let counters: ReactorCounters
  let group: ReactorGroup
  let index: Int

  /// Slots [0, used) have been occupied at least once; `live` is a flag per slot.
  private let records: UnsafeMutablePointer<ReactorConnection>
  private let generations: UnsafeMutablePointer<UInt32>
  private let live: UnsafeMutablePointer<Bool>
  private let freeSlots: UnsafeMutablePointer<UInt32>
  private var freeCount = 0
  private(set) var used = 0
  private(set) var count = 0
  let capacity: Int

  /// Lists of slots, each connection in each at most once (its flag tells).
  private let touchedSlots: UnsafeMutablePointer<UInt32>
  private(set) var touchedCount = 0
  private let resumedSlots: UnsafeMutablePointer<UInt32>
  private(set) var resumedCount = 0
  private let drainedSlots: UnsafeMutablePointer<UInt32>
  private var drainedCount = 0
  private let deadSlots: UnsafeMutablePointer<UInt32>
  private var deadCount = 0

  /// Coarse clock, read once a batch.
  private(set) var now_ms: UInt64 = 0
  private var nextSweep_ms: UInt64 = 0
  private var sweepSlot = 0
  private var sweeping = false
  /// Set by a stop: when the last connections are cut off.
  private(set) var stopDeadline_ms: UInt64?

  /// The loop's next turn shall come by then.
  @usableFromInline package var wakeBy_ns = UInt64.max

  private var pendingNotice: ReactorNotice?
  private var noticeAllowed_ms: UInt64 = 0

  /// Generations leave the top bits of a word with slot and generation free for the transports' tags.
  static var generationMask: UInt32 { 0x0fff_ffff }

  /// Room to accept connections that are only told that there are too many.
  static var refusalRoom: Int { 64 }

  init(limits: ReactorLimits, group: ReactorGroup, index: Int) {
    OutBuffer.prepareForRefusal()
    self.limits = limits
    self.group = group
    self.index = index
    counters = group.counters(index)
    capacity = limits.connections + ConnectionTable.refusalRoom
    records = .allocate(capacity: capacity)
    generations = .allocate(capacity: capacity)
    generations.initialize(repeating: 0, count: capacity)
    live = .allocate(capacity: capacity)
    live.initialize(repeating: false, count: capacity)
    freeSlots = .allocate(capacity: capacity)
    touchedSlots = .allocate(capacity: capacity)
    resumedSlots = .allocate(capacity: capacity)
    deadSlots = .allocate(capacity: capacity)
    drainedSlots = .allocate(capacity: capacity)
    now_ms = nt_coarse_milliseconds()
  }

  /// How long the loop may sleep.
  var sleep_ms: Int32 {
    if resumedCount > 0 { return 0 }
    let most: Int32 = stopDeadline_ms == nil ? 500 : 20
    guard wakeBy_ns != .max else { return most }
    let now = nt_nanoseconds()
    return wakeBy_ns <= now ? 0 : min(most, Int32(clamping: (wakeBy_ns - now) / 1_000_000 + 1))
  }

  mutating func readClock() { now_ms = nt_coarse_milliseconds() }

  // MARK: - Life of a connection

  /// A record for an accepted socket, or nil (the socket is closed) when even the room for refusals is taken.
  mutating func open(_ descriptor: Int32) -> ConnectionPointer? {
    guard count < capacity, stopDeadline_ms == nil else {
      refuse(descriptor)
      return nil
    }
    let slot: Int
    if freeCount > 0 {
      freeCount -= 1
      slot = Int(freeSlots[freeCount])
    } else {
      slot = used
      used += 1
    }
    generations[slot] = (generations[slot] &+ 1) & ConnectionTable.generationMask
    live[slot] = true
    let connection = records + slot
    connection.initialize(
      to: ReactorConnection(
        descriptor: descriptor, slot: UInt32(slot), generation: generations[slot], limits: limits))
    connection.pointee.deadline_ms = now_ms + limits.greeting_ms
    if count >= limits.connections {
      connection.pointee.flags.insert(.overLimit)
      counters.add(.refused)
      post(.connectionLimit(limits.connections))
    }
    count += 1
    counters.add(.accepted)
    nt_tune_stream(descriptor)
    return connection
  }

  private mutating func refuse(_ descriptor: Int32) {
    close(descriptor)
    group.release(index)
    counters.add(.refused)
    if stopDeadline_ms == nil { post(.connectionLimit(limits.connections)) }
  }

  /// The slot's occupant if it is still that generation.
  package func find(slot: UInt32, generation: UInt32) -> ConnectionPointer? {
    guard slot < UInt32(used), live[Int(slot)], generations[Int(slot)] == generation else { return nil }
    return records + Int(slot)
  }

  /// The connection that a deferred answer is for, counted as answered.
  @usableFromInline
  package mutating func answered(_ address: ReplyAddress) -> ConnectionPointer? {
    guard let connection = find(slot: address.slot, generation: address.generation) else { return nil }
    if _slowPath(address.isPatient) {
      connection.pointee.endPatientCall()
    } else {
      connection.pointee.deferredAnswers -= 1
    }
    touch(connection)
    return connection
  }

  /// Frees a dead connection's record. The kernel must hold nothing of it any more.
  @usableFromInline
  package mutating func release(_ connection: ConnectionPointer) {
    let slot = Int(connection.pointee.slot)
    assert(live[slot] && connection.pointee.flags.contains(.dead))
    close(connection.pointee.descriptor)
    connection.pointee.freeBuffers()
    connection.deinitialize(count: 1)
    live[slot] = false
    freeSlots[freeCount] = UInt32(slot)
    freeCount += 1
    count -= 1
    group.release(index)
    counters.add(.closed)
  }

  // MARK: - Lists

  /// A connection wants its input when nothing holds its requests back, and while what it sends is thrown away.
  @inline(__always)
  func wantsInput(_ connection: ConnectionPointer) -> Bool {
    let flags = connection.pointee.flags
    return flags.isDisjoint(with: [.paused, .peerFinished, .finishing, .resumed])
      || (flags.contains(.lingering) && !flags.contains(.peerFinished))
  }

  /// Has the transport look after the connection at the end of the batch.
  @inline(__always)
  package mutating func touch(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.touched) { return }
    connection.pointee.flags.insert(.touched)
    touchedSlots[touchedCount] = connection.pointee.slot
    touchedCount &+= 1
  }

  mutating func takeTouched() -> ConnectionPointer? {
    guard touchedCount > 0 else { return nil }
    touchedCount &-= 1
    let connection = records + Int(touchedSlots[touchedCount])
    connection.pointee.flags.remove(.touched)
    return connection
  }

  mutating func takeResumed() -> ConnectionPointer? {
    guard resumedCount > 0 else { return nil }
    resumedCount -= 1
    let connection = records + Int(resumedSlots[resumedCount])
    connection.pointee.flags.remove(.resumed)
    return connection
  }

  /// Marks it dead; the transport says by `bury` when the kernel holds nothing of it.
  mutating func kill(_ connection: ConnectionPointer) {
    guard !connection.pointee.flags.contains(.dead) else { return }
    connection.pointee.flags.insert(.dead)
    touch(connection)
  }

  /// Where memory was refused for a request, or for an answer that nobody took back, no byte of either can be trusted.
  @inline(__always)
  mutating func endIfRefused(_ connection: ConnectionPointer) {
    let isRefused = connection.pointee.output.isRefused || connection.pointee.input.isRefused
    if _slowPath(isRefused || connection.pointee.flags.contains(.broken)) { kill(connection) }
  }

  mutating func bury(_ connection: ConnectionPointer) {
    assert(connection.pointee.flags.contains(.dead))
    deadSlots[deadCount] = connection.pointee.slot
    deadCount += 1
  }

  @usableFromInline
  package mutating func takeDead() -> ConnectionPointer? {
    guard deadCount > 0 else { return nil }
    deadCount -= 1
    let connection = records + Int(deadSlots[deadCount])
    // A connection can't be in another list when its record goes.
    if connection.pointee.flags.contains(.resumed) { dropResumed(connection.pointee.slot) }
    return connection
  }

  private mutating func dropResumed(_ slot: UInt32) {
    var kept = 0
    for i in 0..<resumedCount where resumedSlots[i] != slot {
      resumedSlots[kept] = resumedSlots[i]
      kept += 1
    }
    resumedCount = kept
  }

  // MARK: - Input

  /// The bytes to decode: the chunk itself, or with an unfinished rest before it, both together.
  @usableFromInline
  func begin(_ connection: ConnectionPointer, _ chunk: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if _fastPath(connection.pointee.input.isEmpty) { return chunk }
    return join(connection, chunk)
  }

  @inline(never)
  private func join(_ connection: ConnectionPointer, _ chunk: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    if connection.pointee.inputStart > 0, chunk.count > 0 {
      connection.pointee.input.removeFirst(connection.pointee.inputStart)
      connection.pointee.inputStart = 0
    }
    connection.pointee.input.append(chunk)
    if _slowPath(connection.pointee.input.isRefused) { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(rebasing: connection.pointee.input.bytes[connection.pointee.inputStart...])
  }

  /// Keeps what was not consumed, pauses a connection that may not be answered more, and looks after it. Returns true
  /// when the peer's stream has ended within a request.
  @usableFromInline
  mutating func end(
    _ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, consumed: Int
  ) -> Bool {
    assert(consumed >= 0 && consumed <= bytes.count)
    if _slowPath(consumed != bytes.count || !connection.pointee.input.isEmpty) {
      keep(connection, bytes, consumed)
    }
    if _slowPath(!connection.pointee.mayAnswer) { pause(connection) }
    touch(connection)
    if _slowPath(connection.pointee.flags.contains(.peerFinished)) { return ended(connection) }
    return false
  }

  @inline(never)
  private func keep(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, _ consumed: Int) {
    if connection.pointee.input.isEmpty {
      if !connection.pointee.isFinishing {
        connection.pointee.input.append(UnsafeRawBufferPointer(rebasing: bytes[consumed...]))
      }
      return
    }
    connection.pointee.inputStart += consumed
    if connection.pointee.inputStart == connection.pointee.input.count || connection.pointee.isFinishing {
      connection.pointee.inputStart = 0
      connection.pointee.input.removeAll()
      if connection.pointee.input.capacity > 64 << 10 { connection.pointee.input.free() }
    }
  }

  @inline(never)
  private func pause(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.paused) { return }
    if connection.pointee.isFinishing && !connection.pointee.isProducing { return }
    connection.pointee.flags.insert(.paused)
    counters.add(.pauses)
  }

  /// The peer sends nothing more and everything decodable is decoded: the connection ends once it is answered.
  private func ended(_ connection: ConnectionPointer) -> Bool {
    if !connection.pointee.flags.isDisjoint(with: [.paused, .finishing, .resumed]) { return false }
    return connection.pointee.isUnfinished || connection.pointee.input.count > connection.pointee.inputStart
  }

  // MARK: - Output

  /// Called when the transport has sent what it could. Decides what becomes of the connection; the transport then
  /// arranges interest or receives accordingly.
  mutating func settle(_ connection: ConnectionPointer) {
    let flags = connection.pointee.flags
    if flags.contains(.dead) { return }
    if _slowPath(flags.contains(.drainWanted)) { noteDrained(connection) }
    if flags.contains(.paused) { resumeIfDrained(connection) }
    let over = flags.contains(.finishing) || (flags.contains(.peerFinished) && !hasInput(connection))
    if over && connection.pointee.isQuiet {
      if flags.contains(.peerFinished) {
        kill(connection)
      } else if !flags.contains(.lingering) {
        connection.pointee.flags.insert(.lingering)
        shutdown(connection.pointee.descriptor, Int32(SHUT_WR))
        connection.pointee.deadline_ms = now_ms + (stopDeadline_ms == nil ? limits.linger_ms : 100)
      }
      return
    }
    guard flags.contains(.greeted) || flags.contains(.finishing) else { return }
    // A connection that is ending gets one term, whatever trickles.
    if flags.contains(.finishing) && connection.pointee.deadline_ms != 0 { return }
    let isCut = !connection.pointee.input.isEmpty && !flags.contains(.paused)
    let waiting = connection.pointee.backlog > 0 || isCut || flags.contains(.unfinished)
    connection.pointee.deadline_ms = waiting ? now_ms + limits.stall_ms : 0
  }

  @inline(never)
  private mutating func noteDrained(_ connection: ConnectionPointer) {
    guard connection.pointee.backlog <= limits.drainMark else { return }
    connection.pointee.flags.remove(.drainWanted)
    guard !connection.pointee.flags.contains(.drained) else { return }
    connection.pointee.flags.insert(.drained)
    drainedSlots[drainedCount] = connection.pointee.slot
    drainedCount += 1
  }

  /// The next connection whose answers have left as its handler wished. Taken before any record is released.
  @usableFromInline
  package mutating func takeDrained() -> ConnectionPointer? {
    guard drainedCount > 0 else { return nil }
    drainedCount -= 1
    let connection = records + Int(drainedSlots[drainedCount])
    connection.pointee.flags.remove(.drained)
    return connection
  }

  private func hasInput(_ connection: ConnectionPointer) -> Bool {
    !connection.pointee.flags.isDisjoint(with: [.paused, .resumed])
  }

  private mutating func resumeIfDrained(_ connection: ConnectionPointer) {
    // An answer made in pieces goes on while the connection ends, no faster than it drains.
    let isEnding = connection.pointee.isFinishing && !connection.pointee.isProducing
    guard
      isEnding
        || (!connection.pointee.flags.contains(.held)
          && connection.pointee.backlog <= limits.outputBacklog / 2
          && connection.pointee.deferredAnswers <= limits.deferredAnswers / 2)
    else { return }
    connection.pointee.flags.remove(.paused)
    guard !isEnding, !connection.pointee.flags.contains(.resumed) else { return }
    connection.pointee.flags.insert(.resumed)
    resumedSlots[resumedCount] = connection.pointee.slot
    resumedCount += 1
  }

  // MARK: - Deadlines and stopping

  /// Starts a pass over all deadlines when one is due.
  mutating func beginSweep() {
    guard now_ms >= nextSweep_ms else { return }
    nextSweep_ms = now_ms + (stopDeadline_ms == nil ? 500 : 20)
    sweepSlot = 0
    sweeping = true
  }

  /// The next connection of the pass whose handler must be told; ends the others itself.
  @usableFromInline
  package mutating func nextExpired() -> (ConnectionPointer, AbandonReason)? {
    guard sweeping else { return nil }
    while sweepSlot < used {
      let slot = sweepSlot
      sweepSlot += 1
      guard live[slot] else { continue }
      let connection = records + slot
      let flags = connection.pointee.flags
      let deadline = connection.pointee.deadline_ms
      if deadline == 0 || now_ms < deadline || flags.contains(.dead) { continue }
      if !flags.isDisjoint(with: [.lingering, .finishing]) {
        kill(connection)
        continue
      }
      counters.add(.abandoned)
      touch(connection)
      return (connection, flags.contains(.greeted) ? .stalled : .greetingTimeout)
    }
    sweeping = false
    return nil
  }

  /// Ends an abandoned connection soon: what was appended gets a moment to leave.
  @usableFromInline
  package mutating func abandon(_ connection: ConnectionPointer) {
    connection.pointee.finish()
    connection.pointee.input.free()
    connection.pointee.inputStart = 0
    connection.pointee.flags.remove(.paused)
    connection.pointee.deadline_ms = now_ms + limits.linger_ms
    touch(connection)
  }

  /// From here on nobody is accepted; connections that are not over after the time given are cut off.
  mutating func beginStop(within_ms: Int32) {
    guard stopDeadline_ms == nil else { return }
    stopDeadline_ms = now_ms + UInt64(max(within_ms, 0))
    nextSweep_ms = now_ms
  }

  /// The first connection at this slot or behind it; the slot moves on.
  @usableFromInline
  func occupied(from slot: inout Int) -> ConnectionPointer? {
    while slot < used {
      slot += 1
      if live[slot - 1] { return records + slot - 1 }
    }
    return nil
  }

  /// Lets a connection finish what was decoded and close, unless its handler sees to that.
  @usableFromInline
  mutating func stop(_ connection: ConnectionPointer, handlerEnds: Bool) {
    if !handlerEnds { connection.pointee.finish() }
    touch(connection)
  }

  func forEach(_ body: (ConnectionPointer) -> Void) {
    for slot in 0..<used where live[slot] { body(records + slot) }
  }

  /// After a stop: true when no connection is left, or when time is over.
  var hasStopped: Bool {
    guard let deadline = stopDeadline_ms else { return false }
    return count == 0 || now_ms >= deadline
  }

  /// Ends what is left when the loop is left, and frees the table.
  mutating func free(_ closed: (ConnectionPointer) -> Void) -> Int {
    var cutOff = 0
    for slot in 0..<used where live[slot] {
      if !records[slot].isQuiet { cutOff += 1 }
      records[slot].flags.insert(.dead)
      closed(records + slot)
      release(records + slot)
    }
    records.deallocate()
    generations.deallocate()
    live.deallocate()
    freeSlots.deallocate()
    touchedSlots.deallocate()
    resumedSlots.deallocate()
    deadSlots.deallocate()
    drainedSlots.deallocate()
    return cutOff
  }

  // MARK: - Notices

  mutating func post(_ notice: ReactorNotice) {
    if now_ms >= noticeAllowed_ms {
      noticeAllowed_ms = now_ms + 1_000
      pendingNotice = notice
    }
  }

  @usableFromInline
  package mutating func takeNotice() -> ReactorNotice? {
    guard pendingNotice != nil else { return nil }
    defer { pendingNotice = nil }
    return pendingNotice
  }
}
