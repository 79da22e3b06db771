// One connection: many requests out, answers in, in whatever order the server gives them.
//
// The low-level surface, for those who batch: `submit` only writes into a buffer, `flush` sends all of it at once,
// `receive` hands out one answer after the other, in place. Not thread-safe: one thread owns a connection. All sockets
// are non-blocking; only `flush`, `receive` and `connect` wait, each until a deadline.

import Glibc
import NeedletailRPC

/// One answer of the server. Its body lies in the connection's buffer and is valid until the next call on it.
package struct Answer {
  package let stream: UInt32
  package let rawMethod: UInt16
  package let code: StatusCode
  package let isEndOfStream: Bool
  /// The answer's message, or the error's text.
  package let body: UnsafeRawBufferPointer

  /// The server's error, if the answer is one.
  package var error: StatusError? {
    code == .ok ? nil : StatusError(code, String(decoding: body, as: UTF8.self))
  }
}

/// Invariants: `sentBytes` ≤ `submittedBytes`; out[outSent…] are the bytes between both. The received bytes that are not
/// handed out yet are in[inStart…].
package final class ClientConnection {
  package enum State: Equatable {
    case connecting
    case open
    case closed(ClientError)
  }

  package let endpoint: Endpoint
  package private(set) var state = State.connecting
  /// What the server said of itself; nil until it came.
  package private(set) var hello: Hello?
  /// Bytes ever submitted and ever taken by the kernel, the preface included. A frame that ends beyond `sentBytes`
  /// can't have been executed: the server hasn't got it whole.
  package private(set) var submittedBytes: UInt64 = 0
  package private(set) var sentBytes: UInt64 = 0
  /// Requests without an answer.
  package private(set) var inFlight = 0

  /// Whether the first thing that the other side said was no word of the protocol: no server of ours, which always
  /// greets before it does anything.
  package var isStranger: Bool {
    if hello == nil, case .closed(.protocolViolation) = state { true } else { false }
  }

  private var addresses: [SocketAddress]
  private var socket: Socket
  private var out = OutBuffer()
  private var outSent = 0
  private var inBytes = OutBuffer()
  private var inStart = 0
  private var nextStream: UInt32 = 1

  /// Starts to connect; `state` tells when it is done.
  package init(to endpoint: Endpoint) throws(ClientError) {
    self.endpoint = endpoint
    addresses = try SocketAddress.resolve(endpoint)
    socket = try ClientConnection.openFirst(&addresses, endpoint)
    Preface.append(to: &out)
    submittedBytes = UInt64(out.count)
  }

  /// Connects and waits until it is done.
  package static func connect(to endpoint: Endpoint, deadline: Instant) throws(ClientError) -> ClientConnection {
    let connection = try ClientConnection(to: endpoint)
    while connection.state == .connecting {
      guard try connection.wait(until: deadline) else {
        connection.close(.deadlineExceeded("connecting to \(endpoint)"))
        throw .deadlineExceeded("connecting to \(endpoint)")
      }
    }
    return connection
  }

  deinit {
    socket.close()
    out.free()
    inBytes.free()
  }

  // MARK: Requests

  /// Appends a request to what `flush` will send, and returns the stream that its answer will carry.
  @inlinable
  package func submit(_ method: Method, _ message: some ProtoEncodable, deadlineMS: UInt32 = 0) -> UInt32 {
    let at = openRequest()
    appendMessage(message)
    return closeRequest(at, method, deadlineMS)
  }

  /// The same for a message that is already encoded.
  package func submit(_ method: Method, encoded body: UnsafeRawBufferPointer, deadlineMS: UInt32 = 0) -> UInt32 {
    let at = openRequest()
    out.append(body)
    return closeRequest(at, method, deadlineMS)
  }

  @usableFromInline
  func openRequest() -> Int {
    if outSent == out.count {
      out.removeAll()
      outSent = 0
    } else if outSent > 1 << 16 && outSent > out.count / 2 {
      out.removeFirst(outSent)
      outSent = 0
    }
    return out.openFrame()
  }

  @usableFromInline
  func appendMessage(_ message: some ProtoEncodable) { message.encode(to: &out) }

  @usableFromInline
  func closeRequest(
    _ at: Int, _ method: Method, _ deadlineMS: UInt32, flags: UInt16 = FrameFlags.endOfStream
  ) -> UInt32 {
    let stream = nextStream
    // Stream 0 is the connection's own.
    nextStream = nextStream == .max ? 1 : nextStream + 1
    out.closeFrame(
      at: at, rawMethod: method.rawValue, flags: flags, stream: stream, status: deadlineMS)
    submittedBytes += UInt64(out.count - at)
    inFlight += 1
    return stream
  }

  /// Opens a stream with its first message, and returns its number. It counts as a request in flight until its last answer.
  package func openStream(_ method: Method, _ body: UnsafeRawBufferPointer) -> UInt32 {
    let at = openRequest()
    out.append(body)
    return closeRequest(at, method, 0, flags: 0)
  }

  /// Another message on an open stream.
  package func send(_ body: UnsafeRawBufferPointer, on stream: UInt32, _ method: Method) {
    let at = openRequest()
    out.append(body)
    out.closeFrame(at: at, rawMethod: method.rawValue, flags: 0, stream: stream, status: 0)
    submittedBytes += UInt64(out.count - at)
  }

  /// Says that no message follows.
  package func endStream(_ stream: UInt32, _ method: Method) {
    let at = openRequest()
    out.closeFrame(at: at, rawMethod: method.rawValue, flags: FrameFlags.endOfStream, stream: stream, status: 0)
    submittedBytes += UInt64(out.count - at)
  }

  /// Sends everything submitted. Takes answers in meanwhile, so that two full sockets can't wait for each other.
  package func flush(deadline: Instant = .never) throws(ClientError) {
    while true {
      if state == .open { try sendSome() }
      if outSent == out.count { return }
      guard try wait(until: deadline) else { throw .deadlineExceeded("sending to \(endpoint)") }
    }
  }

  // MARK: Answers

  /// The next answer; waits for it. Before it waits, it sends what is submitted: a caller that submits a request for
  /// each answer it takes sends them in batches without a word about it.
  package func receive(deadline: Instant = .never) throws(ClientError) -> Answer {
    while true {
      if let answer = try next() { return answer }
      do { try exchange(deadline) } catch {
        // What arrived before the end still counts, the server's reason for it above all.
        if let answer = try next() { return answer }
        throw error
      }
    }
  }

  /// Sends what is submitted, then takes in what there is, waiting for it if need be.
  private func exchange(_ deadline: Instant) throws(ClientError) {
    if outSent != out.count { try flush(deadline: deadline) }
    // Mostly the answer is there already: ask the socket before asking poll.
    if state == .open, try receiveSome() { return }
    guard try wait(until: deadline) else { throw .deadlineExceeded("waiting for \(endpoint)") }
  }

  /// The next answer among the bytes already received, or nil.
  package func next() throws(ClientError) -> Answer? {
    while true {
      let bytes = UnsafeRawBufferPointer(rebasing: inBytes.bytes.dropFirst(inStart))
      var parser = FrameParser(bytes, side: .client, bodyLimit: FrameLimits.answerBodyBytes)
      let frame: Frame?
      do { frame = try parser.next() } catch {
        throw fail(.protocolViolation("\(endpoint) does not speak Needletail's protocol: \(error)"))
      }
      guard let frame else { return nil }
      inStart += parser.consumed
      let answer = Answer(
        stream: frame.header.stream, rawMethod: frame.header.rawMethod,
        code: StatusCode(rawValue: frame.header.status) ?? .unknown, isEndOfStream: frame.header.isEndOfStream,
        body: frame.body)
      if answer.stream != 0 {
        if answer.isEndOfStream { inFlight -= 1 }
        return answer
      }
      try takeConnectionFrame(answer)
    }
  }

  /// Stream 0: the Hello, or the error for which the server is about to close the connection.
  private func takeConnectionFrame(_ answer: Answer) throws(ClientError) {
    if let error = answer.error { throw fail(.disconnected("\(endpoint) closed the connection: \(error.message)")) }
    guard answer.rawMethod == Method.hello.rawValue else { return }
    do { hello = try Hello(answer.body) } catch {
      throw fail(.protocolViolation("\(endpoint) sent a broken hello: \(error)"))
    }
  }

  // MARK: The socket

  /// What poll(2) shall look for.
  package var descriptor: Int32 { socket.descriptor }
  package var pollEvents: Int16 {
    switch state {
    case .connecting: Int16(POLLOUT)
    case .open: outSent == out.count ? Int16(POLLIN) : Int16(POLLIN) | Int16(POLLOUT)
    case .closed: 0
    }
  }

  /// Does what the socket is ready for.
  package func advance(_ events: Int16) throws(ClientError) {
    if case .closed(let error) = state { throw error }
    if state == .connecting {
      guard events & (Int16(POLLOUT) | Int16(POLLERR) | Int16(POLLHUP)) != 0 else { return }
      try finishConnecting()
      if state != .open { return }
    }
    // Answers first: even where sending fails, those that came before the end still count.
    if events & (Int16(POLLIN) | Int16(POLLERR) | Int16(POLLHUP)) != 0 { _ = try receiveSome() }
    if outSent != out.count { try sendSome() }
  }

  package func close(_ error: ClientError = .closed) {
    if case .closed = state { return }
    state = .closed(error)
  }

  /// Waits for the socket and does what it is ready for; false when the deadline passed first.
  private func wait(until deadline: Instant) throws(ClientError) -> Bool {
    if case .closed(let error) = state { throw error }
    var entry = pollfd(fd: socket.descriptor, events: pollEvents, revents: 0)
    let now = Instant.now
    let ready = poll(&entry, 1, deadline.pollTimeout(from: now))
    if ready < 0 && errno != EINTR { throw fail(.disconnected("poll: \(ClientError.systemText(errno))")) }
    if ready > 0 { try advance(entry.revents) }
    return ready != 0 || Instant.now < deadline
  }

  private func finishConnecting() throws(ClientError) {
    let code = socket.pendingError()
    if code == 0 {
      state = .open
      return
    }
    guard !addresses.isEmpty else { throw fail(.unreachable("\(endpoint): \(ClientError.systemText(code))")) }
    let next: Socket
    do { next = try ClientConnection.openFirst(&addresses, endpoint) } catch { throw fail(error) }
    socket.close()
    socket = next
  }

  /// Starts to connect to the first address that does not refuse at once, and drops those tried.
  private static func openFirst(
    _ addresses: inout [SocketAddress], _ endpoint: Endpoint
  ) throws(ClientError) -> Socket {
    var code = EADDRNOTAVAIL
    while !addresses.isEmpty {
      let address = addresses.removeFirst()
      do { return try Socket.connect(to: address) } catch { code = error.code }
    }
    throw .unreachable("\(endpoint): \(ClientError.systemText(code))")
  }

  private func sendSome() throws(ClientError) {
    while outSent < out.count {
      let rest = UnsafeRawBufferPointer(rebasing: out.bytes.dropFirst(outSent))
      let sent: Int
      do { sent = try socket.send(rest) } catch {
        // The server may have said why before it closed: what it sent is still to be read.
        while try receiveSome() {}
        throw fail(.disconnected("\(endpoint): \(ClientError.systemText(error.code))"))
      }
      if sent == 0 { return }
      outSent += sent
      sentBytes += UInt64(sent)
    }
  }

  /// Takes in what the socket has; false when it has nothing now.
  private func receiveSome() throws(ClientError) -> Bool {
    if inStart > 0 {
      inBytes.removeFirst(inStart)
      inStart = 0
    }
    // Room grows with what really came, never with what a header promises.
    let room = max(1 << 16, inBytes.count)
    let start = inBytes.reserve(room)
    let size: Int?
    do { size = try socket.receive(into: UnsafeMutableRawBufferPointer(start: start, count: room)) } catch {
      throw fail(.disconnected("\(endpoint): \(ClientError.systemText(error.code))"))
    }
    guard let size else { return false }
    guard size > 0 else {
      let doubt = hello == nil && inBytes.isEmpty ? " without a word; is it a Needletail server?" : ""
      throw fail(.disconnected("\(endpoint) closed the connection\(doubt)"))
    }
    inBytes.advance(size)
    return true
  }

  /// What the server sent makes no sense.
  func reject(_ why: String) -> ClientError { fail(.protocolViolation(why)) }

  private func fail(_ error: ClientError) -> ClientError {
    close(error)
    return error
  }
}
