// What the client says, and what it sees of what the server says.
import FuzzInput
import NeedletailBytes

@testable import NeedletailRPC

final class Client {
  static var answerMax: Int { 100_000 }

  private enum Kind {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let window: UInt8 = 8
  }

  private let server: Server
  private var next: UInt32 = 1
  /// Of the server's output, looked at so far.
  private var seen = 0
  private var isGreeted = false
  /// False when the client has said what it does not know itself.
  private var isHonest = true
  private var room: Int = 65_535
  private let streamRoom: Int
  private var rooms: [UInt32: Int] = [:]
  /// Bytes of messages that are not whole, by stream.
  private var parts: [UInt32: [UInt8]] = [:]
  private var ended: Set<UInt32> = []

  init(_ server: Server, window: UInt32) {
    self.server = server
    streamRoom = Int(window)
    let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    server.receive(preface + Client.frame(Kind.settings, 0, 0, [0, 4] + Client.bytes(window)))
    look()
  }

  private static func bytes(_ number: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
  }

  private static func frame(_ kind: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    [UInt8(payload.count >> 16), UInt8(payload.count >> 8 & 255), UInt8(payload.count & 255), kind, flags]
      + bytes(stream) + payload
  }

  private static func literal(_ name: String, _ value: String) -> [UInt8] {
    [0, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)] + Array(value.utf8)
  }

  // MARK: - Saying

  /// In one piece, or in two.
  private func send(_ bytes: [UInt8], _ input: inout Input) {
    let cut = Int(input.byte()) * bytes.count / 256
    if cut > 0 { server.receive(Array(bytes[..<cut])) }
    look()
    server.receive(Array(bytes[cut...]))
  }

  func open(isStream: Bool, isEnd: Bool, _ input: inout Input) {
    let block =
      Client.literal(":method", "POST") + Client.literal(":path", isStream ? Server.stream : Server.unary)
      + Client.literal("content-type", "application/grpc")
    rooms[next] = streamRoom
    next += 2
    send(Client.frame(Kind.headers, isEnd ? 5 : 4, next - 2, block), &input)
  }

  /// One of the streams that were opened, mostly a late one.
  private func stream(_ input: inout Input) -> UInt32 {
    let back = UInt32(input.byte() & 7) * 2
    return next > back + 2 ? next - 2 - back : 1
  }

  func message(_ input: inout Input) {
    let body = input.take(4)
    let isEnd = input.byte() & 1 == 0
    data([0] + Client.bytes(UInt32(body.count)) + body, isEnd: isEnd, &input)
  }

  func data(_ bytes: [UInt8], isEnd: Bool, _ input: inout Input) {
    let id = stream(&input)
    send(Client.frame(Kind.data, isEnd ? 1 : 0, id, bytes), &input)
  }

  func openWindow(_ input: inout Input) {
    let size = UInt32(max(1, input.number(3) & 0xfffff))
    let id = input.byte() & 1 == 0 ? 0 : stream(&input)
    if id == 0 { room += Int(size) } else { rooms[id, default: 0] += Int(size) }
    server.receive(Client.frame(Kind.window, 0, id, Client.bytes(size)))
  }

  func reset(_ input: inout Input) {
    let id = stream(&input)
    ended.insert(id)
    server.receive(Client.frame(Kind.reset, 0, id, Client.bytes(8)))
  }

  func ping() { server.receive(Client.frame(Kind.ping, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8])) }

  func anyFrame(_ input: inout Input) {
    isHonest = false
    let kind = input.byte()
    let flags = input.byte()
    let stream = UInt32(input.byte())
    send(Client.frame(kind, flags, stream, input.take(Int(input.byte()))), &input)
  }

  // MARK: - Seeing

  /// What was seen goes on its way, and there is room for more.
  func takeOutput() {
    seen = 0
    server.takeOutput()
  }

  /// Takes in what the server has said since the last look: whole frames, whatever was said to it.
  func look() {
    guard !server.connection.pointee.output.isRefused else { return }
    let output = server.connection.pointee.output.bytes
    while seen < output.count {
      precondition(seen + 9 <= output.count, "a frame's head is cut")
      let head = UnsafeRawBufferPointer(rebasing: output[seen..<(seen + 9)])
      let count = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
      precondition(count <= 16_384 && seen + 9 + count <= output.count, "a frame of \(count) bytes")
      let payload = UnsafeRawBufferPointer(rebasing: output[(seen + 9)..<(seen + 9 + count)])
      let id = head[5...].reduce(0) { $0 << 8 | UInt32($1) }
      precondition(isGreeted || head[3] == Kind.settings, "the first frame is no settings")
      isGreeted = true
      if head[3] == Kind.data { take(payload, id) }
      if head[3] == Kind.reset || head[3] <= Kind.headers && head[4] & 1 == 1 {
        end(id, isReset: head[3] == Kind.reset)
      }
      seen += 9 + count
    }
  }

  private func end(_ id: UInt32, isReset: Bool) {
    if isHonest, !isReset { precondition(parts[id, default: []].isEmpty, "a message is cut by its stream's end") }
    parts[id] = nil
    ended.insert(id)
  }

  private func take(_ payload: UnsafeRawBufferPointer, _ id: UInt32) {
    if isHonest {
      precondition(!ended.contains(id) || payload.isEmpty, "data behind an end")
      room -= payload.count
      rooms[id, default: 0] -= payload.count
      precondition(room >= 0 && rooms[id, default: 0] >= 0, "a window is overrun")
    }
    var part = parts[id, default: []] + payload
    while part.count >= 5 {
      let size = part[1..<5].reduce(0) { $0 << 8 | Int($1) }
      precondition(part[0] == 0 && size <= Client.answerMax, "a prefix that nobody wrote")
      guard part.count >= 5 + size else { break }
      for i in 0..<size { precondition(part[5 + i] == Server.content(i, of: size), "other bytes than were written") }
      part.removeFirst(5 + size)
    }
    parts[id] = part
  }
}
