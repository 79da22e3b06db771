// One connection's record: trivial memory in the reactor's table, reached by pointer, never counted.
//
// The handler sees it while it decodes; the transport owns its life. A request that is wholly there is decoded in place
// in the receive buffer; only an unfinished rest is copied into `input`.

import CNeedletail

@usableFromInline
package struct ConnectionFlags: OptionSet, Sendable {
  @usableFromInline package let rawValue: UInt32
  @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

  /// The handler has more whole requests in `input` than it may answer now: reading stops until the answers drain.
  @usableFromInline static var paused: Self { Self(rawValue: 1 << 0) }
  /// No more requests are read; what is in `output` is still sent, deferred answers still come, then it closes.
  @usableFromInline static var finishing: Self { Self(rawValue: 1 << 1) }
  /// Everything is sent and our side shut: what the peer still sends is thrown away until it closes too, because a
  /// close with unread bytes resets the connection and may destroy the last answer on its way.
  static var lingering: Self { Self(rawValue: 1 << 2) }
  /// Broken or over: freed as soon as the kernel holds nothing of it.
  static var dead: Self { Self(rawValue: 1 << 3) }
  /// The peer has sent its last byte.
  static var peerFinished: Self { Self(rawValue: 1 << 4) }
  /// In the transport's list of connections to look after at the end of the batch.
  static var touched: Self { Self(rawValue: 1 << 5) }
  /// Accepted over the connection limit: the handler answers its first request with an error.
  static var overLimit: Self { Self(rawValue: 1 << 6) }
  /// In the list of connections whose stashed requests go on in the next batch.
  static var resumed: Self { Self(rawValue: 1 << 7) }
  /// The handler knows the protocol: the deadline for the first bytes is off.
  static var greeted: Self { Self(rawValue: 1 << 8) }
  /// io_uring: a receive is armed, a send is in the kernel, a cancel of the receive is on its way.
  static var receiving: Self { Self(rawValue: 1 << 9) }
  static var sendInFlight: Self { Self(rawValue: 1 << 10) }
  static var cancelling: Self { Self(rawValue: 1 << 11) }
  /// An answer is being made in pieces: no request is decoded before it is whole, and the handler is called again
  /// whenever what it made has drained.
  @usableFromInline static var producing: Self { Self(rawValue: 1 << 12) }
  /// The handler wants to be told when the output has left; in the list of those whose output has.
  @usableFromInline static var drainWanted: Self { Self(rawValue: 1 << 13) }
  static var drained: Self { Self(rawValue: 1 << 14) }
  /// The handler holds a part of a request: the deadline for its rest runs.
  static var unfinished: Self { Self(rawValue: 1 << 15) }
  /// What is in `input` waits for an answer, however much has drained.
  static var held: Self { Self(rawValue: 1 << 16) }
  /// Ends at once: nothing more is sent.
  static var broken: Self { Self(rawValue: 1 << 17) }
}

@usableFromInline
package typealias ConnectionPointer = UnsafeMutablePointer<ReactorConnection>

