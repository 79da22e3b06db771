// A closed loop over epoll: `connections` sockets, each with `depth` requests in flight; every answer is checked and followed by
// the next request. Requests that are ready together leave in one send, answers that are there together are read at once.
import CNeedletail
import Glibc
import Histogram

/// What a run did.
struct LoadResult {
  var requests = 0
  var nanoseconds: UInt64 = 0
  var latencies = makeLatencies()
}

/// How the loop ends, and which records it asks for.
enum LoadLimit {
  /// Every record once, in order.
  case everyRecord
  /// Uniformly random records for so long.
  case duration(nanoseconds: UInt64)
}

final class LoadClient<Wire: ServerWire> {
  private let connections: [LoadConnection]
  private var wires: [Wire]
  private let depth: Int
  private let records: UInt64
  private let poll: Int32
  private var rng: Rng

  init(port: UInt16, connections count: Int, depth: Int, records: UInt64, seed: UInt64) throws {
    self.depth = depth
    self.records = records
    rng = Rng(seed: seed)
    poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard poll >= 0 else { throw BenchError("epoll_create1: \(String(cString: strerror(errno)))") }
    var opened: [LoadConnection] = []
    for i in 0..<count {
      let connection = try LoadConnection(
        port: port, depth: depth,
        outCapacity: Wire.preface.count + depth * Wire.requestCapacity + Self.controlCapacity)
      var event = epoll_event(events: EPOLLIN.rawValue, data: epoll_data_t(u64: UInt64(i)))
      guard epoll_ctl(poll, EPOLL_CTL_ADD, connection.socket, &event) == 0 else {
        throw BenchError("epoll_ctl: \(String(cString: strerror(errno)))")
      }
      connection.append(Wire.preface)
      opened.append(connection)
    }
    connections = opened
    wires = opened.map { _ in Wire(depth: depth) }
  }

  private static var controlCapacity: Int { 64 << 10 }

  deinit { close(poll) }

  func run(_ test: ServerTest, _ limit: LoadLimit) throws -> LoadResult {
    var result = LoadResult()
    var next: UInt64 = 0
    var inFlight = 0
    let started = nanoseconds()
    var now = started
    var expecting = true

    func nextRecord() -> UInt64? {
      switch limit {
      case .everyRecord:
        guard next < records else { return nil }
        next += 1
        return next - 1
      case .duration(let length): return now &- started < length ? rng.below(records) : nil
      }
    }

    /// Puts the next request into a free slot; the time is that of the send that follows.
    func issue(_ number: Int, slot: Int) throws {
      guard let id = nextRecord() else { return }
      let connection = connections[number]
      connection.begin(slot: slot, id: id, at: now)
      connection.advance(try wires[number].write(test, id: id, slot: slot, to: connection.outEnd))
      inFlight += 1
    }

    for (number, connection) in connections.enumerated() {
      for slot in 0..<depth { try issue(number, slot: slot) }
      try connection.flush()
    }
    let events = UnsafeMutableBufferPointer<epoll_event>.allocate(capacity: connections.count)
    defer { events.deallocate() }
    while inFlight > 0 && expecting {
      let ready = epoll_wait(poll, events.baseAddress, Int32(events.count), 10_000)
      if ready == 0 { throw BenchError("no answer for 10 s with \(inFlight) requests in flight") }
      if ready < 0 {
        if errno == EINTR { continue }
        throw BenchError("epoll_wait: \(String(cString: strerror(errno)))")
      }
      for i in 0..<Int(ready) {
        let number = Int(events[i].data.u64)
        let connection = connections[number]
        expecting = try connection.receive()
        now = nanoseconds()
        while let answer = try wires[number].parse(test, connection.unparsed) {
          connection.consume(answer.byteCount)
          if answer.slot == -1 { continue }
          let slot = try connection.end(slot: answer.slot)
          _ = result.latencies.record(now &- slot.since)
          if test == .get { try Self.check(answer.value, slot.id) }
          result.requests += 1
          inFlight -= 1
          try issue(number, slot: slot.index)
        }
        connection.append(wires[number].takeControl())
        try connection.flush()
      }
    }
    guard inFlight == 0 else { throw BenchError("the server closed a connection with requests in flight") }
    result.nanoseconds = now &- started
    return result
  }

  private static func check(_ value: UnsafeRawBufferPointer, _ id: UInt64) throws {
    guard value.count == Record.valueLength, let start = value.baseAddress else {
      throw BenchError("record \(id): a value of \(value.count) bytes instead of \(Record.valueLength)")
    }
    let words = UInt64(Record.valueLength / 8)
    let first = UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
    let last = UInt64(littleEndian: start.loadUnaligned(fromByteOffset: Record.valueLength - 8, as: UInt64.self))
    guard first == mix64(id &* words), last == mix64(id &* words &+ words &- 1) else {
      throw BenchError("record \(id): another value than was put")
    }
  }
}

