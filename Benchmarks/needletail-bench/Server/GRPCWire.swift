// gRPC as lightly as a client can speak it, so that what is measured is the server: no header is decoded, requests repeat a
// header block that the server has in its table, and windows are as large as they go. A call succeeded if it brought a message: a
// refused one has trailers alone.
import Glibc
import NeedletailRPC

/// KV.Range, serializable, and KV.Put over HTTP/2 (RFC 9113) with a constant header block (RFC 7541).
struct GRPCWire: ServerWire {
  private enum Frame {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8

    static let endStream: UInt8 = 1
    static let acknowledgement: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let headerCount = 9
  }

  /// A stream's answer as far as it has come.
  private struct Call {
    var stream: UInt32 = 0
    var hasMessage = false
    var valueLength = 0
  }

  private static let windowMax = UInt32(Int32.max)
  /// The server may send as much before the connection's window is opened again.
  private static let windowStep = 1 << 29

  static let preface: [UInt8] =
    Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    // Settings 4, INITIAL_WINDOW_SIZE, and 2, ENABLE_PUSH.
    + frame(Frame.settings, stream: 0, [0, 4] + bytes(windowMax) + [0, 2, 0, 0, 0, 0])
    + frame(Frame.windowUpdate, stream: 0, bytes(windowMax - 65_535))

  /// Two frame headers, the first block with its literals, gRPC's prefix, and a put.
  static var requestCapacity: Int { 2 * Frame.headerCount + 128 + 5 + 16 + Record.length }

  private var calls: [Call]
  private var nextStream: UInt32 = 1
  /// Slots of streams, by half the stream's number modulo a power of two that is much larger than the depth.
  private var slots: [Int32]
  private let values: ValueSlots
  private var control: [UInt8] = []
  /// Request bytes that the server's connection window still takes.
  private var window = 65_535
  private var unacknowledged = 0

  init(depth: Int) {
    calls = Array(repeating: Call(), count: depth)
    slots = Array(repeating: -1, count: 1 << 14)
    values = ValueSlots(depth)
  }

  // MARK: Requests

  mutating func write(_ test: ServerTest, id: UInt64, slot: Int, to target: UnsafeMutableRawPointer) throws -> Int {
    let stream = nextStream
    nextStream += 2
    calls[slot] = Call(stream: stream)
    slots[Int(stream >> 1) & (slots.count - 1)] = Int32(slot)
    // The first block enters its literals into the server's table, where the others find them.
    let block = stream == 1 ? Self.firstBlock(test) : Self.laterBlock
    var length = Self.header(
      Frame.headers, flags: Frame.endHeaders, stream: stream, count: block.count, to: target)
    block.withUnsafeBytes {
      if let base = $0.baseAddress { (target + length).copyMemory(from: base, byteCount: $0.count) }
    }
    length += block.count
    let message = target + length + Frame.headerCount + 5
    let count = writeRequestMessage(test, id: id, serializable: true, to: message)
    (target + length + Frame.headerCount).storeBytes(of: 0, as: UInt8.self)
    (target + length + Frame.headerCount + 1).storeBytes(of: UInt32(count).bigEndian, as: UInt32.self)
    length += Self.header(Frame.data, flags: Frame.endStream, stream: stream, count: count + 5, to: target + length)
    window -= count + 5
    guard window >= 0 else { throw BenchError("the server's window is used up: try a smaller depth") }
    return length + count + 5
  }

  /// :method POST, :scheme http, then four literals that enter the dynamic table.
  private static func firstBlock(_ test: ServerTest) -> [UInt8] {
    func literal(_ start: [UInt8], _ value: String) -> [UInt8] { start + [UInt8(value.utf8.count)] + Array(value.utf8) }
    return [0x83, 0x86]
      + literal([0x44], test == .get ? "/etcdserverpb.KV/Range" : "/etcdserverpb.KV/Put")
      + literal([0x41], "127.0.0.1")
      + literal([0x5F], "application/grpc")
      + literal([0x40, 2, UInt8(ascii: "t"), UInt8(ascii: "e")], "trailers")
  }

  /// The same; the newest entry of the dynamic table has index 62.
  private static let laterBlock: [UInt8] = [0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]

  // MARK: Answers

