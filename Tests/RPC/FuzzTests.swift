// Broken input at every cut and at random: a typed error or a message, never a trap, never a read beyond the end.

import NeedletailRPC
import Testing

/// Reads the bytes as every message there is.
private func readAsEverything(_ bytes: UnsafeRawBufferPointer) -> Int {
  var accepted = 0
  func attempt(_ body: () throws(ProtoError) -> Void) {
    do {
      try body()
      accepted += 1
    } catch {
      #expect(!error.description.isEmpty)
    }
  }
  attempt { () throws(ProtoError) in
    let view = try RangeRequestView(bytes)
    expectInside(view.key, bytes)
    expectInside(view.rangeEnd, bytes)
  }
  attempt { () throws(ProtoError) in
    let view = try PutRequestView(bytes)
    expectInside(view.key, bytes)
    expectInside(view.value, bytes)
  }
  attempt { () throws(ProtoError) in
    let view = try DeleteRangeRequestView(bytes)
    expectInside(view.key, bytes)
    expectInside(view.rangeEnd, bytes)
  }
  attempt { () throws(ProtoError) in _ = try RangeResponse(bytes) }
  attempt { () throws(ProtoError) in _ = try PutResponse(bytes) }
  attempt { () throws(ProtoError) in _ = try DeleteRangeResponse(bytes) }
  attempt { () throws(ProtoError) in _ = try StatusResponse(bytes) }
  attempt { () throws(ProtoError) in _ = try Hello(bytes) }
  return accepted
}

private func expectInside(_ part: UnsafeRawBufferPointer, _ whole: UnsafeRawBufferPointer) {
  guard let start = part.baseAddress, part.count > 0, let wholeStart = whole.baseAddress else { return }
  #expect(start >= wholeStart && start + part.count <= wholeStart + whole.count)
}

private func randomBytes(_ count: Int, _ generator: inout SeededGenerator) -> [UInt8] {
  (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
}

private func randomInt64(_ generator: inout SeededGenerator) -> Int64 {
  let bits = Int.random(in: 0...64, using: &generator)
  let value = generator.next()
  return Int64(bitPattern: bits == 0 ? 0 : value >> UInt64(64 - bits))
}

@Suite struct FuzzTests {
  private static func sampleMessages(_ generator: inout SeededGenerator) -> [[UInt8]] {
    let key = randomBytes(Int.random(in: 0...200, using: &generator), &generator)
    let end = randomBytes(Int.random(in: 0...20, using: &generator), &generator)
    var messages: [[UInt8]] = []
    key.withUnsafeBytes { key in
      end.withUnsafeBytes { end in
        var range = RangeRequestView()
        range.key = key
        range.rangeEnd = end
        range.limit = randomInt64(&generator)
        range.revision = randomInt64(&generator)
        range.rawSortOrder = Int32.random(in: 0...2, using: &generator)
        range.rawSortTarget = Int32.random(in: 0...4, using: &generator)
        range.keysOnly = Bool.random(using: &generator)
        range.maxCreateRevision = randomInt64(&generator)
        messages.append(range.encoded())
        var put = PutRequestView()
        put.key = key
        put.value = end
        put.lease = randomInt64(&generator)
        messages.append(put.encoded())
        var delete = DeleteRangeRequestView()
        delete.key = key
        delete.prevKV = true
        messages.append(delete.encoded())
      }
    }
    var response = RangeResponse()
    response.header.revision = randomInt64(&generator)
    response.kvs = (0..<3).map { _ in
      KeyValue(key: key, value: end, createRevision: randomInt64(&generator), lease: randomInt64(&generator))
    }
    response.count = 3
    messages.append(response.encoded())
    var status = StatusResponse()
    status.version = "0.1.0"
    status.errors = ["NOSPACE"]
    messages.append(status.encoded())
    return messages
  }

  @Test func everyCut() {
    let seed = UInt64.random(in: .min ... .max)
    print("everyCut: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    for message in FuzzTests.sampleMessages(&generator) {
      for size in 0...message.count { _ = withExactBytes(Array(message[..<size]), readAsEverything) }
    }
  }

  /// Bytes flipped, put in, taken out.
  @Test func mutations() {
    let seed = UInt64.random(in: .min ... .max)
    print("mutations: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    var accepted = 0
    var refused = 0
    for _ in 0..<400 {
      for var message in FuzzTests.sampleMessages(&generator) {
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
          let at = Int.random(in: 0...message.count, using: &generator)
          switch Int.random(in: 0..<3, using: &generator) {
          case 0 where at < message.count: message[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
          case 1 where at < message.count: message.remove(at: at)
          default: message.insert(UInt8.random(in: .min ... .max, using: &generator), at: at)
          }
        }
        let count = withExactBytes(message, readAsEverything)
        accepted += count
        refused += 8 - count
      }
    }
    // Both ways are really taken.
    #expect(accepted > 100 && refused > 100)
  }

  @Test func noise() {
    let seed = UInt64.random(in: .min ... .max)
    print("noise: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<5_000 {
      let bytes = randomBytes(Int.random(in: 0...64, using: &generator), &generator)
      _ = withExactBytes(bytes, readAsEverything)
    }
  }

  @Test func roundTrips() throws {
    let seed = UInt64.random(in: .min ... .max)
    print("roundTrips: seed \(seed)")
    var generator = SeededGenerator(seed: seed)
    for _ in 0..<500 {
      var response = RangeResponse()
      response.header = ResponseHeader(
        clusterID: generator.next(), memberID: 0, revision: randomInt64(&generator), raftTerm: generator.next() >> 60)
      for _ in 0..<Int.random(in: 0...5, using: &generator) {
        response.kvs.append(
          KeyValue(
            key: randomBytes(Int.random(in: 0...300, using: &generator), &generator),
            value: randomBytes(Int.random(in: 0...300, using: &generator), &generator),
            createRevision: randomInt64(&generator), modRevision: randomInt64(&generator),
            version: randomInt64(&generator), lease: randomInt64(&generator)))
      }
      response.more = Bool.random(using: &generator)
      response.count = randomInt64(&generator)
      var out = OutBuffer()
      defer { out.free() }
      response.encode(to: &out)
      #expect(out.count == response.encodedSize)
      #expect(try RangeResponse(out.bytes) == response)
    }
  }

  /// The size of a varint is what the writer writes, at every power of two and around it.
  @Test func varintSizes() throws {
    for bit in 0..<64 {
      let power = UInt64(1) << UInt64(bit)
      for value in [power, power - 1, power | 1] {
        var memory = [UInt8](repeating: 0, count: 10)
        let written = memory.withUnsafeMutableBytes { bytes in
          var writer = ProtoWriter(bytes.baseAddress!)
          writer.varint(value)
          return writer.cursor - bytes.baseAddress!
        }
        #expect(written == ProtoWriter.size(varint: value))
        let read = try withExactBytes(Array(memory[..<written])) { bytes throws(ProtoError) in
          var reader = ProtoReader(bytes)
          return (try reader.varint(), reader.remaining)
        }
        #expect(read == (value, 0))
      }
    }
  }
}
