import CNeedletail
import Foundation
import Glibc
import Synchronization

@testable import NeedletailRPC

/// A handler with a tiny protocol of its own: { length u32, kind u8, payload }, answered by { length, kind, payload }.
///   E  echo            D  echo, deferred: another thread posts the answer
///   B  payload is a u32: answer that many bytes        X  malformed: an error text, then the connection ends
///   H  held: counted as deferred and never answered
struct EchoHandler: Handler {
  let group: ReactorGroup
  let index: Int
  let seen: EchoLog
  var inBatch = false

  mutating func beginBatch() {
    precondition(!inBatch)
    inBatch = true
  }
  mutating func endBatch() {
    precondition(inBatch)
    inBatch = false
  }

  mutating func receive(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int {
    precondition(inBatch)
    if connection.pointee.isOverLimit {
      connection.pointee.output.append("too many connections")
      connection.pointee.finish()
      return bytes.count
    }
    var at = 0
    while bytes.count - at >= 5, connection.pointee.mayAnswer {
      let length = Int(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
      if length < 1 || length > 1 << 20 {
        connection.pointee.output.append("bad frame")
        connection.pointee.finish()
        return at
      }
      guard bytes.count - at >= 4 + length else { break }
      connection.pointee.greet()
      serve(connection, UnsafeRawBufferPointer(rebasing: bytes[(at + 4)..<(at + 4 + length)]))
      at += 4 + length
    }
    seen.noteBacklog(connection.pointee.backlog)
    return at
  }

  private func serve(_ connection: ConnectionPointer, _ frame: UnsafeRawBufferPointer) {
    switch frame[0] {
    case UInt8(ascii: "B"):
      let size = Int(frame.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
      withUnsafeBytes(of: UInt32(size + 1)) { connection.pointee.output.append($0) }
      connection.pointee.output.append(byte: UInt8(ascii: "B"))
      memset(connection.pointee.output.reserve(size), 0x42, size)
      connection.pointee.output.advance(size)
    case UInt8(ascii: "D"), UInt8(ascii: "H"):
      connection.pointee.deferAnswer()
      guard frame[0] == UInt8(ascii: "D") else { return }
      let address = ReplyAddress(
        reactor: UInt16(index), method: 0, slot: connection.pointee.slot, generation: connection.pointee.generation,
        stream: 0, startedAt_ns: 0)
      let body = Array(frame)
      seen.workers.async { [group] in
        body.withUnsafeBytes { group.reply(to: address, status: 0, body: $0) }
      }
    default:
      write(connection, frame)
    }
  }

  private func write(_ connection: ConnectionPointer, _ frame: UnsafeRawBufferPointer) {
    withUnsafeBytes(of: UInt32(frame.count)) { connection.pointee.output.append($0) }
    connection.pointee.output.append(frame)
  }

  mutating func complete(_ connection: ConnectionPointer?, _ reply: UnsafeMutablePointer<Mail>) {
    guard let connection else {
      seen.orphans.wrappingAdd(1, ordering: .relaxed)
      return
    }
    write(connection, reply.body)
  }

  mutating func abandoned(_ connection: ConnectionPointer, _ reason: AbandonReason) {
    connection.pointee.output.append("abandoned: \(reason)")
  }
  mutating func closed(_ connection: ConnectionPointer) { seen.closed.wrappingAdd(1, ordering: .relaxed) }
  mutating func notice(_ notice: ReactorNotice) { seen.add(notice) }
}

/// Unchecked Sendable: the lock guards the one variable. (Not a `Mutex`: the thread sanitizer does not know it.)
final class EchoLog: @unchecked Sendable {
  let workers = DispatchQueue(label: "answers")
  let orphans = Atomic<Int>(0)
  let closed = Atomic<Int>(0)
  let maxBacklog = Atomic<Int>(0)
  private let lock = NSLock()
  private var seen: [ReactorNotice] = []

  var notices: [ReactorNotice] { lock.withLock { seen } }
  func add(_ notice: ReactorNotice) { lock.withLock { seen.append(notice) } }
  func noteBacklog(_ bytes: Int) { maxBacklog.max(bytes, ordering: .relaxed) }
}

/// Reactors on threads of their own, listening on a free loopback port or a unix socket.
final class EchoServer: @unchecked Sendable {
  // Sendable: set up before the threads start, torn down after they are joined.
  let group: ReactorGroup
  let log = EchoLog()
  let port: UInt16
  let address: ListenAddress
  private(set) var kinds: [String] = []
  private let ended = DispatchGroup()
  private let lock = NSLock()
  private(set) var failures: [ReactorError] = []

  init(
    _ kind: ReactorKind, reactors: Int = 1, address: ListenAddress = .tcp(host: "127.0.0.1", port: 0),
    limits: ReactorLimits = ReactorLimits()
  ) throws {
    group = try ReactorGroup(count: reactors)
    self.address = address
    let listeners = try address.listen()
    port = UInt16(nt_local_port(listeners[0]))
    let started = DispatchSemaphore(value: 0)
    for index in 0..<reactors {
      ended.enter()
      let thread = Thread { [self] in
        var handler = EchoHandler(group: group, index: index, seen: log)
        do throws(ReactorError) {
          try Reactor.run(
            kind, group: group, index: index, listeners: index == 0 ? listeners : [], limits: limits,
            handler: &handler
          ) { kind in
            lock.withLock { kinds.append(kind) }
            started.signal()
          }
        } catch {
          lock.withLock { failures.append(error) }
          started.signal()
        }
        ended.leave()
      }
      thread.start()
    }
    for _ in 0..<reactors { started.wait() }
  }

  func connections() -> Int { (0..<group.count).reduce(0) { $0 + group.connections($1) } }

  func counter(_ field: ReactorCounters.Field) -> UInt64 {
    (0..<group.count).reduce(0) { $0 + group.counters($1).read(field) }
  }

  /// Stops, and tells how long that took.
  @discardableResult
  func stop(within_ms: Int32 = 2_000) -> TimeInterval {
    let begun = Date()
    group.stop(within_ms: within_ms)
    ended.wait()
    log.workers.sync {}
    group.free()
    address.cleanUp()
    return Date().timeIntervalSince(begun)
  }
}

/// A blocking socket with a time limit on everything.
final class TestSocket: Sendable {
  let descriptor: Int32

  init(_ server: EchoServer) throws {
    switch server.address {
    case .tcp: descriptor = try TestSocket.connectTCP(server.port)
    case .unix(let path): descriptor = try TestSocket.connectUnix(path)
    }
    limit(seconds: 10)
  }

  init(port: UInt16) throws {
    descriptor = try TestSocket.connectTCP(port)
    limit(seconds: 10)
  }

  private static func connectTCP(_ port: UInt16) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if rc != 0 { throw ReactorError(call: "connect", code: errno) }
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, 4)
    return descriptor
  }

  private static func connectUnix(_ path: String) throws -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    _ = nt_unix_address(&address, path)
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if rc != 0 { throw ReactorError(call: "connect", code: errno) }
    return descriptor
  }