  /// One frame at a time; the last of a stream is the answer.
  mutating func parse(_ test: ServerTest, _ bytes: UnsafeRawBufferPointer) throws -> Answer? {
    guard bytes.count >= Frame.headerCount, let start = bytes.baseAddress else { return nil }
    let first = UInt32(bigEndian: start.loadUnaligned(as: UInt32.self))
    let size = Frame.headerCount + Int(first >> 8)
    guard bytes.count >= size else { return nil }
    let flags = bytes[4]
    let stream = UInt32(bigEndian: start.loadUnaligned(fromByteOffset: 5, as: UInt32.self)) & 0x7FFF_FFFF
    let payload = UnsafeRawBufferPointer(rebasing: bytes[Frame.headerCount..<size])
    let none = Answer(byteCount: size, slot: -1, value: UnsafeRawBufferPointer(start: nil, count: 0))
    switch UInt8(truncatingIfNeeded: first) {
    case Frame.data:
      count(received: payload.count)
      try take(message: payload, of: stream, test)
      if flags & Frame.endStream != 0 { throw BenchError("stream \(stream) ended without trailers") }
    case Frame.headers:
      if flags & Frame.endStream != 0 { return try end(stream, size) }
    case Frame.settings:
      if flags & Frame.acknowledgement == 0 {
        control += Self.frame(Frame.settings, flags: Frame.acknowledgement, stream: 0, [])
      }
    case Frame.ping:
      if flags & Frame.acknowledgement == 0 {
        control += Self.frame(Frame.ping, flags: Frame.acknowledgement, stream: 0, Array(payload))
      }
    case Frame.windowUpdate where stream == 0 && payload.count == 4:
      window += Int(UInt32(bigEndian: payload.loadUnaligned(as: UInt32.self)))
    case Frame.reset: throw BenchError("the server reset stream \(stream)")
    case Frame.goAway:
      throw BenchError("the server sent GOAWAY: \(String(decoding: payload.dropFirst(8), as: UTF8.self))")
    default: break
    }
    return none
  }

  private func slot(of stream: UInt32) throws -> Int {
    let slot = Int(slots[Int(stream >> 1) & (slots.count - 1)])
    guard calls.indices.contains(slot), calls[slot].stream == stream else {
      throw BenchError("an answer on stream \(stream), which asked nothing")
    }
    return slot
  }

  private mutating func take(message: UnsafeRawBufferPointer, of stream: UInt32, _ test: ServerTest) throws {
    let slot = try slot(of: stream)
    guard message.count >= 5, message[0] == 0,
      Int(UInt32(bigEndian: message.loadUnaligned(fromByteOffset: 1, as: UInt32.self))) == message.count - 5
    else { throw BenchError("an answer in several frames, or compressed") }
    calls[slot].hasMessage = true
    guard test == .get else { return }
    let value = try rangedValue(of: UnsafeRawBufferPointer(rebasing: message.dropFirst(5)))
    guard value.count <= Record.valueLength, let bytes = value.baseAddress else { return }
    calls[slot].valueLength = value.count
    values[slot].copyMemory(from: bytes, byteCount: value.count)
  }

  private mutating func end(_ stream: UInt32, _ size: Int) throws -> Answer {
    let slot = try slot(of: stream)
    guard calls[slot].hasMessage else { throw BenchError("a call was refused") }
    calls[slot].stream = 0
    let value = UnsafeRawBufferPointer(start: values[slot], count: calls[slot].valueLength)
    return Answer(byteCount: size, slot: slot, value: value)
  }

  private mutating func count(received: Int) {
    unacknowledged += received
    guard unacknowledged >= Self.windowStep else { return }
    control += Self.frame(Frame.windowUpdate, stream: 0, Self.bytes(UInt32(unacknowledged)))
    unacknowledged = 0
  }

  mutating func takeControl() -> [UInt8] {
    defer { control.removeAll(keepingCapacity: true) }
    return control
  }

  // MARK: Frames

  private static func header(
    _ kind: UInt8, flags: UInt8, stream: UInt32, count: Int, to target: UnsafeMutableRawPointer
  ) -> Int {
    target.storeBytes(of: (UInt32(count) << 8 | UInt32(kind)).bigEndian, as: UInt32.self)
    target.storeBytes(of: flags, toByteOffset: 4, as: UInt8.self)
    target.storeBytes(of: stream.bigEndian, toByteOffset: 5, as: UInt32.self)
    return Frame.headerCount
  }

  private static func frame(_ kind: UInt8, flags: UInt8 = 0, stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
    bytes(UInt32(payload.count) << 8 | UInt32(kind)) + [flags] + bytes(stream) + payload
  }

  private static func bytes(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
}

/// A value of each call, kept until the call ends.
private final class ValueSlots {
  private let memory: UnsafeMutableRawPointer

  init(_ count: Int) { memory = .allocate(byteCount: count * Record.valueLength, alignment: 64) }
  deinit { memory.deallocate() }

  subscript(_ slot: Int) -> UnsafeMutableRawPointer { memory + slot * Record.valueLength }
}
