// A server for tests of the client: speaks the frames over a real socket, keeps pairs in a dictionary, and does on
// request what a server in trouble does (drops connections, stays silent, answers late or in odd order).
//
// One thread accepts, one serves each connection. Slow and simple; nothing here is used outside tests.

import Glibc
import NeedletailClient
import NeedletailRPC

/// What the server does with one request.
package enum Reaction {
  /// What a healthy server does.
  case serve
  case fail(StatusCode, String)
  /// No answer at all.
  case ignore
  /// The connection is closed without an answer.
  case hangUp
  /// The answer waits until `count` of them have gathered, and they go out last first.
  case reverse(count: Int)
  /// These bytes, whatever they are.
  case raw([UInt8])
}

/// Unchecked: what changes is touched only under `mutex`.
package final class FakeServer: @unchecked Sendable {
  package struct Request: Sendable {
    package let method: Method?
    package let key: [UInt8]
    package let deadlineMS: UInt32
  }

  package let endpoint: Endpoint
  private let listener: Int32
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private var pairs: [[UInt8]: KeyValue] = [:]
  private var revision: Int64 = 1
  private var requests: [Request] = []
  private var connections: [Int32] = []
  private var isStopped = false
  private var isListenerClosed = false
  private var react: @Sendable (Request) -> Reaction = { _ in .serve }
  /// Whether connections are read at all.
  private let reads: Bool
  /// What the server says instead of a Hello.
  private let greeting: [UInt8]?

  /// Listens on a free port of the loopback, on `port`, or on a unix socket.
  package init(port: UInt16 = 0, unixPath: String? = nil, reads: Bool = true, greeting: [UInt8]? = nil) throws {
    self.reads = reads
    self.greeting = greeting
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    if let unixPath {
      (listener, endpoint) = try FakeServer.listen(unixPath: unixPath)
    } else {
      (listener, endpoint) = try FakeServer.listen(port: port)
    }
    start { server in
      server.acceptAll()
      close(server.listener)
      server.locked { server.isListenerClosed = true }
    }
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  // MARK: For the tests

  package func onRequest(_ react: @escaping @Sendable (Request) -> Reaction) { locked { self.react = react } }
  package var received: [Request] { locked { requests } }
  package var connectionCount: Int { locked { connections.count } }
  package var contents: [[UInt8]: KeyValue] { locked { pairs } }

  /// Closes the listener and every connection.
  package func stop() {
    locked {
      isStopped = true
      for connection in connections { shutdown(connection, Int32(SHUT_RDWR)) }
    }
    // Wakes the thread that accepts. That thread closes the listener: closed here, its number could be another
    // server's listener by the time the thread looks at it.
    shutdown(listener, Int32(SHUT_RDWR))
    while !locked({ isListenerClosed }) { usleep(500) }
  }

  /// Closes the connections that are open now.
  package func dropConnections() {
    locked { for connection in connections { shutdown(connection, Int32(SHUT_RDWR)) } }
  }

  // MARK: Sockets

  private struct SocketFailure: Error { let code: Int32 }

  private static func listen(port: UInt16) throws -> (Int32, Endpoint) {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var on: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    try withUnsafeMutablePointer(to: &address) { pointer in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        guard bind(listener, pointer, length) == 0, Glibc.listen(listener, 64) == 0,
          getsockname(listener, pointer, &length) == 0
        else { throw SocketFailure(code: errno) }
      }
    }
    return (listener, try Endpoint("127.0.0.1:\(UInt16(bigEndian: address.sin_port))"))
  }

  private static func listen(unixPath: String) throws -> (Int32, Endpoint) {
    unlink(unixPath)
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(unixPath.utf8).prefix(107)) }
    try withUnsafePointer(to: &address) { pointer in
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        guard bind(listener, pointer, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0,
          Glibc.listen(listener, 64) == 0
        else { throw SocketFailure(code: errno) }
      }
    }
    return (listener, try Endpoint("unix:\(unixPath)"))
  }

  private func acceptAll() {
    while true {
      let connection = accept(listener, nil, nil)
      let isRefused = locked {
        if connection >= 0 { connections.append(connection) }
        return isStopped || connection < 0
      }
      if isRefused {
        if connection >= 0 { shutdown(connection, Int32(SHUT_RDWR)) }
        return
      }
      guard reads else { continue }
      start { server in server.serve(connection) }
    }
  }

  // MARK: One connection

  private func serve(_ connection: Int32) {
    var received: [UInt8] = []
    var held: [[UInt8]] = []
    var isGreeted = false
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    defer { shutdown(connection, Int32(SHUT_RDWR)) }
    while true {
      let count = read(connection, &chunk, chunk.count)
      guard count > 0 else { return }
      received += chunk[..<count]
      if !isGreeted {
        let match = received.withUnsafeBytes(Preface.match)
        if match == .incomplete { continue }
        guard case .matched = match else { return }
        received.removeFirst(Preface.byteCount)
        isGreeted = true
        send(connection, greeting ?? frame { Hello().appendFrame(to: &$0) })
        if greeting != nil { return }
      }
      guard answerAll(&received, &held, connection) else { return }
    }
  }

  /// Answers the whole frames in `received` and takes them out; false when the connection shall end.
  private func answerAll(_ received: inout [UInt8], _ held: inout [[UInt8]], _ connection: Int32) -> Bool {
    var answers: [UInt8] = []
    var goesOn = true
    let consumed = received.withUnsafeBytes { bytes in
      var parser = FrameParser(bytes, side: .server, bodyLimit: FrameLimits.requestBodyBytes)
      do throws(FrameError) {
        while goesOn, let request = try parser.next() {
          switch note(request) {
          case .serve: answers += answer(request)
          case .fail(let code, let message):
            answers += frame {
              $0.appendErrorFrame(
                rawMethod: request.header.rawMethod, stream: request.header.stream, code: code, message: message)
            }
          case .ignore: break
          case .hangUp: goesOn = false
          case .reverse(let count):
            held.append(answer(request))
            if held.count == count {
              answers += held.reversed().flatMap { $0 }
              held = []
            }
          case .raw(let bytes): answers += bytes
          }
        }
      } catch {
        answers += frame {
          $0.appendErrorFrame(rawMethod: 0, stream: 0, code: error.code, message: error.description)
        }
        goesOn = false
      }
      return parser.consumed
    }
    received.removeFirst(consumed)
    send(connection, answers)
    return goesOn
  }

  private func note(_ frame: Frame) -> Reaction {
    var key: [UInt8] = []
    // All three requests have the key in field 1.
    if let view = try? DeleteRangeRequestView(frame.body) { key = [UInt8](view.key) }
    if frame.header.method == .put, let view = try? PutRequestView(frame.body) { key = [UInt8](view.key) }
    if frame.header.method == .range, let view = try? RangeRequestView(frame.body) { key = [UInt8](view.key) }
    let request = Request(method: frame.header.method, key: key, deadlineMS: frame.header.status)
    let react = locked {
      requests.append(request)
      return self.react
    }
    return react(request)
  }

  /// Pieces of two pairs each, then header, more and count.
  private func pieces(_ request: Frame) -> [UInt8] {
    frame { out in
      func append(_ piece: RangeResponse, isLast: Bool) {
        let at = out.openFrame()
        let bytes = piece.encoded()
        let start = out.reserve(ProtoWriter.size(delimited: bytes.count))
        var writer = ProtoWriter(start)
        writer.open(1, count: bytes.count)
        bytes.withUnsafeBytes { writer.raw($0) }
        out.advance(writer.cursor - start)
        out.closeFrame(
          at: at, rawMethod: request.header.rawMethod,
          flags: isLast ? FrameFlags.answer | FrameFlags.endOfStream : FrameFlags.answer,
          stream: request.header.stream, status: 0)
      }
      do throws(StatusError) {
        var last = try locked { () throws(StatusError) in
          let view: RangeRequestView
          do { view = try RangeRequestView(request.body) } catch {
            throw StatusError(.invalidArgument, "\(error)")
          }
          return try range(view)
        }
        for first in stride(from: 0, to: last.kvs.count, by: 2) {
          var piece = RangeResponse()
          piece.kvs = Array(last.kvs[first..<min(first + 2, last.kvs.count)])
          append(piece, isLast: false)
        }
        last.kvs = []
        append(last, isLast: true)
      } catch {
        out.appendErrorFrame(
          rawMethod: request.header.rawMethod, stream: request.header.stream, code: error.code,
          message: error.message)
      }
    }
  }

  private func answer(_ request: Frame) -> [UInt8] {
    if request.header.method == .rangeStream { return pieces(request) }
    return frame { out in
      let at = out.openFrame()
      do throws(StatusError) {
        try locked { () throws(StatusError) in try appendAnswer(request, &out) }
        out.closeFrame(
          at: at, rawMethod: request.header.rawMethod, flags: FrameFlags.answer | FrameFlags.endOfStream,
          stream: request.header.stream, status: 0)
      } catch {
        out.truncate(to: at)
        out.appendErrorFrame(
          rawMethod: request.header.rawMethod, stream: request.header.stream, code: error.code,
          message: error.message)
      }
    }
  }

  // MARK: The store

  private var header: ResponseHeader {
    ResponseHeader(clusterID: 0xC1, memberID: 0x11, revision: revision, raftTerm: 2)
  }

  private func appendAnswer(_ request: Frame, _ out: inout OutBuffer) throws(StatusError) {
    do {
      switch request.header.method {
      case .range: try range(try RangeRequestView(request.body)).encode(to: &out)
      case .put: try put(try PutRequestView(request.body)).encode(to: &out)
      case .deleteRange: try deleteRange(try DeleteRangeRequestView(request.body)).encode(to: &out)
      case .status: status().encode(to: &out)
      case .health: break
      case .alarm:
        var answer = AlarmResponse()
        answer.header = header
        answer.alarms = [AlarmMember(memberID: 0x11, alarm: 1), AlarmMember(memberID: 5, alarm: 2)]
        let view = try AlarmRequestView(request.body)
        if view.rawAction != 0 { answer.alarms.removeAll { $0 != view.member } }
        answer.encode(to: &out)
      case .hash, .hashKV:
        let view = try HashKVRequestView(request.body)
        if view.revision > revision { throw StatusError.futureRevision }
        var answer = HashResponse()
        answer.header = header
        answer.hash = 3_593_804_405
        answer.hashRevision = view.revision == 0 ? revision : view.revision
        answer.encode(to: &out)
      case .memberList, .memberUpdate: members().encode(to: &out)
      case .memberAdd, .memberRemove, .memberPromote: throw StatusError.memberNotFound
      case .defragment: break
      case .moveLeader:
        if try MemberRequest(.number, request.body).number != 0x11 { throw StatusError.badLeaderTransferee }
      default:
        throw StatusError(.unimplemented, "unknown method")
      }
    } catch let error as StatusError {
      throw error
    } catch {
      throw StatusError(.invalidArgument, "\(error)")
    }
  }

  private func members() -> MemberResponse {
    var answer = MemberResponse()
    answer.header = ResponseHeader(clusterID: 0xC1, memberID: 0x11, raftTerm: 2)
    var one = Member()
    one.id = 0x11
    one.name = "default"
    one.peerURLs = ["http://127.0.0.1:2380", "http://[::1]:2380"]
    one.clientURLs = ["http://127.0.0.1:2379"]
    var other = Member()
    other.id = 0xF1
    other.peerURLs = ["http://127.0.0.1:2381"]
    other.isLearner = true
    answer.members = [one, other]
    return answer
  }

  private func keys(_ key: UnsafeRawBufferPointer, _ end: UnsafeRawBufferPointer) throws(StatusError) -> [[UInt8]] {
    guard !key.isEmpty else { throw .emptyKey }
    let (key, end) = ([UInt8](key), [UInt8](end))
    let all = pairs.keys.sorted { $0.lexicographicallyPrecedes($1) }
    if end.isEmpty { return all.filter { $0 == key } }
    return all.filter {
      !$0.lexicographicallyPrecedes(key) && (end == [0] || $0.lexicographicallyPrecedes(end))
    }
  }

  private func range(_ view: RangeRequestView) throws(StatusError) -> RangeResponse {
    if view.revision > revision { throw .futureRevision }
    var response = RangeResponse()
    response.header = header
    var keys = try keys(view.key, view.rangeEnd)
    response.count = Int64(keys.count)
    if view.countOnly { return response }
    if view.sortOrder == .descend { keys.reverse() }
    if view.limit > 0 && keys.count > view.limit {
      keys = Array(keys[..<Int(view.limit)])
      response.more = true
    }
    response.kvs = keys.compactMap { pairs[$0] }
    if view.keysOnly { for at in response.kvs.indices { response.kvs[at].value = [] } }
    return response
  }

  private func put(_ view: PutRequestView) throws(StatusError) -> PutResponse {
    guard !view.key.isEmpty else { throw .emptyKey }
    revision += 1
    let key = [UInt8](view.key)
    let old = pairs[key]
    pairs[key] = KeyValue(
      key: key, value: [UInt8](view.value), createRevision: old?.createRevision ?? revision, modRevision: revision,
      version: (old?.version ?? 0) + 1, lease: view.lease)
    var response = PutResponse()
    response.header = header
    if view.prevKV { response.prevKV = old }
    return response
  }

  private func deleteRange(_ view: DeleteRangeRequestView) throws(StatusError) -> DeleteRangeResponse {
    let keys = try keys(view.key, view.rangeEnd)
    if !keys.isEmpty { revision += 1 }
    var response = DeleteRangeResponse()
    response.header = header
    response.deleted = Int64(keys.count)
    for key in keys {
      if let old = pairs.removeValue(forKey: key), view.prevKV { response.prevKVs.append(old) }
    }
    return response
  }

  private func status() -> StatusResponse {
    var response = StatusResponse()
    response.header = header
    response.version = "0.1.0"
    response.dbSize = 20_480
    response.leader = 0x11
    response.raftIndex = 23
    response.raftTerm = 2
    response.raftAppliedIndex = 23
    response.dbSizeInUse = 16_384
    return response
  }

  // MARK: Threads

  /// Runs `body` on a thread of its own, which holds the server while it runs.
  private func start(_ body: @escaping @Sendable (FakeServer) -> Void) {
    final class Box {
      let server: FakeServer
      let body: @Sendable (FakeServer) -> Void
      init(_ server: FakeServer, _ body: @escaping @Sendable (FakeServer) -> Void) {
        self.server = server
        self.body = body
      }
    }
    var thread = pthread_t()
    let box = Unmanaged.passRetained(Box(self, body))
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument {
          let box = Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
          box.body(box.server)
        }
        return nil
      }, box.toOpaque())
    precondition(code == 0, "no thread for a test's server")
    pthread_detach(thread)
  }

  private func locked<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }

  private func frame(_ body: (inout OutBuffer) -> Void) -> [UInt8] {
    var out = OutBuffer()
    defer { out.free() }
    body(&out)
    return [UInt8](out.bytes)
  }

  private func send(_ connection: Int32, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { bytes in
      var rest = bytes
      while !rest.isEmpty {
        let sent = Glibc.send(connection, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
        if sent <= 0 { return }
        rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(sent))
      }
    }
  }
}
