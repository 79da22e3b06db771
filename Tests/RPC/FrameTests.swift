// Frames, the preface and their limits, byte for byte.

import NeedletailRPC
import Testing

private let sampleHeader = FrameHeader(
  length: 3, rawMethod: 0x0201, flags: FrameFlags.answer | FrameFlags.endOfStream, stream: 0x0605_0403, status: 14)
private let sampleBytes = hex("03000000" + "0102" + "0300" + "03040506" + "0e000000")

/// All frames in the bytes, and what is left over.
private func parse(
  _ bytes: [UInt8], side: FrameParser.Side, limit: Int = 1 << 20
) throws(FrameError) -> (frames: [(FrameHeader, [UInt8])], left: Int, wanted: Int) {
  try withExactBytes(bytes) { bytes throws(FrameError) in
    var parser = FrameParser(bytes, side: side, bodyLimit: limit)
    var frames: [(FrameHeader, [UInt8])] = []
    while let frame = try parser.next() { frames.append((frame.header, frame.body.array)) }
    return (frames, bytes.count - parser.consumed, parser.wanted)
  }
}

private func frame(_ body: [UInt8], method: UInt16 = 1, flags: UInt16 = 0, stream: UInt32 = 7) -> [UInt8] {
  var out = OutBuffer()
  defer { out.free() }
  let at = out.openFrame()
  body.withUnsafeBytes { out.append($0) }
  out.closeFrame(at: at, rawMethod: method, flags: flags, stream: stream, status: 0)
  return out.bytes.array
}

@Suite struct FrameTests {
  @Test func headerBytes() {
    // One byte in front: the header needs no alignment.
    var memory = [UInt8](repeating: 0xEE, count: 18)
    memory.withUnsafeMutableBytes { sampleHeader.store(to: $0.baseAddress! + 1) }
    #expect(Array(memory[1..<17]) == sampleBytes)
    #expect(memory.first == 0xEE && memory.last == 0xEE)
    let loaded = memory.withUnsafeBytes { FrameHeader(loading: $0.baseAddress! + 1) }
    #expect(loaded == sampleHeader)
    #expect(loaded.isAnswer && loaded.isEndOfStream && loaded.method == nil)
  }

