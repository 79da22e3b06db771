// The bytes a server is driven with: Needletail's native frames, Redis's RESP, and gRPC in GRPCWire.swift. One client loop is
// generic over them, so all servers are driven by the same code.
import Glibc
import NeedletailRPC

enum ServerTest: String, CaseIterable {
  case get, put
}

/// A server's answer in the receive buffer.
struct Answer {
  /// The whole answer, header included.
  var byteCount: Int
  /// Which request it answers; `nil`: the oldest. Answers that belong to no request are -1.
  var slot: Int?
  /// The value that was read; empty after a put.
  var value: UnsafeRawBufferPointer
}

/// One connection's side of a protocol.
protocol ServerWire {
  init(depth: Int)
  /// What the client says first.
  static var preface: [UInt8] { get }
  /// Most bytes of one request.
  static var requestCapacity: Int { get }
  /// Writes a request for record `id`, and returns its length.
  mutating func write(_ test: ServerTest, id: UInt64, slot: Int, to target: UnsafeMutableRawPointer) throws -> Int
  /// The first answer of `bytes`, `nil` while it isn't whole. Its value lasts until the next call.
  mutating func parse(_ test: ServerTest, _ bytes: UnsafeRawBufferPointer) throws -> Answer?
  /// What the protocol wants said besides requests.
  mutating func takeControl() -> [UInt8]
}

extension ServerWire {
  mutating func takeControl() -> [UInt8] { [] }
}

private var nothing: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

/// Frames: KV.Range and KV.Put with etcd's messages; the stream number is the slot's plus one.
struct NativeWire: ServerWire {
  init(depth: Int) {}

  static let preface: [UInt8] = [0x4E, 0x45, 0x45, 0x44, 0x4C, 0x45, 0, 1]
  static let requestCapacity = FrameHeader.byteCount + 8 + Record.length

  func write(_ test: ServerTest, id: UInt64, slot: Int, to target: UnsafeMutableRawPointer) -> Int {
    let length = writeRequestMessage(test, id: id, serializable: false, to: target + FrameHeader.byteCount)
    let method: Method = test == .get ? .range : .put
    FrameHeader(
      length: UInt32(length), rawMethod: method.rawValue, flags: 0, stream: UInt32(slot + 1), status: 0
    ).store(to: target)
    return FrameHeader.byteCount + length
  }

  func parse(_ test: ServerTest, _ bytes: UnsafeRawBufferPointer) throws -> Answer? {
    guard bytes.count >= FrameHeader.byteCount, let start = bytes.baseAddress else { return nil }
    let header = FrameHeader(loading: start)
    guard header.isAnswer else { throw BenchError("needletail: a frame that is no answer") }
    let size = FrameHeader.byteCount + Int(header.length)
    guard bytes.count >= size else { return nil }
    let body = UnsafeRawBufferPointer(start: start + FrameHeader.byteCount, count: Int(header.length))
    if header.status != 0 {
      throw BenchError("needletail: status \(header.status): \(String(decoding: body, as: UTF8.self))")
    }
    if header.stream == 0 { return Answer(byteCount: size, slot: -1, value: nothing) }
    let value = test == .get ? try rangedValue(of: body) : nothing
    return Answer(byteCount: size, slot: Int(header.stream) - 1, value: value)
  }
}

/// RangeResponse's first `kvs` (2) and in it `value` (5).
func rangedValue(of body: UnsafeRawBufferPointer) throws -> UnsafeRawBufferPointer {
  var response = ProtoReader(body)
  while let tag = try response.nextTag() {
    guard tag.field == 2 else {
      try response.skip(tag)
      continue
    }
    var pair = ProtoReader(try response.bytes(tag))
    while let inner = try pair.nextTag() {
      if inner.field == 5 { return try pair.bytes(inner) }
      try pair.skip(inner)
    }
  }
  return nothing
}

/// RangeRequest {key, serializable where asked for} or PutRequest {key, value}, of record `id`. Returns the length.
func writeRequestMessage(
  _ test: ServerTest, id: UInt64, serializable: Bool, to body: UnsafeMutableRawPointer
) -> Int {
  // Field 1, length-delimited: the key.
  body.storeBytes(of: 0x0A, as: UInt8.self)
  body.storeBytes(of: UInt8(Record.keyLength), toByteOffset: 1, as: UInt8.self)
  Record.writeKey(number: 2 * id, to: body + 2)
  let length = 2 + Record.keyLength
  if test == .put {
    // Field 2: the value, whose length of 256 is the varint 80 02.
    body.storeBytes(of: 0x12, toByteOffset: length, as: UInt8.self)
    body.storeBytes(of: 0x80, toByteOffset: length + 1, as: UInt8.self)
    body.storeBytes(of: 0x02, toByteOffset: length + 2, as: UInt8.self)
    Record.writeValue(id: id, to: body + length + 3)
    return length + 3 + Record.valueLength
  }
  guard serializable else { return length }
  // Field 7, a varint: true.
  body.storeBytes(of: 0x38, toByteOffset: length, as: UInt8.self)
  body.storeBytes(of: 1, toByteOffset: length + 1, as: UInt8.self)
  return length + 2
}

/// RESP 2, answers in the order of the requests.
struct RedisWire: ServerWire {
  init(depth: Int) {}

  static let preface: [UInt8] = []
  static let requestCapacity = 64 + Record.length

  func write(_ test: ServerTest, id: UInt64, slot: Int, to target: UnsafeMutableRawPointer) -> Int {
    var length = 0
    func append(_ text: StaticString) {
      (target + length).copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
      length += text.utf8CodeUnitCount
    }
    append(test == .get ? "*2\r\n$3\r\nGET\r\n$24\r\n" : "*3\r\n$3\r\nSET\r\n$24\r\n")
    Record.writeKey(number: 2 * id, to: target + length)
    length += Record.keyLength
    append("\r\n")
    if test == .put {
      append("$256\r\n")
      Record.writeValue(id: id, to: target + length)
      length += Record.valueLength
      append("\r\n")
    }
    return length
  }

  func parse(_ test: ServerTest, _ bytes: UnsafeRawBufferPointer) throws -> Answer? {
    guard let start = bytes.baseAddress, let lineEnd = memchr(start, 10, bytes.count) else { return nil }
    let line = UnsafeRawBufferPointer(start: start, count: UnsafeRawPointer(lineEnd) - start + 1)
    switch line[0] {
    case UInt8(ascii: "+"): return Answer(byteCount: line.count, slot: nil, value: nothing)
    case UInt8(ascii: "$"):
      var length = 0
      for byte in line.dropFirst() where (48...57).contains(byte) { length = length * 10 + Int(byte) - 48 }
      guard bytes.count >= line.count + length + 2 else { return nil }
      let value = UnsafeRawBufferPointer(start: start + line.count, count: length)
      return Answer(byteCount: line.count + length + 2, slot: nil, value: value)
    default: throw BenchError("redis: \(String(decoding: line, as: UTF8.self))")
    }
  }
}