/// A socket, its buffers and its requests in flight.
final class LoadConnection {
  struct Slot {
    var index: Int
    var id: UInt64
    var since: UInt64
  }

  let socket: Int32
  private var slots: [Slot?]
  /// Slots in the order of their requests, for servers that answer in order.
  private var queue: [Int] = []
  private var queueStart = 0
  private let out: UnsafeMutableRawPointer
  private let outCapacity: Int
  private var outCount = 0
  private var input: UnsafeMutableRawPointer
  private var inputCapacity = 256 << 10
  private var parsed = 0
  private var received = 0

  init(port: UInt16, depth: Int, outCapacity: Int) throws {
    slots = Array(repeating: nil, count: depth)
    self.outCapacity = outCapacity
    out = .allocate(byteCount: outCapacity, alignment: 64)
    input = .allocate(byteCount: inputCapacity, alignment: 64)
    socket = try connectToLoopback(port: port)
    guard fcntl(socket, F_SETFL, O_NONBLOCK) == 0 else {
      throw BenchError("fcntl: \(String(cString: strerror(errno)))")
    }
  }

  deinit {
    close(socket)
    out.deallocate()
    input.deallocate()
  }

  // MARK: Requests

  var outEnd: UnsafeMutableRawPointer { out + outCount }

  func advance(_ count: Int) { outCount += count }

  func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { if let base = $0.baseAddress { outEnd.copyMemory(from: base, byteCount: $0.count) } }
    advance(bytes.count)
  }

  func begin(slot: Int, id: UInt64, at time: UInt64) {
    slots[slot] = Slot(index: slot, id: id, since: time)
    queue.append(slot)
  }

  /// At most `depth` requests are in flight and the buffer holds as many, so it never overflows.
  func flush() throws {
    var sent = 0
    while sent < outCount {
      let count = send(socket, out + sent, outCount - sent, Int32(MSG_NOSIGNAL))
      if count > 0 {
        sent += count
        continue
      }
      if errno == EINTR { continue }
      guard errno == EAGAIN else { throw BenchError("send: \(String(cString: strerror(errno)))") }
      var descriptor = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
      poll(&descriptor, 1, 1_000)
    }
    outCount = 0
  }

  // MARK: Answers

  var unparsed: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: input + parsed, count: received - parsed) }

  func consume(_ count: Int) { parsed += count }

  /// Takes what is there; false when the server has closed the connection.
  func receive() throws -> Bool {
    if parsed > 0 {
      input.copyMemory(from: input + parsed, byteCount: received - parsed)
      received -= parsed
      parsed = 0
    }
    if received == inputCapacity {
      let larger = UnsafeMutableRawPointer.allocate(byteCount: inputCapacity * 2, alignment: 64)
      larger.copyMemory(from: input, byteCount: received)
      input.deallocate()
      input = larger
      inputCapacity *= 2
    }
    let count = recv(socket, input + received, inputCapacity - received, 0)
    if count > 0 {
      received += count
      return true
    }
    if count < 0 && (errno == EAGAIN || errno == EINTR) { return true }
    if count < 0 { throw BenchError("recv: \(String(cString: strerror(errno)))") }
    return false
  }

  func end(slot answered: Int?) throws -> Slot {
    if queueStart == queue.count { throw BenchError("an answer without a request") }
    let index = answered ?? queue[queueStart]
    queueStart += 1
    if queueStart == queue.count || queueStart > 4096 {
      queue.removeFirst(queueStart)
      queueStart = 0
    }
    guard slots.indices.contains(index), let slot = slots[index] else {
      throw BenchError("an answer on stream \(index + 1)")
    }
    slots[index] = nil
    return slot
  }
}

func openSocket() throws -> Int32 {
  let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
  guard socket >= 0 else { throw BenchError("socket: \(String(cString: strerror(errno)))") }
  return socket
}

/// A blocking connection to this machine.
func connectToLoopback(port: UInt16) throws -> Int32 {
  let socket = try openSocket()
  var address = loopbackAddress(port: port)
  let code = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  guard code == 0 else {
    let reason = String(cString: strerror(errno))
    close(socket)
    throw BenchError("connect to port \(port): \(reason)")
  }
  var one: Int32 = 1
  setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
  return socket
}

func loopbackAddress(port: UInt16) -> sockaddr_in {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  return address
}
