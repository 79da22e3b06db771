// The client of the watch suite: one thread, one connection that puts and some that watch, over poll.
import CNeedletail
import Glibc
import Histogram
import NeedletailRPC

struct WatchResult {
  var puts = 0
  var events = 0
  var nanoseconds: UInt64 = 0
  var latencies = makeLatencies()
}

/// A connection's socket and what it has received.
private final class WatchSocket {
  let descriptor: Int32
  var input = OutBuffer()

  init(port: UInt16) throws {
    descriptor = try connectToLoopback(port: port)
    var size: Int32 = 1 << 20
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    try send(NativeWire.preface)
  }

  deinit {
    close(descriptor)
    input.free()
  }

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer -> Int in
        guard let base = buffer.baseAddress else { return 0 }
        return Glibc.send(descriptor, base + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0, errno != EINTR { throw BenchError("send: \(String(cString: strerror(errno)))") }
      sent += max(0, count)
    }
  }

  /// Waits for bytes, then gives each whole frame to `body`.
  func receive(_ body: (FrameHeader, UnsafeRawBufferPointer) throws -> Void) throws {
    let room = 256 << 10
    let count = recv(descriptor, input.reserve(room), room, 0)
    if count < 0, errno == EINTR { return }
    guard count > 0 else { throw BenchError("the server closed a connection") }
    input.advance(count)
    var parser = FrameParser(input.bytes, side: .client, bodyLimit: FrameLimits.answerBodyBytes)
    while let frame = try parser.next() {
      guard frame.header.status == 0 else {
        throw BenchError("status \(frame.header.status): \(String(decoding: frame.body, as: UTF8.self))")
      }
      if frame.header.stream != 0 { try body(frame.header, frame.body) }
    }
    input.removeFirst(parser.consumed)
  }
}

final class WatchLoad {
  private let layout: WatchLayout
  private let writer: WatchSocket
  private let sockets: [WatchSocket]
  /// The number of the last put that each watcher has seen; by connection, by watch id.
  private var seen: [[UInt64]]
  private let watchers: Int
  private let window: Int
  private let valueBytes: Int
  /// Numbers of puts, over all runs; events not seen yet, by number modulo the window.
  private var number: UInt64 = 0
  private var missing: [Int]
  private var sentAt: [UInt64]
  private let prefix: String

  init(port: UInt16, layout: WatchLayout, watchers: Int, connections: Int, window: Int, valueBytes: Int) throws {
    self.layout = layout
    self.watchers = watchers
    self.window = window
    self.valueBytes = valueBytes
    missing = Array(repeating: 0, count: window)
    sentAt = Array(repeating: 0, count: window)
    prefix = "/watch/\(layout.rawValue)/\(watchers)/"
    writer = try WatchSocket(port: port)
    sockets = try (0..<connections).map { _ in try WatchSocket(port: port) }
    seen = (0..<connections).map { Array(repeating: 0, count: (watchers - $0 + connections - 1) / max(1, connections)) }
    try open()
  }

  /// Watcher `i` is number i / connections of connection i % connections; the server numbers them in the same order.
  private func open() throws {
    for (at, socket) in sockets.enumerated() {
      var frames: [UInt8] = []
      for place in seen[at].indices { frames += frame(.watch, watchBody(key(place * sockets.count + at)), stream: 1) }
      // From a thread's own pieces, so that neither side waits for the other with full sockets.
      var sent = 0
      var created = 0
      while created < seen[at].count {
        let piece = frames[sent..<min(frames.count, sent + (16 << 10))]
        try socket.send(Array(piece))
        sent += piece.count
        if sent < frames.count, piece.count > 0 { continue }
        try socket.receive { _, body in if try WatchResponse(body).created { created += 1 } }
      }
    }
  }

  private func key(_ watcher: Int) -> String { layout == .one ? prefix : prefix + "\(watcher)" }

  private func frame(_ method: Method, _ body: [UInt8], stream: UInt32) -> [UInt8] {
    var out = OutBuffer()
    defer { out.free() }
    let at = out.openFrame()
    body.withUnsafeBytes { out.append($0) }
    out.closeFrame(at: at, rawMethod: method.rawValue, flags: method == .put ? 2 : 0, stream: stream, status: 0)
    return Array(out.bytes)
  }