  @Test func methodNumbers() {
    let numbers = Method.allCases.map(\.rawValue)
    #expect(
      numbers == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 19, 20, 21, 22, 23] + Array(32...36)
        + Array(48...54))
  }

  @Test func severalFramesAndARest() throws {
    let bytes = frame([1, 2, 3], stream: 1) + frame([], stream: 2) + frame([9], stream: 3).dropLast()
    let (frames, left, wanted) = try parse(bytes, side: .server)
    #expect(frames.map(\.0.stream) == [1, 2])
    #expect(frames.map(\.1) == [[1, 2, 3], []])
    #expect(left == 16 && wanted == 17)
  }

  @Test func everyCut() throws {
    let bytes = frame([1, 2, 3], stream: 1) + frame([4], stream: 2)
    for size in 0...bytes.count {
      let (frames, left, wanted) = try parse(Array(bytes[..<size]), side: .server)
      #expect(frames.count == (size < 19 ? 0 : size < 36 ? 1 : 2))
      #expect(frames.reduce(left) { $0 + 16 + $1.1.count } == size)
      if size < 36 { #expect(wanted > left) }
    }
  }

  @Test func limitIsSeenInTheHeader() throws {
    let header = Array(frame([UInt8](repeating: 0, count: 101))[..<16])
    #expect(throws: FrameError.bodyTooLarge(length: 101, limit: 100)) {
      try parse(header, side: .server, limit: 100)
    }
    #expect(try parse(header, side: .server, limit: 101).frames.isEmpty)
    var huge = header
    huge.replaceSubrange(0..<4, with: [0xFF, 0xFF, 0xFF, 0xFF])
    #expect(throws: FrameError.bodyTooLarge(length: .max, limit: 1 << 20)) { try parse(huge, side: .server) }
    #expect(FrameError.bodyTooLarge(length: 1, limit: 0).code == .resourceExhausted)
  }

  @Test func directionsAndFlags() throws {
    let answer = frame([], flags: FrameFlags.answer)
    let request = frame([])
    #expect(throws: FrameError.answerFromClient) { try parse(answer, side: .server) }
    #expect(throws: FrameError.requestFromServer) { try parse(request, side: .client) }
    #expect(throws: FrameError.unknownFlags(4)) { try parse(frame([], flags: 4), side: .server) }
    #expect(throws: FrameError.unknownFlags(0x8001)) { try parse(frame([], flags: 0x8001), side: .client) }
    #expect(throws: FrameError.reservedStream) { try parse(frame([], stream: 0), side: .server) }
    #expect(try parse(frame([], flags: FrameFlags.answer, stream: 0), side: .client).frames.count == 1)
    // A method that nobody knows is no malformed frame: it is answered on its stream.
    #expect(try parse(frame([], method: 999), side: .server).frames.first?.0.method == nil)
  }

  @Test func noise() {
    let seed = UInt64.random(in: .min ... .max)
    print("frame noise: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<20_000 {
      var bytes = (0..<Int.random(in: 0...80, using: &generator)).map { _ in
        UInt8.random(in: .min ... .max, using: &generator)
      }
      // Half of them get small lengths and legal flags, so that they are looked into further.
      if bytes.count >= 16, Bool.random(using: &generator) {
        bytes.replaceSubrange(1..<4, with: [0, 0, 0])
        bytes[6] &= 2
        bytes[7] = 0
      }
      let size = bytes.count
      do {
        let (frames, left, _) = try parse(bytes, side: .server)
        #expect(frames.reduce(left) { $0 + 16 + $1.1.count } == size)
      } catch {
        #expect(!error.description.isEmpty)
      }
    }
  }

  @Test func errorFrame() throws {
    var out = OutBuffer()
    defer { out.free() }
    out.append([0xAA] as [UInt8])
    out.appendErrorFrame(rawMethod: 99, stream: 5, code: .unimplemented, message: "no")
    let (frames, _, _) = try parse(Array(out.bytes.dropFirst()), side: .client)
    let (header, body) = try #require(frames.first)
    #expect(header.status == 12 && header.stream == 5 && header.rawMethod == 99)
    #expect(header.isAnswer && header.isEndOfStream)
    #expect(body == Array("no".utf8))
  }

  @Test func prefaceBytes() {
    var out = OutBuffer()
    defer { out.free() }
    Preface.append(to: &out)
    let preface = Array("NEEDLE".utf8) + [0, 1]
    #expect(out.bytes.array == preface)
    for size in 0..<8 {
      #expect(withExactBytes(Array(preface[..<size]), Preface.match) == .incomplete)
    }
    #expect(withExactBytes(preface, Preface.match) == .matched(version: 1))
    #expect(withExactBytes(preface + [1, 2, 3], Preface.match) == .matched(version: 1))
    #expect(withExactBytes(Array("NEEDLE".utf8) + [0, 9], Preface.match) == .matched(version: 9))
    for other in ["GET / HTTP/1.1", "PRI * HTTP/2.0", "NEEDLES", "P", "NE3"] {
      #expect(withExactBytes(Array(other.utf8), Preface.match) == .mismatched)
    }
  }

  @Test func helloFrame() throws {
    var out = OutBuffer()
    defer { out.free() }
    var hello = Hello()
    hello.serverVersion = "9.9"
    hello.appendFrame(to: &out)
    let (frames, left, _) = try parse(out.bytes.array, side: .client)
    let (header, body) = try #require(frames.first)
    #expect(left == 0 && header.method == .hello && header.stream == 0 && header.status == 0)
    #expect(try withExactBytes(body) { bytes throws(ProtoError) in try Hello(bytes) } == hello)
  }
}

extension OutBuffer {
  fileprivate mutating func append(_ bytes: [UInt8]) { bytes.withUnsafeBytes { append($0) } }
}

@Suite struct OutBufferTests {
  @Test func growsAndKeeps() {
    var out = OutBuffer()
    var expected: [UInt8] = []
    for at in 0..<5_000 {
      out.append(byte: UInt8(truncatingIfNeeded: at))
      expected.append(UInt8(truncatingIfNeeded: at))
    }
    #expect(out.bytes.array == expected)
    out.removeFirst(1_000)
    #expect(out.bytes.array == Array(expected[1_000...]))
    out.truncate(to: 10)
    #expect(out.bytes.array == Array(expected[1_000..<1_010]))
    out.append("añb")
    #expect(out.bytes.array.suffix(4) == Array("añb".utf8)[...])
    out.removeAll()
    #expect(out.isEmpty && out.capacity >= 5_000)
    out.append(UnsafeRawBufferPointer(start: nil, count: 0))
    #expect(out.isEmpty)
    out.free()
    #expect(out.capacity == 0 && out.start == nil)
    out.free()
  }
}