@usableFromInline
package struct ReactorConnection {
  let descriptor: Int32
  package let slot: UInt32
  /// Counts the occupants of the slot, so that late events and answers find out that theirs has gone.
  package let generation: UInt32
  @usableFromInline var flags: ConnectionFlags = []

  /// The handler's own: 0 until it knows the protocol.
  package var face: UInt8 = 0
  package var faceState: UInt64 = 0

  /// Received and not yet decoded: [inputStart, input.count).
  var input = OutBuffer.refusable
  var inputStart = 0
  /// Answers of this batch, appended by the handler.
  @usableFromInline
  package var output = OutBuffer.refusable
  /// Answers that the kernel is taking: [sent, sending.count). The two buffers swap when this one is empty.
  @usableFromInline
  var sending = OutBuffer.refusable
  @usableFromInline
  var sent = 0

  /// Requests handed to other threads whose answers have not come back.
  @usableFromInline package var deferredAnswers: Int32 = 0
  /// Calls that wait for what others do. They hold back neither further requests nor the connection's end; who serves them
  /// must hear of it.
  package private(set) var patientCalls: Int32 = 0
  /// 0 while an answer is made in pieces, so that `mayAnswer` needs to look at nothing more.
  @usableFromInline var backlogLimit: Int
  private let backlogLimitOfConnection: Int
  @usableFromInline let deferredLimit: Int32

  /// Coarse milliseconds after which the connection is given up, 0 = none; why is told by the flags.
  var deadline_ms: UInt64 = 0
  /// epoll: the interest that the kernel has now.
  var interest: UInt32 = 0

  init(descriptor: Int32, slot: UInt32, generation: UInt32, limits: ReactorLimits) {
    self.descriptor = descriptor
    self.slot = slot
    self.generation = generation
    backlogLimit = limits.outputBacklog
    backlogLimitOfConnection = limits.outputBacklog
    deferredLimit = limits.deferredAnswers
  }

  /// Answer bytes the peer has not taken.
  @inlinable package var backlog: Int { output.count &+ sending.count &- sent }

  /// True while another request may be decoded. A handler that finds it false returns what it consumed so far; the rest
  /// is kept and comes again when the backlog has drained.
  @inlinable @inline(__always)
  package var mayAnswer: Bool { backlog < backlogLimit && deferredAnswers < deferredLimit }

  /// Accepted although the server has all the connections it may have: answer with an error and `finish()`.
  package var isOverLimit: Bool { flags.contains(.overLimit) }

  /// The protocol is known: the deadline for the first bytes no longer applies.
  package mutating func greet() { flags.insert(.greeted) }

  /// Ends the connection after what is in `output` (and deferred answers) has been sent. Input is no longer read.
  package mutating func finish() { flags.insert(.finishing) }

  /// Ends the connection without another byte: something is lost that the peer would take what follows for.
  package mutating func breakOff() { flags.formUnion([.finishing, .broken]) }

  /// True after `finish()`: a handler stops decoding.
  @inlinable package var isFinishing: Bool { flags.contains(.finishing) }

  /// Counts a request that another thread will answer through the mailbox.
  @inlinable package mutating func deferAnswer() { deferredAnswers &+= 1 }

  /// Counts a call whose answer's address `isPatient`; false where the connection has as many as it may.
  package mutating func beginPatientCall() -> Bool {
    guard patientCalls < deferredLimit else { return false }
    patientCalls += 1
    return true
  }

  /// Such a call was refused at once, or its answer has come.
  package mutating func endPatientCall() { patientCalls -= 1 }

  /// An answer begins that is made in pieces, each when the one before has drained: the handler's `receive` is called for
  /// them, until `endPieces`. A stop waits for it as for a deferred answer.
  package mutating func beginPieces() {
    flags.insert(.producing)
    backlogLimit = 0
    deferredAnswers &+= 1
  }

  package mutating func endPieces() {
    flags.remove(.producing)
    backlogLimit = backlogLimitOfConnection
    deferredAnswers &-= 1
  }

  /// The handler has consumed a part of a request and waits for its rest: a peer that ends its stream here has broken off,
  /// and one that sends nothing for long is given up.
  package var isUnfinished: Bool {
    get { flags.contains(.unfinished) }
    set { if newValue { flags.insert(.unfinished) } else { flags.remove(.unfinished) } }
  }

  /// Nothing more is read or decoded until `release`: the requests that came wait for the answer to the one before.
  package mutating func hold() {
    flags.insert(.held)
    backlogLimit = 0
  }

  package mutating func release() {
    flags.remove(.held)
    backlogLimit = backlogLimitOfConnection
  }

  /// Whether more may be appended to the output.
  @inlinable package var hasRoom: Bool { backlog < backlogLimit }

  /// Has the handler's `receive` called, with or without news, when what is in the output has mostly left; until then
  /// nothing is read. For a handler that has more to send than the output may hold.
  package mutating func pauseUntilDrained() { flags.insert(.paused) }

  @inlinable package var isProducing: Bool { flags.contains(.producing) }
  /// Has the handler's `drained` called when the answers have left, all but a little.
  @inlinable package mutating func tellDrained() { flags.insert(.drainWanted) }

  /// The listener's port; 0 of a unix socket. Makes a system call.
  package var localPort: Int32 { nt_local_port(descriptor) }

  /// The listener's path; empty of TCP. Makes a system call.
  package var localPath: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { text in
      guard let start = text.baseAddress, nt_local_path(descriptor, start, 128) > 0 else { return "" }
      return String(cString: start)
    }
  }

  /// The other end as text, for logs. Makes a system call.
  package var peerName: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 96) { text in
      guard let start = text.baseAddress, nt_peer_name(descriptor, start, 96) >= 0 else { return "?" }
      return String(cString: start)
    }
  }

  /// Nothing left to send and nothing to wait for.
  var isQuiet: Bool { backlog == 0 && deferredAnswers == 0 }

  /// Everything in `sending` has gone. A buffer that grew large once isn't kept for ever.
  mutating func clearSent() {
    sent = 0
    sending.removeAll()
    if _slowPath(sending.capacity > 256 << 10) { sending.free() }
  }

  mutating func freeBuffers() {
    input.free()
    output.free()
    sending.free()
  }
}