  private func limit(seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ bytes: [UInt8]) throws {
    var at = 0
    while at < bytes.count {
      let n = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + at, bytes.count - at, Int32(MSG_NOSIGNAL))
      }
      if n < 0, errno == EINTR { continue }
      if n < 0 { throw ReactorError(call: "send", code: errno) }
      at += n
    }
  }

  /// What one receive gives: empty at the end of the stream.
  func receive(atMost count: Int = 1 << 16) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var n = recv(descriptor, &bytes, count, 0)
    while n < 0, errno == EINTR { n = recv(descriptor, &bytes, count, 0) }
    if n < 0 { throw ReactorError(call: "recv", code: errno) }
    return Array(bytes[..<n])
  }

  func receive(exactly count: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      let more = try receive(atMost: min(count - bytes.count, 1 << 20))
      if more.isEmpty { throw ReactorError(call: "end of stream after \(bytes.count) bytes", code: 0) }
      bytes += more
    }
    return bytes
  }

  func receiveToEnd() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      let more = try receive()
      if more.isEmpty { return bytes }
      bytes += more
    }
  }

  /// The next answer's frame without its length.
  func frame() throws -> [UInt8] {
    let head = try receive(exactly: 4)
    let length = head.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
    return try receive(exactly: Int(length))
  }

  func finishSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  deinit { close(descriptor) }
}

func request(_ kind: Character, _ payload: [UInt8]) -> [UInt8] {
  withUnsafeBytes(of: UInt32(payload.count + 1)) { Array($0) } + [kind.asciiValue!] + payload
}

func request(_ kind: Character, _ text: String) -> [UInt8] { request(kind, Array(text.utf8)) }

func bigRequest(_ size: UInt32) -> [UInt8] { request("B", withUnsafeBytes(of: size) { Array($0) }) }

/// Waits until the condition holds; false after the time.
func eventually(seconds: Double = 5, _ condition: () -> Bool) -> Bool {
  let end = Date().addingTimeInterval(seconds)
  while Date() < end {
    if condition() { return true }
    usleep(2_000)
  }
  return condition()
}