  private func watchBody(_ key: String) -> [UInt8] {
    Array(key.utf8).withUnsafeBytes { key in
      var view = WatchCreateView()
      view.key = key
      return WatchRequestView.create(view).encoded()
    }
  }

  /// The value begins with the put's number and the time.
  private func put() throws {
    number += 1
    var value = [UInt8](repeating: 7, count: valueBytes)
    let (number, now) = (number, nanoseconds())
    value.withUnsafeMutableBytes {
      $0.storeBytes(of: number, as: UInt64.self)
      $0.storeBytes(of: now, toByteOffset: 8, as: UInt64.self)
    }
    missing[Int(number % UInt64(window))] = layout == .one ? watchers : min(1, watchers)
    sentAt[Int(number % UInt64(window))] = now
    let body = Array(key(Int(number % UInt64(max(1, watchers)))).utf8).withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        var request = PutRequestView()
        request.key = key
        request.value = value
        return request.encoded()
      }
    }
    try writer.send(frame(.put, body, stream: UInt32(truncatingIfNeeded: number % 1_000_000 + 1)))
  }

  func run(nanoseconds length: UInt64) throws -> WatchResult {
    var result = WatchResult()
    let began = nanoseconds()
    var descriptors = ([writer] + sockets).map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    var answered = number
    let first = number
    var isOver = false
    while true {
      if !isOver, nanoseconds() - began >= length { isOver = true }
      while !isOver, number - answered < UInt64(window), missing[Int((number + 1) % UInt64(window))] == 0 {
        try put()
        result.puts += 1
      }
      if isOver, answered == number, missing.allSatisfy({ $0 == 0 }) { break }
      guard poll(&descriptors, nfds_t(descriptors.count), 20_000) > 0 else {
        throw BenchError("no event for 20 s; \(missing.reduce(0, +)) are missing")
      }
      for (at, entry) in descriptors.enumerated() where entry.revents != 0 {
        if at == 0 {
          try writer.receive { _, _ in
            answered += 1
            // Answers come in the order of the puts.
            if watchers == 0 { _ = result.latencies.record(nanoseconds() &- sentAt[Int(answered % UInt64(window))]) }
          }
        } else {
          try sockets[at - 1].receive { _, body in try take(body, at - 1, &result) }
        }
      }
    }
    result.nanoseconds = nanoseconds() - began
    let wanted = Int(number - first) * (layout == .one ? watchers : min(1, watchers))
    guard result.events == wanted else { throw BenchError("\(result.events) events instead of \(wanted)") }
    return result
  }

  /// A response's events, without copies: watch_id is field 2, an event 11, its pair 2, the pair's value 5.
  private func take(_ body: UnsafeRawBufferPointer, _ connection: Int, _ result: inout WatchResult) throws {
    let now = nanoseconds()
    var watch = 0
    var response = ProtoReader(body)
    while let tag = try response.nextTag() {
      switch tag.field {
      case 2: watch = Int(try response.int64(tag))
      case 11:
        let value = try Self.value(try response.bytes(tag))
        guard value.count >= 16, seen[connection].indices.contains(watch) else { throw BenchError("a strange event") }
        let number = value.loadUnaligned(as: UInt64.self)
        let sent = value.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let step = layout == .one ? 1 : UInt64(watchers)
        let last = seen[connection][watch]
        guard last == 0 || number == last + step else {
          throw BenchError("watch \(watch): put \(number) after \(last)")
        }
        seen[connection][watch] = number
        missing[Int(number % UInt64(window))] -= 1
        result.events += 1
        _ = result.latencies.record(now &- sent)
      default: try response.skip(tag)
      }
    }
  }

  private static func value(_ event: UnsafeRawBufferPointer) throws -> UnsafeRawBufferPointer {
    var reader = ProtoReader(event)
    while let tag = try reader.nextTag() {
      guard tag.field == 2 else {
        try reader.skip(tag)
        continue
      }
      var pair = ProtoReader(try reader.bytes(tag))
      while let inner = try pair.nextTag() {
        if inner.field == 5 { return try pair.bytes(inner) }
        try pair.skip(inner)
      }
    }
    return UnsafeRawBufferPointer(start: nil, count: 0)
  }
}
